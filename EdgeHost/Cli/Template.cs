using System.Text;
using System.Text.Json;

namespace EdgeHost.Cli;

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
                            Output.Append(TemplateText.Printed(value));
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
                    throw Bad(pipeline.At, $"range can't iterate over {TemplateText.Printed(value)}");
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
                    throw Bad(operand.At, $"can't evaluate field {name} in {TemplateText.TypeOf(receiver)}", operand.Text);
            }
        }

        private TemplateException Bad(int at, string why, string? what = null) =>
            new($"{TemplateParser.Place(text, at)}: {(what is null ? string.Empty : $"at <{what}>: ")}{why}");
    }
}
