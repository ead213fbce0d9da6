using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary>The values behind the question mark. A name that is given twice keeps its last value.</summary>
internal sealed class QueryValues
{
    private readonly Dictionary<string, string> _values = new(StringComparer.Ordinal);

    internal QueryValues(string query)
    {
        foreach (var part in query.TrimStart('?').Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            var name = equals < 0 ? part : part[..equals];
            var value = equals < 0 ? string.Empty : part[(equals + 1)..];
            _values[Decode(name)] = Decode(value);
        }
    }

    /// <summary>The value; null when it is not given or empty.</summary>
    internal string? this[string name] => _values.TryGetValue(name, out var value) && value.Length > 0 ? value : null;

    /// <summary>As Docker reads a flag: nothing, 0, no, none and false are false, all else is true.</summary>
    internal bool Flag(string name, bool otherwise = false) => this[name] is not { } value
        ? otherwise
        : value.Trim().ToLowerInvariant() is not ("0" or "no" or "none" or "false");

    /// <summary>A whole number; null when it is not given.</summary>
    internal long? Number(string name) => this[name] is not { } value
        ? null
        : long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw new EdgeHostException(ErrorKind.Invalid, $"{name}={value} is not a whole number");

    private static string Decode(string text) => Uri.UnescapeDataString(text.Replace('+', ' '));
}
