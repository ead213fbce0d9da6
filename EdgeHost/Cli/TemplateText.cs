using System.Globalization;
using System.Text;
using System.Text.Json;

namespace EdgeHost.Cli;

/// <summary>How templates print values: as Go does, by itself and by the verbs of printf, and as JSON.</summary>
internal static class TemplateText
{
    private static readonly JsonWriterOptions Plain = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

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

    internal static IEnumerable<string> Texts(object? value) => value switch
    {
        string[] list => list,
        null or JsonPart { IsNull: true } => [],
        JsonPart { Element.ValueKind: JsonValueKind.Array } part => part.Element.EnumerateArray().Select(item => Printed(JsonPart.Of(item, string.Empty))),
        JsonPart part => part.Names().Select(name => Printed(JsonPart.Of(part.Element.GetProperty(name), string.Empty))).Order(StringComparer.Ordinal),
        _ => throw new TemplateException($"error calling join: expected a list, got {TypeOf(value)}"),
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
    internal static string Sprint(object?[] values)
    {
        var text = new StringBuilder();
        for (var i = 0; i < values.Length; i++)
        {
            text.Append(i > 0 && values[i] is not string && values[i - 1] is not string ? " " : string.Empty).Append(Printed(values[i]));
        }

        return text.ToString();
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
    internal static string Printf(string format, object?[] values)
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
