namespace Edge.Tests.Architecture;

/// <summary>A row of the room table.</summary>
/// <param name="Name">The folder beneath EdgeHost/.</param>
/// <param name="MayUse">The rooms that it may use.</param>
/// <param name="AloneNames">The namespaces of packages that it alone may name.</param>
internal sealed record Room(string Name, IReadOnlySet<string> MayUse, IReadOnlyList<string> AloneNames);

/// <summary>The room table of ARCHITECTURE.md.</summary>
internal static class RoomTable
{
    /// <summary>Reads the table from the text of the document.</summary>
    /// <exception cref="FormatException">The table is not there or a row is not understood.</exception>
    internal static IReadOnlyList<Room> Parse(string document)
    {
        var rooms = new List<Room>();
        var inTable = false;
        foreach (var line in document.Split('\n'))
        {
            var cells = line.Trim().Trim('|').Split('|', StringSplitOptions.TrimEntries);
            if (cells is ["room", _, "may use", "alone names"])
            {
                inTable = true;
            }
            else if (inTable && !line.StartsWith('|'))
            {
                break;
            }
            else if (inTable && !cells[0].StartsWith('-'))
            {
                rooms.Add(cells is [['`', .. var name, '`'], _, var mayUse, var alone]
                    ? new Room(name, Names(mayUse).ToHashSet(StringComparer.Ordinal), [.. Names(alone)])
                    : throw new FormatException($"the room table has a row that is not \"| `Room` | … | rooms | namespaces |\": {line}"));
            }
        }

        return rooms.Count > 0 ? rooms : throw new FormatException("ARCHITECTURE.md has no table \"room | lives there | may use | alone names\"");
    }

    private static IEnumerable<string> Names(string cell) =>
        cell.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Where(n => n != "–").Select(n => n.Trim('`'));
}
