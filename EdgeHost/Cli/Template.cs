using System.Globalization;
using System.Text;
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

/// <summary>A template of docker's <c>--format</c>, parsed; runs over JSON documents or lines of a list.</summary>
internal sealed class Template
{
    private readonly string _text;
    private readonly List<TemplatePart> _parts;

    /// <summary>Parses.</summary>
    /// <exception cref="TemplateException">It is wrong.</exception>
    internal Template(string text)
    {
        _text = text;
        _parts = TemplateParser.Parse(text);
    }

    private enum Flow
    {
        On,
        Break,
        Continue,
    }

    /// <summary>Runs it.</summary>
    /// <param name="data">The dot: a <see cref="JsonPart"/> or <see cref="ITemplateFields"/>.</param>
    /// <param name="isHeader">Whether the titles of columns are printed, which functions leave as they are.</param>
    /// <exception cref="TemplateException">It does not fit the data.</exception>
    internal string Run(object data, bool isHeader = false)
    {
        var run = new Execution(_text, isHeader);
        run.Variables.Add(new Named("$", data));
        run.Walk(_parts, data);
        return run.Output.ToString();
    }

    /// <summary>A variable, or what a range goes through.</summary>
    private sealed class Named(object name, object? value)
    {
        internal object Name => name;

        internal object? Value { get; set; } = value;
    }

    private sealed class Execution(string text, bool isHeader)
    {
        internal StringBuilder Output { get; } = new();

        internal List<Named> Variables { get; } = [];

        internal Flow Walk(List<TemplatePart> parts, object? dot)
        {
            foreach (var part in parts)
            {
                var flow = Flow.On;
                switch (part)
                {
                    case TextPart literal:
                        Output.Append(literal.Text);
                        break;
                    case ActionPart action:
                        var value = Evaluate(action.Pipeline, dot);
                        if (action.Pipeline.Variables.Count == 0)
                        {
                            Output.Append(TemplateFunctions.Printed(value));
                        }

                        break;
                    case BranchPart branch:
                        flow = Branch(branch, dot);
                        break;
                    case LeavePart leave:
                        return leave.IsBreak ? Flow.Break : Flow.Continue;
                }

                if (flow != Flow.On)
                {
                    return flow;
                }
            }

            return Flow.On;
        }

        private Flow Branch(BranchPart branch, object? dot)
        {
            var depth = Variables.Count;
            try
            {
                if (branch.Word == "range")
                {
                    return Range(branch, dot);
                }

                var value = Evaluate(branch.Pipeline, dot);
                return TemplateFunctions.IsTrue(value)
                    ? Walk(branch.Body, branch.Word == "with" ? value : dot)
                    : Walk(branch.Otherwise, dot);
            }
            finally
            {
                Variables.RemoveRange(depth, Variables.Count - depth);
            }
        }

        private Flow Range(BranchPart branch, object? dot)
        {
            var pipeline = branch.Pipeline;
            var value = Commands(pipeline, dot);
            var any = false;
            foreach (var item in Items(pipeline, value))
            {
                any = true;
                var depth = Variables.Count;
                if (pipeline.Variables.Count == 2)
                {
                    Keep(pipeline, 0, item.Name);
                }

                if (pipeline.Variables.Count > 0)
                {
                    Keep(pipeline, pipeline.Variables.Count - 1, item.Value);
                }

                var flow = Walk(branch.Body, item.Value);
                Variables.RemoveRange(depth, Variables.Count - depth);
                if (flow == Flow.Break)
                {
                    break;
                }
            }

            return any ? Flow.On : Walk(branch.Otherwise, dot);
        }

        private List<Named> Items(Pipeline pipeline, object? value)
        {
            var items = new List<Named>();
            switch (value)
            {
                case null or JsonPart { IsNull: true }:
                    break;
                case JsonPart { Element.ValueKind: JsonValueKind.Object } members:
                    foreach (var name in members.Names())
                    {
                        items.Add(new(name, JsonPart.Of(members.Element.GetProperty(name), string.Empty)));
                    }

                    break;
                case JsonPart list:
                    foreach (var item in list.Element.EnumerateArray())
                    {
                        items.Add(new((long)items.Count, JsonPart.Of(item, string.Empty)));
                    }

                    break;
                case string[] list:
                    foreach (var item in list)
                    {
                        items.Add(new((long)items.Count, item));
                    }

                    break;
                default:
                    throw Bad(pipeline.At, $"range can't iterate over {TemplateFunctions.Printed(value)}");
            }

            return items;
        }

        private object? Evaluate(Pipeline pipeline, object? dot)
        {
            var value = Commands(pipeline, dot);
            if (pipeline.Variables.Count > 0)
            {
                Keep(pipeline, 0, value);
            }

            return value;
        }

        private void Keep(Pipeline pipeline, int which, object? value)
        {
            var name = pipeline.Variables[which];
            if (pipeline.IsAssignment)
            {
                Find(name).Value = value;
            }
            else
            {
                Variables.Add(new Named(name, value));
            }
        }

        // The parser has seen that it is there.
        private Named Find(string name) => Variables.FindLast(each => name.Equals(each.Name))!;

        private object? Commands(Pipeline pipeline, object? dot)
        {
            object? value = null;
            for (var i = 0; i < pipeline.Commands.Count; i++)
            {
                value = Command(pipeline.Commands[i], dot, value, hasFinal: i > 0);
            }

            return value;
        }

        private object? Command(List<Operand> words, object? dot, object? final, bool hasFinal)
        {
            var first = words[0];
            if (first.Kind == OperandKind.Function && first.Fields.Count == 0)
            {
                return Call(first, words, dot, final, hasFinal);
            }

            if (words.Count == 1 && !hasFinal)
            {
                return Value(first, dot);
            }

            // A field with arguments, as in .Label "key".
            if (first.Fields.Count == 0)
            {
                throw Bad(first.At, $"can't give argument to non-function {first.Text}", first.Text);
            }

            var arguments = new List<object?>();
            for (var i = 1; i < words.Count; i++)
            {
                arguments.Add(Value(words[i], dot));
            }

            if (hasFinal)
            {
                arguments.Add(final);
            }

            var receiver = Start(first, dot);
            for (var i = 0; i < first.Fields.Count - 1; i++)
            {
                receiver = Field(first, receiver, first.Fields[i]);
            }

            var name = first.Fields[^1];
            return receiver is ITemplateFields fields && arguments is [string argument] && fields.TryGet(name, argument, out var found)
                ? found
                : throw Bad(first.At, $"{name} is not a method but has arguments", first.Text);
        }

        private object? Call(Operand function, List<Operand> words, object? dot, object? final, bool hasFinal)
        {
            if (function.Name is "and" or "or")
            {
                return ShortCut(function, words, dot, final, hasFinal);
            }

            var arguments = new object?[words.Count - 1 + (hasFinal ? 1 : 0)];
            for (var i = 1; i < words.Count; i++)
            {
                arguments[i - 1] = Value(words[i], dot);
            }

            if (hasFinal)
            {
                arguments[^1] = final;
            }

            return Applied(function, arguments);
        }

        private object? Applied(Operand function, object?[] arguments)
        {
            if (isHeader && arguments.Length > 0 && function.Name is "json" or "split" or "join" or "title" or "lower" or "upper" or "truncate")
            {
                return arguments[0];
            }

            try
            {
                return TemplateFunctions.Call(function.Name, arguments);
            }
            catch (TemplateException e)
            {
                throw Bad(function.At, e.Message, function.Text);
            }
        }

        // Go evaluates no more of their arguments than decide.
        private object? ShortCut(Operand function, List<Operand> words, object? dot, object? final, bool hasFinal)
        {
            object? value = null;
            for (var i = 1; i < words.Count; i++)
            {
                value = Value(words[i], dot);
                if (TemplateFunctions.IsTrue(value) == (function.Name == "or"))
                {
                    return value;
                }
            }

            return hasFinal ? final
                : words.Count > 1 ? value
                : throw Bad(function.At, $"wrong number of args for {function.Name}: want at least 1 got 0", function.Text);
        }

        private object? Value(Operand operand, object? dot)
        {
            var value = Start(operand, dot);
            foreach (var field in operand.Fields)
            {
                value = Field(operand, value, field);
            }

            return value;
        }

        private object? Start(Operand operand, object? dot) => operand.Kind switch
        {
            OperandKind.Dot => dot,
            OperandKind.Variable => Find(operand.Name).Value,
            OperandKind.Function => operand.Name is "and" or "or" ? throw Bad(operand.At, $"wrong number of args for {operand.Name}: want at least 1 got 0", operand.Text) : Applied(operand, []),
            OperandKind.Group => Evaluate((Pipeline)operand.Value!, dot),
            _ => operand.Value,
        };

        private object? Field(Operand operand, object? receiver, string name)
        {
            switch (receiver)
            {
                case ITemplateFields fields:
                    return fields.TryGet(name, null, out var column) ? column : throw Bad(operand.At, $"there is no field {name}", operand.Text);
                case JsonPart part when part.TryGet(name, out var member):
                    return member;
                case JsonPart { IsMap: true, Element.ValueKind: JsonValueKind.Object or JsonValueKind.Null }:
                    return null;
                case JsonPart { Element.ValueKind: JsonValueKind.Object }:
                    throw Bad(operand.At, $"map has no entry for key \"{name}\"", operand.Text);
                case null or JsonPart { IsNull: true }:
                    throw Bad(operand.At, $"nil data; no entry for key \"{name}\"", operand.Text);
                default:
                    throw Bad(operand.At, $"can't evaluate field {name} in {TemplateFunctions.TypeOf(receiver)}", operand.Text);
            }
        }

        private TemplateException Bad(int at, string why, string? what = null) =>
            new($"{TemplateParser.Place(text, at)}: {(what is null ? string.Empty : $"at <{what}>: ")}{why}");
    }
}

/// <summary>The functions of templates: Go's own and docker's, and how values are printed and compared.</summary>
internal static class TemplateFunctions
{
    private static readonly HashSet<string> Names = new(StringComparer.Ordinal)
    {
        "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "eq", "ne", "lt", "le", "gt", "ge",
        "json", "split", "join", "title", "lower", "upper", "pad", "truncate",
    };

    private static readonly JsonWriterOptions Plain = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    internal static bool IsKnown(string name) => Names.Contains(name);

    /// <summary>Calls one.</summary>
    /// <exception cref="TemplateException">The arguments are not what it takes; without a place.</exception>
    internal static object? Call(string name, object?[] arguments) => (name, arguments) switch
    {
        ("not", [var value]) => !IsTrue(value),
        ("len", [var value]) => Length(value),
        ("index", [var value, .. var keys]) => Index(value, keys),
        ("slice", [var value, .. var bounds]) => Slice(value, bounds),
        ("print", _) => Sprint(arguments),
        ("println", _) => string.Join(' ', arguments.Select(Printed)) + "\n",
        ("printf", [string format, .. var values]) => Printf(format, values),
        ("eq", [var value, _, ..]) => arguments.Skip(1).Any(other => AreEqual(value, other)),
        ("ne", [var a, var b]) => !AreEqual(a, b),
        ("lt", [var a, var b]) => Compare(a, b) < 0,
        ("le", [var a, var b]) => Compare(a, b) <= 0,
        ("gt", [var a, var b]) => Compare(a, b) > 0,
        ("ge", [var a, var b]) => Compare(a, b) >= 0,
        ("json", [var value]) => Json(value),
        ("split", [string text, string separator]) => text.Split(separator),
        ("join", [var list, string separator]) => string.Join(separator, Texts(list)),
        ("title", [string text]) => Title(text),
        ("lower", [string text]) => text.ToLowerInvariant(),
        ("upper", [string text]) => text.ToUpperInvariant(),
        ("pad", [string text, long before, long after]) => text.Length == 0 ? text : Blanks(before) + text + Blanks(after),
        ("truncate", [string text, long length]) => length < 0 ? throw new TemplateException($"{length} is no length") : text.Length < length ? text : text[..(int)length],
        _ => throw new TemplateException($"{name} does not take {(arguments.Length == 0 ? "nothing" : string.Join(", ", arguments.Select(TypeOf)))}"),
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

    /// <summary>As Go prints it by <c>%v</c>.</summary>
    internal static string Printed(object? value) => value switch
    {
        null => "<no value>",
        string text => text,
        bool flag => flag ? "true" : "false",
        long number => number.ToString(CultureInfo.InvariantCulture),
        double number => Float(number),
        string[] list => $"[{string.Join(' ', list)}]",
        JsonPart { IsNull: true } part => part.Nothing,
        JsonPart { Element.ValueKind: JsonValueKind.Object } part => $"map[{string.Join(' ', part.Names().Select(name => $"{name}:{Printed(JsonPart.Of(part.Element.GetProperty(name), name))}"))}]",
        JsonPart part => $"[{string.Join(' ', Texts(part))}]",
        _ => Json(value),
    };

    /// <summary>What kind of value it is, for errors.</summary>
    internal static string TypeOf(object? value) => value switch
    {
        null or JsonPart { IsNull: true } => "nil",
        string => "a text",
        bool => "true or false",
        long or double => "a number",
        string[] or JsonPart { Element.ValueKind: JsonValueKind.Array } => "a list",
        _ => "an object",
    };

    private static string Blanks(long count) => new(' ', (int)Math.Clamp(count, 0, 1000));

    private static long Length(object? value) => value switch
    {
        string text => Encoding.UTF8.GetByteCount(text),
        string[] list => list.Length,
        JsonPart { Element.ValueKind: JsonValueKind.Object } part => part.NamesAsWritten().Count,
        JsonPart { Element.ValueKind: JsonValueKind.Array } part => part.Element.GetArrayLength(),
        JsonPart { IsNull: true } => 0,
        _ => throw new TemplateException($"error calling len: {TypeOf(value)} has no length"),
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
                _ => throw new TemplateException($"error calling index: {TypeOf(value)} has no element {Printed(key)}"),
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
            throw new TemplateException($"error calling slice: index out of range: {Printed(bounds.Length > 0 ? bounds[^1] : null)}");
        }

        return value switch
        {
            string text => Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text).AsSpan((int)from, (int)(to - from))),
            string[] or JsonPart { Element.ValueKind: JsonValueKind.Array } => Texts(value).Skip((int)from).Take((int)(to - from)).ToArray(),
            _ => throw new TemplateException($"error calling slice: can't slice {TypeOf(value)}"),
        };
    }

    private static IEnumerable<string> Texts(object? value) => value switch
    {
        string[] list => list,
        null or JsonPart { IsNull: true } => [],
        JsonPart { Element.ValueKind: JsonValueKind.Array } part => part.Element.EnumerateArray().Select(item => Printed(JsonPart.Of(item, string.Empty))),
        JsonPart part => part.Names().Select(name => Printed(JsonPart.Of(part.Element.GetProperty(name), string.Empty))).Order(StringComparer.Ordinal),
        _ => throw new TemplateException($"error calling join: expected a list, got {TypeOf(value)}"),
    };

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

    internal static string Json(object? value)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, Plain))
        {
            Write(json, value);
        }

        var text = Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length);

        // Of the lines of a list docker's client writes these three so that HTML can hold them; they stand in texts only.
        return value is ITemplateFields
            ? text.Replace("<", "\\u003c", StringComparison.Ordinal).Replace(">", "\\u003e", StringComparison.Ordinal).Replace("&", "\\u0026", StringComparison.Ordinal)
            : text;
    }

    private static void Write(Utf8JsonWriter json, object? value)
    {
        switch (value)
        {
            case null:
                json.WriteNullValue();
                break;
            case ITemplateFields fields:
                fields.WriteTo(json);
                break;
            case string text:
                json.WriteStringValue(text);
                break;
            case bool flag:
                json.WriteBooleanValue(flag);
                break;
            case long number:
                json.WriteNumberValue(number);
                break;
            case double number:
                json.WriteNumberValue(number);
                break;
            case string[] list:
                json.WriteStartArray();
                foreach (var item in list)
                {
                    json.WriteStringValue(item);
                }

                json.WriteEndArray();
                break;
            case JsonPart part:
                Write(json, part);
                break;
        }
    }

    private static void Write(Utf8JsonWriter json, JsonPart part)
    {
        if (part.Element.ValueKind == JsonValueKind.Object)
        {
            json.WriteStartObject();
            foreach (var name in part.IsMap ? part.Names() : [.. part.NamesAsWritten()])
            {
                json.WritePropertyName(name);
                Write(json, new JsonPart(part.Element.GetProperty(name), name));
            }

            json.WriteEndObject();
        }
        else if (part.Element.ValueKind == JsonValueKind.Array)
        {
            json.WriteStartArray();
            foreach (var item in part.Element.EnumerateArray())
            {
                Write(json, new JsonPart(item, string.Empty));
            }

            json.WriteEndArray();
        }
        else if (part.IsNull)
        {
            json.WriteNullValue();
        }
        else
        {
            part.Element.WriteTo(json);
        }
    }

    // Between two operands a blank, unless one of them is a text.
    private static string Sprint(object?[] values)
    {
        var text = new StringBuilder();
        for (var i = 0; i < values.Length; i++)
        {
            text.Append(i > 0 && values[i] is not string && values[i - 1] is not string ? " " : string.Empty).Append(Printed(values[i]));
        }

        return text.ToString();
    }

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

    private static string Float(double number)
    {
        var size = Math.Abs(number);
        if (size is 0 or (>= 1e-4 and < 1e21))
        {
            return size < 1e15 ? number.ToString("R", CultureInfo.InvariantCulture) : number.ToString("F0", CultureInfo.InvariantCulture);
        }

        return Exponent(number.ToString("R", CultureInfo.InvariantCulture));
    }

    // An exponent has at least two digits.
    private static string Exponent(string number)
    {
        var parts = number.Split('E');
        var power = int.Parse(parts[1], CultureInfo.InvariantCulture);
        return string.Create(CultureInfo.InvariantCulture, $"{parts[0]}e{(power < 0 ? '-' : '+')}{Math.Abs(power):00}");
    }

    /// <summary>Go's verbs for texts, numbers and flags, with width and precision.</summary>
    private static string Printf(string format, object?[] values)
    {
        var output = new StringBuilder();
        var next = 0;
        for (var at = 0; at < format.Length; at++)
        {
            if (format[at] != '%')
            {
                output.Append(format[at]);
                continue;
            }

            var flags = new StringBuilder();
            for (at++; at < format.Length && format[at] is '-' or '+' or '#' or ' ' or '0'; at++)
            {
                flags.Append(format[at]);
            }

            var width = Digits(format, ref at);
            int? precision = null;
            if (at < format.Length && format[at] == '.')
            {
                at++;
                precision = Digits(format, ref at);
            }

            if (at >= format.Length)
            {
                output.Append("%!(NOVERB)");
                break;
            }

            if (format[at] == '%')
            {
                output.Append('%');
                continue;
            }

            if (next >= values.Length)
            {
                output.Append(CultureInfo.InvariantCulture, $"%!{format[at]}(MISSING)");
                continue;
            }

            Pad(output, Formatted(format[at], flags.ToString(), precision, values[next++]), width, flags.ToString());
        }

        if (next < values.Length)
        {
            output.Append("%!(EXTRA ");
            output.AppendJoin(", ", values.Skip(next).Select(value => $"{GoType(value)}={Printed(value)}"));
            output.Append(')');
        }

        return output.ToString();
    }

    private static int Digits(string format, ref int at)
    {
        var number = 0;
        for (; at < format.Length && char.IsAsciiDigit(format[at]); at++)
        {
            number = Math.Min((number * 10) + format[at] - '0', 1000);
        }

        return number;
    }

    private static string Formatted(char verb, string flags, int? precision, object? value)
    {
        var plus = flags.Contains('+', StringComparison.Ordinal) ? "+" : flags.Contains(' ', StringComparison.Ordinal) ? " " : string.Empty;
        return (verb, value) switch
        {
            ('v', string text) => flags.Contains('#', StringComparison.Ordinal) ? Quoted(text) : text,
            ('v', long number) => (number >= 0 ? plus : string.Empty) + Printed(number),
            ('v', _) or ('s', not (long or double or bool)) when value is not string => Printed(value),
            ('s', string text) => precision is { } most && most < text.Length ? text[..most] : text,
            ('q', string text) => Quoted(text),
            ('t', bool flag) => flag ? "true" : "false",
            ('d', long number) => (number >= 0 ? plus : string.Empty) + number.ToString(CultureInfo.InvariantCulture),
            ('x', long number) => (number < 0 ? "-" : string.Empty) + Math.Abs(number).ToString("x", CultureInfo.InvariantCulture),
            ('X', long number) => (number < 0 ? "-" : string.Empty) + Math.Abs(number).ToString("X", CultureInfo.InvariantCulture),
            ('o', long number) => Convert.ToString(number, 8),
            ('b', long number) => Convert.ToString(number, 2),
            ('c', long number) => Rune.IsValid((int)number) ? new Rune((int)number).ToString() : "\uFFFD",
            ('x', string text) => Convert.ToHexStringLower(Encoding.UTF8.GetBytes(text)),
            ('X', string text) => Convert.ToHexString(Encoding.UTF8.GetBytes(text)),
            ('f' or 'F', double number) => (number >= 0 ? plus : string.Empty) + number.ToString("F" + (precision ?? 6).ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture),
            ('e', double number) => (number >= 0 ? plus : string.Empty) + Exponent(number.ToString("E" + (precision ?? 6).ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture)),
            ('g', double number) => Float(number),
            _ => $"%!{verb}({(value is null ? "<nil>" : $"{GoType(value)}={Printed(value)}")})",
        };
    }

    private static void Pad(StringBuilder output, string text, int width, string flags)
    {
        var missing = width - Table.WidthOf(text);
        if (missing <= 0)
        {
            output.Append(text);
        }
        else if (flags.Contains('-', StringComparison.Ordinal))
        {
            output.Append(text).Append(' ', missing);
        }
        else if (flags.Contains('0', StringComparison.Ordinal))
        {
            var sign = text[0] is '-' or '+' ? 1 : 0;
            output.Append(text, 0, sign).Append('0', missing).Append(text, sign, text.Length - sign);
        }
        else
        {
            output.Append(' ', missing).Append(text);
        }
    }

    /// <summary>As a Go string literal.</summary>
    internal static string Quoted(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (var c in text)
        {
            quoted.Append(c switch
            {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\a' => "\\a",
                '\b' => "\\b",
                '\f' => "\\f",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\v' => "\\v",
                _ when char.IsControl(c) => string.Create(CultureInfo.InvariantCulture, $"{(c < 256 ? "\\x" : "\\u")}{(int)c:x2}"),
                _ => c.ToString(),
            });
        }

        return quoted.Append('"').ToString();
    }

    private static string GoType(object? value) => value switch
    {
        null => "<nil>",
        string => "string",
        bool => "bool",
        long => "int",
        double => "float64",
        string[] => "[]string",
        _ => "map[string]interface {}",
    };
}
