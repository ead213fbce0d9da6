using System.Text;

namespace Edge.Tests.Board.PowerCuts;

/// <summary>
/// What a scenario has told of its progress: for each thing what it may be. A scenario says <c>allow THING VALUE</c> before
/// it changes something and <c>promise THING VALUE</c> once that was acknowledged; both are written to the disk, behind its
/// file system, so that the log of the disk itself says whether that was before a cut. <c>-</c> is: not there.
/// </summary>
internal sealed class Promises
{
    internal const string Absent = "-";

    // The same in the scripts; the file system ends before.
    internal const long Offset = FileSystemMiB << 20;
    internal const int FileSystemMiB = 256;

    // What a daemon makes by itself: nobody had asked for it before it was promised.
    private static readonly string[] AtFirst = ["device", "password"];

    private readonly Dictionary<string, List<string>> _allowed = new(StringComparer.Ordinal);

    /// <summary>All things of which something was told.</summary>
    internal IEnumerable<string> Things => _allowed.Keys;

    /// <summary>What was told before a number of writes.</summary>
    internal static Promises Before(WriteLog log, int writes)
    {
        var promises = new Promises();
        foreach (var (number, verb, thing, value) in Read(log))
        {
            if (number >= writes)
            {
                break;
            }

            if (verb == "promise")
            {
                promises._allowed[thing] = [value];
            }
            else if (verb == "allow")
            {
                promises.Allowed(thing).Add(value);
            }
        }

        return promises;
    }

    /// <summary>Where each scenario begins, by the number of the write, and the end.</summary>
    internal static List<(string Scenario, int Write)> Scenarios(WriteLog log) =>
        [.. Read(log).Where(told => told.Verb == "scenario").Select(told => (told.Thing, told.Number))];

    /// <summary>Whether a thing may be so.</summary>
    internal bool Allows(string thing, string value) => _allowed.TryGetValue(thing, out var values) ? values.Contains(value) : value == Absent;

    /// <summary>What is not as it was promised, in words.</summary>
    internal List<string> Broken(IReadOnlyDictionary<string, string> found)
    {
        var broken = new List<string>();
        foreach (var thing in _allowed.Keys.Union(found.Keys))
        {
            var value = found.GetValueOrDefault(thing, Absent);
            if (!Allows(thing, value) && (_allowed.ContainsKey(thing) || !AtFirst.Contains(thing)))
            {
                broken.Add($"{thing} is {value}, not {(_allowed.TryGetValue(thing, out var values) ? string.Join(" or ", values) : Absent)}");
            }
        }

        return broken;
    }

    private List<string> Allowed(string thing)
    {
        if (!_allowed.TryGetValue(thing, out var values))
        {
            _allowed[thing] = values = [Absent];
        }

        return values;
    }

    private static IEnumerable<(int Number, string Verb, string Thing, string Value)> Read(WriteLog log)
    {
        foreach (var (number, bytes) in log.From(Offset))
        {
            if (Encoding.UTF8.GetString(bytes).TrimEnd('\0', '\n', ' ').Split(' ', 3) is [var verb, var thing, var value])
            {
                yield return (number, verb, thing, value);
            }
        }
    }
}
