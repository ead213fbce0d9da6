using System.Globalization;
using System.Text;

namespace EdgeHost.Cli;

/// <summary>A template that is wrong, or does not fit what it is given; the message has its place, as <c>:line:column</c>.</summary>
internal sealed class TemplateException(string message) : Exception(message)
{
    /// <summary>What the command ends with.</summary>
    internal int ExitCode { get; init; } = Cli.ExitCode.Failed;
}

/// <summary>A part of a template: text when it has no other content.</summary>
/// <param name="at">Where it begins.</param>
internal abstract class TemplatePart(int at)
{
    internal int At => at;
}

/// <summary>What is printed as it stands.</summary>
internal sealed class TextPart(int at, string text) : TemplatePart(at)
{
    internal string Text => text;
}

/// <summary><c>{{pipeline}}</c>.</summary>
internal sealed class ActionPart(int at, Pipeline pipeline) : TemplatePart(at)
{
    internal Pipeline Pipeline => pipeline;
}

/// <summary><c>if</c>, <c>with</c>, <c>range</c>.</summary>
internal sealed class BranchPart(int at, string word, Pipeline pipeline, List<TemplatePart> body, List<TemplatePart> otherwise) : TemplatePart(at)
{
    internal string Word => word;

    internal Pipeline Pipeline => pipeline;

    internal List<TemplatePart> Body => body;

    internal List<TemplatePart> Otherwise => otherwise;
}

/// <summary><c>break</c> or <c>continue</c>.</summary>
internal sealed class LeavePart(int at, bool isBreak) : TemplatePart(at)
{
    internal bool IsBreak => isBreak;
}

/// <summary>Commands, of which each gets the value of the one before as its last argument; the last value may be kept in variables.</summary>
internal sealed class Pipeline(int at)
{
    internal int At => at;

    internal List<string> Variables { get; } = [];

    /// <summary>Whether the variables were there before (<c>=</c>, not <c>:=</c>).</summary>
    internal bool IsAssignment { get; set; }

    /// <summary>Words each.</summary>
    internal List<List<Operand>> Commands { get; } = [];
}

/// <summary>What an operand is before the fields that follow it.</summary>
internal enum OperandKind
{
    /// <summary>The dot; fields follow or not.</summary>
    Dot,

    /// <summary>A variable by its name.</summary>
    Variable,

    /// <summary>A function by its name.</summary>
    Function,

    /// <summary>A text, number, true or false.</summary>
    Literal,

    /// <summary><c>nil</c>.</summary>
    Nil,

    /// <summary>A pipeline in parentheses.</summary>
    Group,
}

/// <summary>A word of a command.</summary>
internal sealed class Operand(int at, OperandKind kind, string name, object? value)
{
    internal int At => at;

    internal OperandKind Kind => kind;

    internal string Name => name;

    /// <summary>The literal, or the pipeline of a group.</summary>
    internal object? Value => value;

    internal List<string> Fields { get; } = [];

    /// <summary>As it was written, for what an error says.</summary>
    internal string Text { get; set; } = string.Empty;
}

/// <summary>Reads the language of Go's text/template, as far as docker's users write it: all but <c>define</c>, <c>template</c> and <c>block</c>.</summary>
internal sealed class TemplateParser
{
    private readonly string _text;
    private readonly List<string> _variables = ["$"];
    private int _at;
    private int _ranges;

    private TemplateParser(string text) => _text = text;

    /// <summary>Parses.</summary>
    /// <exception cref="TemplateException">It is wrong.</exception>
    internal static List<TemplatePart> Parse(string text)
    {
        var parser = new TemplateParser(text);
        var (parts, ending) = parser.Parts();
        return ending.Length == 0 ? parts : throw parser.Bad($"unexpected {{{{{ending}}}}}");
    }

    /// <summary>A place as Go's templates name it: the line from 1, the column from 0.</summary>
    internal static string Place(string text, int at)
    {
        var before = text.AsSpan(0, Math.Min(at, text.Length));
        return string.Create(CultureInfo.InvariantCulture, $"template: :{before.Count('\n') + 1}:{before.Length - before.LastIndexOf('\n') - 1}");
    }

    // The parts up to an else or end, which the caller finds as the word that ended them, or to the end of the text.
    private (List<TemplatePart> Parts, string Ending) Parts()
    {
        var parts = new List<TemplatePart>();
        while (true)
        {
            var start = _text.IndexOf("{{", _at, StringComparison.Ordinal);
            var text = start < 0 ? _text[_at..] : _text[_at..start];
            var trimmed = start >= 0 && IsTrim(start + 2);
            text = trimmed ? text.TrimEnd(' ', '\t', '\r', '\n') : text;
            if (text.Length > 0)
            {
                parts.Add(new TextPart(_at, text));
            }

            if (start < 0)
            {
                _at = _text.Length;
                return (parts, string.Empty);
            }

            _at = start + (trimmed ? 3 : 2);
            Blanks();
            if (_text.AsSpan(_at).StartsWith("/*", StringComparison.Ordinal))
            {
                Comment();
                continue;
            }

            var before = _at;
            var word = Word();
            switch (word)
            {
                case "else" or "end":
                    return (parts, word);
                case "if" or "with" or "range":
                    parts.Add(Branch(before, word));
                    break;
                case "break" or "continue":
                    parts.Add(_ranges > 0 ? new LeavePart(before, word == "break") : throw Bad($"{{{{{word}}}}} outside {{{{range}}}}"));
                    Close(word);
                    break;
                case "define" or "template" or "block":
                    throw Bad($"{word} is not in this version");
                default:
                    _at = before;
                    parts.Add(new ActionPart(before, Pipeline("command", mayBeTwo: false)));
                    Close("command");
                    break;
            }
        }
    }

    private BranchPart Branch(int at, string word)
    {
        var depth = _variables.Count;
        var pipeline = Pipeline(word, mayBeTwo: word == "range");
        Close(word);
        _ranges += word == "range" ? 1 : 0;
        var (body, ending) = Parts();
        _ranges -= word == "range" ? 1 : 0;
        List<TemplatePart> otherwise = [];
        if (ending == "else")
        {
            Blanks();
            var next = _at;
            var chained = Word();
            if (chained.Length > 0 && (chained != word || chained == "range"))
            {
                throw Bad($"unexpected \"{chained}\" in else");
            }

            if (chained.Length > 0)
            {
                // Its end is the end of the whole.
                otherwise = [Branch(next, chained)];
                _variables.RemoveRange(depth, _variables.Count - depth);
                return new BranchPart(at, word, pipeline, body, otherwise);
            }

            Close("else");
            (otherwise, ending) = Parts();
        }

        if (ending != "end")
        {
            throw Bad(ending.Length == 0 ? "unexpected EOF" : "expected end; found {{else}}");
        }

        Close("end");
        _variables.RemoveRange(depth, _variables.Count - depth);
        return new BranchPart(at, word, pipeline, body, otherwise);
    }

    private Pipeline Pipeline(string context, bool mayBeTwo)
    {
        Blanks();
        var pipeline = new Pipeline(_at);
        Declaration(pipeline, mayBeTwo);
        do
        {
            var command = Command();
            if (command.Count == 0)
            {
                throw Bad($"missing value for {context}");
            }

            if (pipeline.Commands.Count > 0 && command[0] is { Kind: OperandKind.Literal or OperandKind.Nil or OperandKind.Dot, Fields.Count: 0 })
            {
                throw Bad($"non executable command in pipeline stage {pipeline.Commands.Count + 1}", command[0].At);
            }

            pipeline.Commands.Add(command);
        }
        while (Take('|'));
        return pipeline;
    }

    // $x := …, $x = …, and for range $i, $x := …
    private void Declaration(Pipeline pipeline, bool mayBeTwo)
    {
        var start = _at;
        if (Peek() != '$')
        {
            return;
        }

        var names = new List<string> { Variable() };
        Blanks();
        if (Peek() == ',')
        {
            if (!mayBeTwo)
            {
                throw Bad("too many declarations");
            }

            _at++;
            Blanks();
            names.Add(Peek() == '$' ? Variable() : throw Bad("range can only initialize variables"));
            Blanks();
        }

        pipeline.IsAssignment = Peek() == '=';
        if (!pipeline.IsAssignment && !_text.AsSpan(_at).StartsWith(":=", StringComparison.Ordinal))
        {
            _at = names.Count == 1 ? start : throw Bad("range can only initialize variables");
            return;
        }

        _at += pipeline.IsAssignment ? 1 : 2;
        foreach (var name in names)
        {
            if (pipeline.IsAssignment && !_variables.Contains(name))
            {
                throw Bad($"undefined variable \"{name}\"", start);
            }

            pipeline.Variables.Add(name);
            _variables.Add(name);
        }
    }

    private List<Operand> Command()
    {
        var words = new List<Operand>();
        while (true)
        {
            Blanks();
            if (IsEnd() || Peek() is '|' or ')')
            {
                return words;
            }

            words.Add(Operand());
        }
    }

    private Operand Operand()
    {
        var at = _at;
        var operand = Peek() switch
        {
            '.' => new Operand(at, OperandKind.Dot, string.Empty, null),
            '$' => new Operand(at, OperandKind.Variable, Known(Variable(), at), null),
            '"' => new Operand(at, OperandKind.Literal, string.Empty, Quoted()),
            '`' => new Operand(at, OperandKind.Literal, string.Empty, Raw()),
            '\'' => new Operand(at, OperandKind.Literal, string.Empty, Character()),
            '(' => new Operand(at, OperandKind.Group, string.Empty, Group()),
            '+' or '-' or (>= '0' and <= '9') => new Operand(at, OperandKind.Literal, string.Empty, Number()),
            var c when IsLetter(c) => Named(at),
            var c => throw Bad(c == '}' ? "bad character '}'" : $"unexpected \"{c}\" in command"),
        };
        while (Peek() == '.')
        {
            _at++;
            var field = Word();
            if (field.Length == 0)
            {
                // The dot alone, or one that leads nowhere.
                if (operand.Kind == OperandKind.Dot && _at == at + 1)
                {
                    break;
                }

                throw Bad("unexpected <.> in operand", _at - 1);
            }

            if (operand.Kind is OperandKind.Literal or OperandKind.Nil)
            {
                throw Bad($"unexpected . after term \"{_text[at..(_at - field.Length - 1)]}\"", at);
            }

            operand.Fields.Add(field);
        }

        operand.Text = _text[at.._at];
        return IsEnd() || Peek() is ' ' or '\t' or '\r' or '\n' or '|' or ')' or '(' ? operand : throw Bad(Peek() == '}' ? "bad character '}'" : $"unexpected \"{Peek()}\" in operand");
    }

    private Operand Named(int at) => Word() switch
    {
        "true" => new Operand(at, OperandKind.Literal, string.Empty, true),
        "false" => new Operand(at, OperandKind.Literal, string.Empty, false),
        "nil" => new Operand(at, OperandKind.Nil, string.Empty, null),
        var name when TemplateFunctions.IsKnown(name) => new Operand(at, OperandKind.Function, name, null),
        var name => throw Bad($"function \"{name}\" not defined", at),
    };

    private Pipeline Group()
    {
        var open = _at++;
        var pipeline = Pipeline("parenthesized pipeline", mayBeTwo: false);
        return Take(')') ? pipeline : throw Bad("unclosed left paren", open);
    }

    private string Known(string name, int at) => _variables.Contains(name) ? name : throw Bad($"undefined variable \"{name}\"", at);

    private string Variable()
    {
        _at++;
        return "$" + Word();
    }

    private string Quoted()
    {
        var start = _at++;
        var text = new StringBuilder();
        while (true)
        {
            var c = Peek();
            if (c is '\0' or '\n')
            {
                throw Bad("unterminated quoted string", start);
            }

            _at++;
            if (c == '"')
            {
                return text.ToString();
            }

            text.Append(c == '\\' ? Escaped(start) : c.ToString());
        }
    }

    // The escapes of Go's strings.
    private string Escaped(int start)
    {
        var c = Peek();
        _at++;
        var digits = c switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (digits == 0)
        {
            return c switch
            {
                'n' => "\n",
                't' => "\t",
                'r' => "\r",
                'a' => "\a",
                'b' => "\b",
                'f' => "\f",
                'v' => "\v",
                '\\' or '"' or '\'' => c.ToString(),
                _ => throw Bad("invalid syntax", start),
            };
        }

        if (_at + digits > _text.Length || !int.TryParse(_text.AsSpan(_at, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var rune) || !Rune.IsValid(rune))
        {
            throw Bad("invalid syntax", start);
        }

        _at += digits;
        return char.ConvertFromUtf32(rune);
    }

    private string Raw()
    {
        var end = _text.IndexOf('`', _at + 1);
        var text = end > 0 ? _text[(_at + 1)..end] : throw Bad("unterminated raw quoted string");
        _at = end + 1;
        return text;
    }

    // A character is its number.
    private object Character()
    {
        var start = _at++;
        var text = Peek() switch
        {
            '\\' => Escape(),
            '\0' or '\n' or '\'' => throw Bad("unterminated character constant", start),
            var c => Plain(c),
        };
        return Take('\'') ? (long)Rune.GetRuneAt(text, 0).Value : throw Bad("unterminated character constant", start);

        string Escape()
        {
            _at++;
            return Escaped(start);
        }

        string Plain(char c)
        {
            _at++;
            return c.ToString();
        }
    }

    private object Number()
    {
        var start = _at;
        _at++;
        while (char.IsAsciiLetterOrDigit(Peek()) || Peek() is '.' or '_' or '+' or '-')
        {
            _at++;
        }

        var text = _text[start.._at].Replace("_", string.Empty, StringComparison.Ordinal);
        if (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) && long.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var hex))
        {
            return hex;
        }

        return long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole) ? (object)whole
            : double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var fraction) ? fraction
            : throw Bad($"bad number syntax: \"{text}\"", start);
    }

    private void Comment()
    {
        var end = _text.IndexOf("*/", _at + 2, StringComparison.Ordinal);
        _at = end > 0 ? end + 2 : throw Bad("unclosed comment");
        Blanks();
        if (!IsEnd())
        {
            throw Bad("comment ends before closing delimiter");
        }

        Close("comment");
    }

    // }} or, with what follows freed of blanks, -}}.
    private void Close(string context)
    {
        Blanks();
        if (!IsEnd())
        {
            throw Bad(Peek() switch
            {
                '\0' => "unclosed action",
                ')' => "unexpected right paren",
                var c => $"unexpected \"{c}\" in {context}",
            });
        }

        if (Peek() != '-')
        {
            _at += 2;
            return;
        }

        _at += 3;
        Blanks();
    }

    private bool IsEnd() => _text.AsSpan(_at).StartsWith("}}", StringComparison.Ordinal)
        || (_at > 0 && _text[_at - 1] is ' ' or '\t' or '\r' or '\n' && _text.AsSpan(_at).StartsWith("-}}", StringComparison.Ordinal));

    private bool IsTrim(int at) => at + 1 < _text.Length && _text[at] == '-' && _text[at + 1] is ' ' or '\t' or '\r' or '\n';

    private void Blanks()
    {
        while (Peek() is ' ' or '\t' or '\r' or '\n')
        {
            _at++;
        }
    }

    private string Word()
    {
        var start = _at;
        while (IsLetter(Peek()) || (_at > start && char.IsDigit(Peek())))
        {
            _at++;
        }

        return _text[start.._at];
    }

    private bool Take(char c)
    {
        Blanks();
        var there = Peek() == c;
        _at += there ? 1 : 0;
        return there;
    }

    private char Peek() => _at < _text.Length ? _text[_at] : '\0';

    private static bool IsLetter(char c) => c == '_' || char.IsLetter(c);

    private TemplateException Bad(string why, int? at = null) => new($"{Place(_text, at ?? _at)}: {(Peek() == '\0' && at is null && why.StartsWith("unexpected \"", StringComparison.Ordinal) ? "unclosed action" : why)}");
}
