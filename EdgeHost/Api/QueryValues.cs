using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary>The values behind the question mark. Of a name that is given twice the last value counts, unless all are asked for.</summary>
internal sealed class QueryValues
{
    private readonly Dictionary<string, string> _values = new(StringComparer.Ordinal);
    private readonly string _query;

    internal QueryValues(string query)
    {
        _query = query;
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

    /// <summary>All values of a name, in their order.</summary>
    internal IReadOnlyList<string> All(string name)
    {
        var values = new List<string>();
        foreach (var part in _query.TrimStart('?').Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part.StartsWith(name + "=", StringComparison.Ordinal))
            {
                values.Add(Decode(part[(name.Length + 1)..]));
            }
        }

        return values;
    }

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
