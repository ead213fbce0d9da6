using System.Diagnostics.CodeAnalysis;
using System.Text;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Deployments;

/// <summary>A value of a document together with the way to it, so that every refusal names its place.</summary>
internal readonly struct JsonNode(JsonElement element, string path)
{
    internal string Path => path;

    internal JsonValueKind Kind => element.ValueKind;

    internal bool IsNull => element.ValueKind == JsonValueKind.Null;

    /// <summary>The value as it was written: numbers keep their digits.</summary>
    internal string RawText => element.GetRawText();

    /// <summary>Goes through an object; a name that comes twice is refused, because readers differ in which one they take.</summary>
    internal IEnumerable<(string Name, JsonNode Value)> Properties(string expected)
    {
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw Wrong(expected);
        }

        return Enumerate(element, path);

        static IEnumerable<(string, JsonNode)> Enumerate(JsonElement element, string path)
        {
            var seen = new HashSet<string>(StringComparer.Ordinal);
            foreach (var property in element.EnumerateObject())
            {
                var name = NameOf(property, path);
                var at = path.Length == 0 ? Shown(name) : $"{path}.{Shown(name)}";
                if (!seen.Add(name))
                {
                    throw new DesiredStateException(ErrorKind.Invalid, at, "given twice");
                }

                yield return (name, new JsonNode(property.Value, at));
            }
        }
    }

    internal IEnumerable<JsonNode> Items(string expected)
    {
        if (element.ValueKind != JsonValueKind.Array)
        {
            throw Wrong(expected);
        }

        return Enumerate(element, path);

        static IEnumerable<JsonNode> Enumerate(JsonElement element, string path)
        {
            var index = 0;
            foreach (var item in element.EnumerateArray())
            {
                yield return new JsonNode(item, $"{path}[{index++}]");
            }
        }
    }

    internal string Text(string expected)
    {
        if (element.ValueKind != JsonValueKind.String)
        {
            throw Wrong(expected);
        }

        string text;
        try
        {
            text = element.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw Fail("not valid Unicode");
        }

        // The kernel would cut arguments, variables and paths there.
        return text.Contains('\0', StringComparison.Ordinal) ? throw Fail("contains a zero byte") : text;
    }

    internal bool Boolean() => element.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Wrong("true or false"),
    };

    internal long Integer(string expected) => element.ValueKind == JsonValueKind.Number && element.TryGetInt64(out var number)
        ? number
        : throw Wrong(expected);

    internal DesiredStateException Wrong(string expected) => Fail($"expected {expected}, found {Found()}");

    internal DesiredStateException Fail(string reason, ErrorKind kind = ErrorKind.Invalid) => new(kind, path, reason);

    [DoesNotReturn]
    internal void Unknown(string? hint = null) =>
        throw Fail(hint ?? "unknown field", hint is null ? ErrorKind.Invalid : ErrorKind.Unsupported);

    private string Found() => element.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => $"\"{Shown(element.GetRawText().Trim('"'))}\"",
        JsonValueKind.Number => Shown(element.GetRawText()),
        JsonValueKind.True => "true",
        JsonValueKind.False => "false",
        _ => "null",
    };

    private static string NameOf(JsonProperty property, string path)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException)
        {
            throw new DesiredStateException(ErrorKind.Invalid, path, "a name is not valid Unicode");
        }
    }

    /// <summary>What a stranger wrote, made fit for one line of a log.</summary>
    private static string Shown(string text)
    {
        const int Most = 64;
        var shown = new StringBuilder(Math.Min(text.Length, Most) + 1);
        foreach (var c in text.AsSpan(0, Math.Min(text.Length, Most)))
        {
            shown.Append(char.IsControl(c) || char.IsSurrogate(c) ? '?' : c);
        }

        return text.Length > Most ? shown.Append('…').ToString() : shown.ToString();
    }
}
