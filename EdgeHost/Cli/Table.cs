using System.Text;
using EdgeHost.Linux;
using Microsoft.Win32.SafeHandles;

namespace EdgeHost.Cli;

/// <summary>
/// Text in columns, as docker prints it: cells end with a tab, a column is as wide as its widest cell among neighbouring
/// lines, with three blanks behind it and ten letters at least. On a terminal that is too narrow, cells are cut so that
/// columns stay columns.
/// </summary>
internal sealed class Table
{
    private const int Gap = 3;
    private const int Narrowest = 10;

    private readonly List<string[]> _lines = [];
    private int _gap = Gap;
    private int _narrowest = Narrowest;

    internal Table(params string[] titles) => _lines.Add(titles);

    internal void Add(params string[] cells) => _lines.Add(cells);

    /// <summary>Adds lines of text whose cells are parted by tabs.</summary>
    internal void AddText(string text)
    {
        foreach (var line in text.Split('\n'))
        {
            _lines.Add(line.Split('\t'));
        }
    }

    /// <summary>Writes it.</summary>
    /// <param name="output">Where to.</param>
    /// <param name="whole">Whether nothing is cut, however narrow the terminal.</param>
    internal void Write(TextWriter output, bool whole = false)
    {
        if (!whole && Screen.Columns(output) is > 0 and var columns)
        {
            Narrow(columns);
        }

        var text = new StringBuilder();
        Block(text, [], 0, _lines.Count);
        output.Write(text.ToString());
    }

    // What Go's text/tabwriter does: a column reaches over neighbouring lines that have a tab there, and no further.
    private void Block(StringBuilder text, List<int> widths, int from, int to)
    {
        var column = widths.Count;
        for (var line = from; line < to; line++)
        {
            if (column >= _lines[line].Length - 1)
            {
                continue;
            }

            Print(text, widths, from, line);
            from = line;
            var width = _narrowest;
            for (; line < to && column < _lines[line].Length - 1; line++)
            {
                width = Math.Max(width, WidthOf(_lines[line][column]) + _gap);
            }

            widths.Add(width);
            Block(text, widths, from, line);
            widths.RemoveAt(column);
            from = line--;
        }

        Print(text, widths, from, to);
    }

    private void Print(StringBuilder text, List<int> widths, int from, int to)
    {
        for (var line = from; line < to; line++)
        {
            for (var cell = 0; cell < _lines[line].Length; cell++)
            {
                text.Append(_lines[line][cell]);
                if (cell < widths.Count)
                {
                    text.Append(' ', widths[cell] - WidthOf(_lines[line][cell]));
                }
            }

            text.Append('\n');
        }
    }

    // What names a thing is to be copied whole, so it is cut last; what is left over after that the terminal breaks.
    private void Narrow(int columns)
    {
        var count = _lines[0].Length;
        if (_lines.Exists(line => line.Length != count))
        {
            return;
        }

        var widths = new int[count];
        foreach (var line in _lines)
        {
            for (var i = 0; i < count; i++)
            {
                widths[i] = Math.Max(widths[i], WidthOf(line[i]));
            }
        }

        if (!Fit(widths, columns, Narrowest - Gap, IsName))
        {
            (_gap, _narrowest) = (1, 0);
            _ = Fit(widths, columns, 4, IsName) || Fit(widths, columns, 4, _ => false);
        }

        foreach (var line in _lines)
        {
            for (var i = 0; i < count; i++)
            {
                line[i] = Cut(line[i], widths[i]);
            }
        }
    }

    private bool Fit(int[] widths, int columns, int least, Func<int, bool> keep)
    {
        while (true)
        {
            var sum = 0;
            var widest = -1;
            for (var i = 0; i < widths.Length; i++)
            {
                sum += i < widths.Length - 1 ? Math.Max(widths[i] + _gap, _narrowest) : widths[i];
                widest = !keep(i) && widths[i] > least && (widest < 0 || widths[i] > widths[widest]) ? i : widest;
            }

            if (sum <= columns || widest < 0)
            {
                return sum <= columns;
            }

            widths[widest]--;
        }
    }

    private bool IsName(int column) => _lines[0][column] is var title
        && (title.EndsWith("ID", StringComparison.Ordinal) || title.EndsWith("NAME", StringComparison.Ordinal) || title is "NAMES" or "REPOSITORY" or "TAG");

    private static string Cut(string cell, int width)
    {
        if (WidthOf(cell) <= width)
        {
            return cell;
        }

        var at = 0;
        for (var letters = 1; letters < width; letters++)
        {
            at += char.IsHighSurrogate(cell[at]) ? 2 : 1;
        }

        return cell[..at] + "…";
    }

    internal static int WidthOf(string cell)
    {
        var width = cell.Length;
        foreach (var c in cell)
        {
            width -= char.IsLowSurrogate(c) ? 1 : 0;
        }

        return width;
    }
}

/// <summary>
/// Whether somebody looks, and at what. Not by Console, whose readers and writers send a terminal that is not dumb control
/// sequences of their own before the first word.
/// </summary>
internal static class Screen
{
    /// <summary>Standard input, line by line.</summary>
    internal static StreamReader Input() => new(new FileStream(new SafeFileHandle(0, ownsHandle: false), FileAccess.Read, 1));

    /// <summary>Standard error.</summary>
    internal static TextWriter Error() => new StreamWriter(OutputStream.StandardError()) { AutoFlush = true };

    /// <summary>How many columns the terminal has to which this is written: 0 if it does not say, null if it is none.</summary>
    internal static int? Columns(TextWriter output) => TerminalColumns(output) is not { } own ? null
        : int.TryParse(Environment.GetEnvironmentVariable("COLUMNS"), out var set) && set > 0 ? set : own;

    /// <summary>Whether lines can be written over: on a terminal that knows more than plain text.</summary>
    internal static bool IsLive(TextWriter output) => TerminalColumns(output) is not null && Environment.GetEnvironmentVariable("TERM") is not ("dumb" or "" or null);

    private static int? TerminalColumns(TextWriter output) => output is StreamWriter { BaseStream: OutputStream stream } ? stream.TerminalColumns : null;
}
