using System.Text.Json;

namespace EdgeHost.Cli;

/// <summary>What a template may ask for fields that are not in a document.</summary>
internal interface ITemplateFields
{
    /// <summary>A field's value, or that there is none.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="argument">What followed it; null for nothing.</param>
    /// <param name="value">A text, a number, true or false, or null.</param>
    bool TryGet(string name, string? argument, out object? value);

    /// <summary>All of them as JSON, names in order.</summary>
    void WriteTo(Utf8JsonWriter json);
}

/// <summary>A part of a document, and the name under which it stood there: whether it is one of Go's maps or structs is told by that alone.</summary>
internal sealed class JsonPart(JsonElement element, string name)
{
    // What is a map in docker's types: a key that is not there is no error, and JSON has the keys in order.
    private static readonly HashSet<string> Maps = new(StringComparer.Ordinal)
    {
        "Annotations", "Attributes", "Containers", "Data", "Details", "DriverOpts", "ExposedPorts", "IndexConfigs", "Labels", "Networks", "Options", "PortBindings",
        "Ports", "Runtimes", "StorageOpt", "Sysctls", "Tmpfs", "Volumes",
    };

    // What is a pointer there, and not an empty list, when it is null.
    private static readonly HashSet<string> Pointers = new(StringComparer.Ordinal)
    {
        "Health", "Healthcheck", "IPAMConfig", "Init", "MemorySwappiness", "OomKillDisable", "PidsLimit", "StopTimeout", "UsageData",
    };

    internal JsonElement Element => element;

    internal bool IsMap => Maps.Contains(name);

    internal bool IsNull => element.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined;

    /// <summary>What is printed for null.</summary>
    internal string Nothing => IsMap ? "map[]" : Pointers.Contains(name) ? "<nil>" : name == "StopSignal" ? string.Empty : "[]";

    /// <summary>A value of a document as templates handle it.</summary>
    internal static object Of(JsonElement element, string name) => element.ValueKind switch
    {
        JsonValueKind.String => element.GetString()!,
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Number => element.TryGetInt64(out var whole) ? (object)whole : element.GetDouble(),
        _ => new JsonPart(element, name),
    };

    /// <summary>A member, by its name in JSON or, where that is not one, in Go, which differs in capitals alone.</summary>
    internal bool TryGet(string member, out object? value)
    {
        value = null;
        if (element.ValueKind != JsonValueKind.Object)
        {
            return false;
        }

        if (element.TryGetProperty(member, out var exact))
        {
            value = Of(exact, member);
            return true;
        }

        foreach (var other in element.EnumerateObject())
        {
            if (!IsMap && string.Equals(other.Name, member, StringComparison.OrdinalIgnoreCase))
            {
                value = Of(other.Value, other.Name);
                return true;
            }
        }

        return false;
    }

    /// <summary>The names of its members, in order, as Go goes through a map.</summary>
    internal string[] Names()
    {
        string[] names = [.. NamesAsWritten()];
        Array.Sort(names, StringComparer.Ordinal);
        return names;
    }

    /// <summary>The names of its members, as they come; none where there are no members.</summary>
    internal List<string> NamesAsWritten()
    {
        var names = new List<string>();
        if (element.ValueKind == JsonValueKind.Object)
        {
            foreach (var member in element.EnumerateObject())
            {
                names.Add(member.Name);
            }
        }

        return names;
    }
}
