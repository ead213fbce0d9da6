using System.Text;
using System.Text.Json;

namespace EdgeHost.Cli;

/// <summary>The functions of templates: Go's own and docker's.</summary>
internal static class TemplateFunctions
{
    private static readonly HashSet<string> Names = new(StringComparer.Ordinal)
    {
        "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "eq", "ne", "lt", "le", "gt", "ge",
        "json", "split", "join", "title", "lower", "upper", "pad", "truncate",
    };

    internal static bool IsKnown(string name) => Names.Contains(name);

    /// <summary>Calls one.</summary>
    /// <exception cref="TemplateException">The arguments are not what it takes; without a place.</exception>
    internal static object? Call(string name, object?[] arguments) => (name, arguments) switch
    {
        ("not", [var value]) => !IsTrue(value),
        ("len", [var value]) => Length(value),
        ("index", [var value, .. var keys]) => Index(value, keys),
        ("slice", [var value, .. var bounds]) => Slice(value, bounds),
        ("print", _) => TemplateText.Sprint(arguments),
        ("println", _) => string.Join(' ', arguments.Select(TemplateText.Printed)) + "\n",
        ("printf", [string format, .. var values]) => TemplateText.Printf(format, values),
        ("eq", [var value, _, ..]) => arguments.Skip(1).Any(other => AreEqual(value, other)),
        ("ne", [var a, var b]) => !AreEqual(a, b),
        ("lt", [var a, var b]) => Compare(a, b) < 0,
        ("le", [var a, var b]) => Compare(a, b) <= 0,
        ("gt", [var a, var b]) => Compare(a, b) > 0,
        ("ge", [var a, var b]) => Compare(a, b) >= 0,
        ("json", [var value]) => TemplateText.Json(value),
        ("split", [string text, string separator]) => text.Split(separator),
        ("join", [var list, string separator]) => string.Join(separator, TemplateText.Texts(list)),
        ("title", [string text]) => Title(text),
        ("lower", [string text]) => text.ToLowerInvariant(),
        ("upper", [string text]) => text.ToUpperInvariant(),
        ("pad", [string text, long before, long after]) => text.Length == 0 ? text : Blanks(before) + text + Blanks(after),
        ("truncate", [string text, long length]) => length < 0 ? throw new TemplateException($"{length} is no length") : text.Length < length ? text : text[..(int)length],
        _ => throw new TemplateException($"{name} does not take {(arguments.Length == 0 ? "nothing" : string.Join(", ", arguments.Select(TemplateText.TypeOf)))}"),
    };

    internal static bool IsTrue(object? value) => value switch
    {
        null => false,
        bool flag => flag,
        string text => text.Length > 0,
        long number => number != 0,
        double number => number != 0,
        string[] list => list.Length > 0,
        JsonPart { Element.ValueKind: JsonValueKind.Object } part => part.NamesAsWritten().Count > 0,
        JsonPart { Element.ValueKind: JsonValueKind.Array } part => part.Element.GetArrayLength() > 0,
        JsonPart => false,
        _ => true,
    };

    private static string Blanks(long count) => new(' ', (int)Math.Clamp(count, 0, 1000));

    private static long Length(object? value) => value switch
    {
        string text => Encoding.UTF8.GetByteCount(text),
        string[] list => list.Length,
        JsonPart { Element.ValueKind: JsonValueKind.Object } part => part.NamesAsWritten().Count,
        JsonPart { Element.ValueKind: JsonValueKind.Array } part => part.Element.GetArrayLength(),
        JsonPart { IsNull: true } => 0,
        _ => throw new TemplateException($"error calling len: {TemplateText.TypeOf(value)} has no length"),
    };

    private static object? Index(object? value, object?[] keys)
    {
        foreach (var key in keys)
        {
            value = (value, key) switch
            {
                // What is not in a map is Go's zero value, which prints as nothing.
                (JsonPart { Element.ValueKind: JsonValueKind.Object } part, string name) =>
                    part.Element.TryGetProperty(name, out var member) ? JsonPart.Of(member, name) : string.Empty,
                (JsonPart { IsNull: true, IsMap: true }, string) => string.Empty,
                (JsonPart { Element.ValueKind: JsonValueKind.Array } part, long at) => at >= 0 && at < part.Element.GetArrayLength()
                    ? JsonPart.Of(part.Element[(int)at], string.Empty)
                    : throw new TemplateException($"error calling index: index out of range: {at}"),
                (string[] list, long at) => at >= 0 && at < list.Length ? list[at] : throw new TemplateException($"error calling index: index out of range: {at}"),
                (null or JsonPart { IsNull: true }, _) => throw new TemplateException("error calling index: index of untyped nil"),
                _ => throw new TemplateException($"error calling index: {TemplateText.TypeOf(value)} has no element {TemplateText.Printed(key)}"),
            };
        }

        return value;
    }

    private static object Slice(object? value, object?[] bounds)
    {
        var most = Length(value);
        var from = bounds.Length > 0 && bounds[0] is long first ? first : 0;
        var to = bounds.Length > 1 && bounds[1] is long last ? last : most;
        if (from < 0 || to > most || from > to || bounds.Any(each => each is not long))
        {
            throw new TemplateException($"error calling slice: index out of range: {TemplateText.Printed(bounds.Length > 0 ? bounds[^1] : null)}");
        }

        return value switch
        {
            string text => Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text).AsSpan((int)from, (int)(to - from))),
            string[] or JsonPart { Element.ValueKind: JsonValueKind.Array } => TemplateText.Texts(value).Skip((int)from).Take((int)(to - from)).ToArray(),
            _ => throw new TemplateException($"error calling slice: can't slice {TemplateText.TypeOf(value)}"),
        };
    }

    private static bool AreEqual(object? a, object? b) => (a, b) switch
    {
        (null or JsonPart { IsNull: true }, _) => b is null or JsonPart { IsNull: true },
        (_, null or JsonPart { IsNull: true }) => false,
        (string or bool or long or double, _) when a.GetType() == b.GetType() => a.Equals(b),
        _ => throw new TemplateException("error calling eq: incompatible types for comparison"),
    };

    private static int Compare(object? a, object? b) => (a, b) switch
    {
        (string x, string y) => string.CompareOrdinal(x, y),
        (long x, long y) => x.CompareTo(y),
        (double x, double y) => x.CompareTo(y),
        _ => throw new TemplateException("error calling lt: incompatible types for comparison"),
    };

    private static string Title(string text)
    {
        var letters = text.ToCharArray();
        for (var i = 0; i < letters.Length; i++)
        {
            if (i == 0 || !(char.IsLetterOrDigit(letters[i - 1]) || letters[i - 1] is '_' or '\''))
            {
                letters[i] = char.ToUpperInvariant(letters[i]);
            }
        }

        return new string(letters);
    }
}
