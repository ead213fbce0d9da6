using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary>The <c>filters</c> of a query, <c>{"name":["a","b"]}</c> or the older <c>{"name":{"a":true}}</c>: any value of a name, all names.</summary>
internal sealed class DockerFilters
{
    private readonly Dictionary<string, List<string>> _values = new(StringComparer.Ordinal);

    /// <summary>Parses.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not of the form, or a name that is not known here.</exception>
    internal DockerFilters(string? json, params ReadOnlySpan<string> known)
    {
        if (string.IsNullOrEmpty(json))
        {
            return;
        }

        try
        {
            using var document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 4 });
            foreach (var filter in document.RootElement.EnumerateObject())
            {
                if (!known.Contains(filter.Name))
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"invalid filter '{filter.Name}'");
                }

                var values = new List<string>();
                if (filter.Value.ValueKind == JsonValueKind.Array)
                {
                    foreach (var item in filter.Value.EnumerateArray())
                    {
                        values.Add(item.GetString() ?? string.Empty);
                    }
                }
                else
                {
                    foreach (var item in filter.Value.EnumerateObject())
                    {
                        if (item.Value.ValueKind == JsonValueKind.True)
                        {
                            values.Add(item.Name);
                        }
                    }
                }

                if (values.Count > 0)
                {
                    _values[filter.Name] = values;
                }
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"filters={json} is not of the form {{\"name\":[\"value\"]}}", e);
        }
    }

    internal bool Has(string name) => _values.ContainsKey(name);

    /// <summary>Whether nothing is asked under the name, or one of its values fits.</summary>
    internal bool Any(string name, Func<string, bool> fits) => !_values.TryGetValue(name, out var values) || values.Exists(v => fits(v));

    /// <summary>Whether all values under the name fit, as Docker reads labels.</summary>
    internal bool All(string name, Func<string, bool> fits) => !_values.TryGetValue(name, out var values) || values.TrueForAll(v => fits(v));

    /// <summary>Whether all labels asked for (<c>key</c> or <c>key=value</c>) are there.</summary>
    internal bool Labels(IReadOnlyDictionary<string, string> labels) => All("label", wanted => IsThere(labels, wanted));

    /// <summary>Whether none of the labels is there that are not to be (<c>label!</c>).</summary>
    internal bool NotLabels(IReadOnlyDictionary<string, string> labels) => All("label!", unwanted => !IsThere(labels, unwanted));

    /// <summary>Looks at each value under the name.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: one is not good.</exception>
    internal void Check(string name, Predicate<string> isGood)
    {
        if (_values.TryGetValue(name, out var values) && values.Find(each => !isGood(each)) is { } bad)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"invalid filter '{name}={bad}'");
        }
    }

    /// <summary>A filter that is true or false; null when it is not given.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: something else.</exception>
    internal bool? Switch(string name) => !_values.TryGetValue(name, out var values) ? null : values switch
    {
        ["true" or "1"] => true,
        ["false" or "0"] => false,
        _ => throw new EdgeHostException(ErrorKind.Invalid, $"invalid filter '{name}={string.Join(',', values)}': it is true or false"),
    };

    /// <summary>The value of a filter that has one; null when it is not given.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: it has more.</exception>
    internal string? One(string name) => !_values.TryGetValue(name, out var values) ? null
        : values.Count == 1 ? values[0]
        : throw new EdgeHostException(ErrorKind.Invalid, $"more than one {name} filter specified");

    private static bool IsThere(IReadOnlyDictionary<string, string> labels, string wanted)
    {
        var equals = wanted.IndexOf('=', StringComparison.Ordinal);
        return equals < 0
            ? labels.ContainsKey(wanted)
            : labels.TryGetValue(wanted[..equals], out var value) && value == wanted[(equals + 1)..];
    }
}
