namespace EdgeHost.Cli;

/// <summary>Columns as docker prints them: a title in capitals, three blanks between.</summary>
internal sealed class Table(params string[] titles)
{
    private const int Gap = 3;

    private readonly List<string[]> _rows = [titles];

    internal void Add(params string[] cells) => _rows.Add(cells);

    internal void Write(TextWriter output)
    {
        var widths = titles.Select((_, column) => _rows.Max(r => r[column].Length) + Gap).ToArray();
        foreach (var row in _rows)
        {
            output.WriteLine(string.Concat(row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
        }
    }
}
