using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>A column of a list.</summary>
/// <param name="name">In templates, as docker has it.</param>
/// <param name="title">Above it.</param>
/// <param name="value">Its value; the second argument says that nothing is to be shortened.</param>
internal sealed class Column(string name, string title, Func<JsonElement, bool, string?> value)
{
    internal string Name => name;

    internal string Title => title;

    internal Func<JsonElement, bool, string?> Value => value;
}

/// <summary>A list that a command prints as docker does: its columns, and the options by which they are chosen.</summary>
internal sealed class Listing
{
    private const int ShortIdLength = 12;

    private readonly Option<bool> _quiet = new("--quiet", "-q");
    private readonly Option<bool> _whole = new("--no-trunc") { Description = "Shorten nothing" };
    private readonly Option<string?> _format = FormatOption("Print by a template with the names of columns, as in '{{.ID}}'; 'table TEMPLATE' with titles, 'json' as JSON");
    private readonly Option<string[]> _filter = new("--filter", "-f") { HelpName = "key=value" };
    private readonly Option<bool> _json = new("--json") { Description = "Print what the daemon answers, as JSON" };
    private readonly string _table;
    private readonly Column[] _columns;
    private readonly string _quietTemplate;

    /// <summary>Makes one.</summary>
    /// <param name="table">The template of the table that is printed unless another is asked for.</param>
    /// <param name="columns">All columns.</param>
    internal Listing(string table, params Column[] columns)
    {
        _table = table;
        _columns = columns;
        _quietTemplate = Array.Exists(columns, column => column.Name == "ID") ? "{{.ID}}" : "{{.Name}}";
        _quiet.Description = _quietTemplate == "{{.ID}}" ? "Print ids only" : "Print names only";
    }

    /// <summary>Whether <c>--quiet</c> goes before a template, as docker's <c>ps</c> has it.</summary>
    internal bool IsQuietFirst { get; init; }

    /// <summary>Makes the option.</summary>
    internal static Option<string?> FormatOption(string description, params string[] letter) => new("--format", letter) { Description = description, HelpName = "template" };

    /// <summary>Adds the options that docker has for the list.</summary>
    /// <param name="command">The command.</param>
    /// <param name="filters">The filters that the daemon knows; null for no filters and no <c>--quiet</c>.</param>
    internal void AddTo(Command command, string? filters)
    {
        if (filters is not null)
        {
            _filter.Description = $"Show those that fit ({filters})";
            command.Add(_filter);
            command.Add(_quiet);
        }

        command.Add(_format);
        command.Add(_json);
        command.Add(_whole);
    }

    /// <summary>The filters of Docker's API that were asked for; null without any.</summary>
    internal string? Filters(ParseResult parsed, params string[] more) => PsCommand.Filters([.. parsed.GetValue(_filter)!, .. more]);

    /// <summary>Whether what the daemon answers is to be printed.</summary>
    internal bool IsJson(ParseResult parsed) => parsed.GetValue(_json);

    /// <summary>The template, parsed before anything is asked of the daemon.</summary>
    /// <exception cref="TemplateException">It is wrong.</exception>
    internal ListingPrinter Printer(ParseResult parsed, string? table = null)
    {
        var asked = parsed.GetValue(_format);
        var quiet = parsed.GetValue(_quiet);
        if (asked == "raw")
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "--format raw is not in this version; json has the same");
        }

        var format = string.IsNullOrEmpty(asked) || asked == "table" || (quiet && IsQuietFirst) ? (quiet ? _quietTemplate : table ?? _table) : asked;
        return new ListingPrinter(format, _columns, parsed.GetValue(_whole));
    }

    /// <summary>Prints what the daemon answered.</summary>
    internal void Print(ParseResult parsed, ListingPrinter printer, IEnumerable<JsonElement> items, IEnumerable<JsonElement>? answered = null)
    {
        var output = parsed.InvocationConfiguration.Output;
        if (IsJson(parsed))
        {
            output.WriteLine(DaemonJson.Indented(answered ?? items));
        }
        else
        {
            printer.Print(items, output);
        }
    }

    /// <summary>An id as people need it.</summary>
    internal static string ShortId(string id, bool whole)
    {
        if (whole)
        {
            return id;
        }

        id = id[(id.IndexOf(':', StringComparison.Ordinal) + 1)..];
        return id.Length <= ShortIdLength ? id : id[..ShortIdLength];
    }

    /// <summary>At most so many letters, the last one a sign that there were more.</summary>
    internal static string Ellipsis(string text, int most, bool whole) => whole || text.Length <= most ? text : text[..(most - 1)] + "…";

    /// <summary><c>a=b,c=d</c>, in order.</summary>
    internal static string Labels(JsonElement item)
    {
        var labels = item.Member("Labels");
        return string.Join(',', new JsonPart(labels, string.Empty).Names().Select(name => $"{name}={labels.Text(name)}"));
    }

    /// <summary>A time as Go prints it: <c>2026-01-02 03:04:05 +0000 UTC</c>; a zone is shown by its distance alone.</summary>
    internal static string Moment(DateTimeOffset time)
    {
        var fraction = (time.Ticks % TimeSpan.TicksPerSecond).ToString("0000000", CultureInfo.InvariantCulture).TrimEnd('0');
        var zone = time.Offset == TimeSpan.Zero ? "UTC" : time.ToString(time.Offset.Minutes == 0 ? "zz" : "zzz", CultureInfo.InvariantCulture).Replace(":", string.Empty, StringComparison.Ordinal);
        return string.Create(CultureInfo.InvariantCulture, $"{time:yyyy-MM-dd HH:mm:ss}{(fraction.Length > 0 ? "." : string.Empty)}{fraction} {time.ToString("zzz", CultureInfo.InvariantCulture).Replace(":", string.Empty, StringComparison.Ordinal)} {zone}");
    }

    /// <summary>A moment of an answer that counts seconds since 1970, in the zone of this host.</summary>
    internal static string Created(JsonElement item) => Moment(DateTimeOffset.FromUnixTimeSeconds(item.Number("Created")).ToLocalTime());
}

/// <summary>Prints the lines of a list by a template.</summary>
internal sealed class ListingPrinter
{
    private const string Table = "table";

    private readonly Template _template;
    private readonly Column[] _columns;
    private readonly bool _isTable;
    private readonly bool _whole;

    internal ListingPrinter(string format, Column[] columns, bool whole)
    {
        _columns = columns;
        _whole = whole;
        _isTable = format.StartsWith(Table, StringComparison.Ordinal);
        var text = (_isTable ? format[Table.Length..] : format).Trim(' ');

        // A shell passes these on as two letters each.
        _template = new Template(text == "json" ? "{{json .}}" : text.Replace("\\t", "\t", StringComparison.Ordinal).Replace("\\n", "\n", StringComparison.Ordinal));
    }

    /// <summary>Prints, for a table with the titles first.</summary>
    internal void Print(IEnumerable<JsonElement> items, TextWriter output)
    {
        if (!_isTable)
        {
            var lines = new List<string>();
            foreach (var item in items)
            {
                lines.Add(Line(item));
            }

            lines.ForEach(output.WriteLine);
            return;
        }

        var table = new Table(_template.Run(new Titles(_columns), isHeader: true).Split('\t'));
        foreach (var item in items)
        {
            table.AddText(Line(item));
        }

        table.Write(output, _whole);
    }

    private string Line(JsonElement item) => _template.Run(new Row(_columns, item, _whole));

    private sealed class Row(Column[] columns, JsonElement item, bool whole) : ITemplateFields
    {
        public bool TryGet(string name, string? argument, out object? value)
        {
            if (argument is not null)
            {
                value = item.Member("Labels").Text(argument);
                return name == "Label";
            }

            var found = Array.Find(columns, column => column.Name == name);
            value = found?.Value(item, whole);
            return found is not null;
        }

        public void WriteTo(Utf8JsonWriter json)
        {
            json.WriteStartObject();
            var names = Array.ConvertAll(columns, column => column.Name);
            Array.Sort(names, columns, StringComparer.Ordinal);
            foreach (var column in columns)
            {
                json.WriteString(column.Name, column.Value(item, whole));
            }

            json.WriteEndObject();
        }
    }

    private sealed class Titles(Column[] columns) : ITemplateFields
    {
        public bool TryGet(string name, string? argument, out object? value)
        {
            // Of a label the last part of its name.
            value = argument is not null
                ? argument[(argument.LastIndexOf('.') + 1)..].Replace('-', ' ').Replace('_', ' ')
                : Array.Find(columns, column => column.Name == name)?.Title;
            return value is not null && (argument is null || name == "Label");
        }

        public void WriteTo(Utf8JsonWriter json) => json.WriteNullValue();
    }
}
