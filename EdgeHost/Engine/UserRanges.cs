using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Engine;

/// <summary>
/// The users and groups of the host that containers with a user namespace have, each container a range of its own for
/// life. They are those of the name <c>edgehost</c> in /etc/subuid and /etc/subgid (subuid(5)), as of a podman or
/// dockerd with users of its own; where nobody has given it any, they are above those that people, distributions and
/// systemd-nspawn use, and below 2^31, which some programs take for -1.
/// </summary>
internal sealed class UserRanges
{
    /// <summary>How many users and groups a container has.</summary>
    internal const uint Size = 1 << 16;

    private const string Owner = "edgehost";
    private const string UsersFile = "/etc/subuid";
    private const string GroupsFile = "/etc/subgid";
    private const long LongestFile = 1 << 20;

    // The last number is "no user" (chown(2)).
    private const ulong EndOfUsers = uint.MaxValue;

    private static readonly Line Usual = new(string.Empty, 0x7700_0000, 0x7FFF_0000);

    private readonly IReadOnlyList<Line> _ours;
    private readonly IReadOnlyList<Line> _others;

    private UserRanges(IReadOnlyList<Line> ours, IReadOnlyList<Line> others)
    {
        _ours = ours;
        _others = others;
    }

    /// <summary>Those that nobody was given.</summary>
    internal static UserRanges Default { get; } = new([Usual], []);

    /// <summary>A first user, to try with what a container would have.</summary>
    internal uint First => (uint)_ours.First(line => line.End - line.First >= Size).First;

    /// <summary>Reads what the host's administrator has given us.</summary>
    /// <param name="file">A file in the form of subuid(5) that counts for users and groups; null for those of the host.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/> or <see cref="ErrorKind.NotFound"/>: what is wrong, by file and line.</exception>
    internal static UserRanges Read(string? file)
    {
        if (file is not null)
        {
            return File.Exists(file)
                ? Of(file, ReadLines(file))
                : throw new EdgeHostException(ErrorKind.NotFound, $"userns.rangeFile: {file} is not there; make it with a line {Owner}:FIRST:COUNT, or take the key away");
        }

        var (users, groups) = (ReadLines(UsersFile), ReadLines(GroupsFile));
        if (!users.Concat(groups).Any(line => line.IsOurs))
        {
            return new UserRanges([Usual], [.. users, .. groups]);
        }

        if (!users.Where(line => line.IsOurs).Select(line => line.Text).Order(StringComparer.Ordinal).SequenceEqual(groups.Where(line => line.IsOurs).Select(line => line.Text).Order(StringComparer.Ordinal)))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the lines of {Owner} in {UsersFile} and {GroupsFile} differ; a container has the same range of users and of groups: make them equal");
        }

        var ranges = Of(UsersFile, users);
        _ = Of(GroupsFile, groups);
        return new UserRanges(ranges._ours, [.. ranges._others, .. groups.Where(line => !line.IsOurs)]);
    }

    /// <summary>The lowest range that nobody has.</summary>
    /// <param name="taken">The first users of those that are taken.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Full"/>: none is left.</exception>
    internal uint Take(IEnumerable<uint> taken)
    {
        uint[] used = [.. taken];
        var number = 0;
        foreach (var line in _ours)
        {
            for (var first = line.First; first + Size <= line.End; first += Size, number++)
            {
                if (!Overlaps(used, first) && !_others.Any(other => other.Overlaps(first, first + Size)))
                {
                    return (uint)first;
                }
            }
        }

        throw new EdgeHostException(
            ErrorKind.Full, $"all {number} ranges of users are taken by containers; remove some that are not needed any more, or give {Owner} more lines in {UsersFile} and {GroupsFile}");
    }

    /// <summary>Whether one of those that are taken has users of this range; it may have been taken from lines that were other ones then.</summary>
    internal static bool Overlaps(uint[] used, ulong first)
    {
        foreach (var other in used)
        {
            if (other < first + Size && first < other + (ulong)Size)
            {
                return true;
            }
        }

        return false;
    }

    private static UserRanges Of(string file, IReadOnlyList<Line> lines)
    {
        Line[] ours = [.. lines.Where(line => line.IsOurs)];
        if (!ours.Any(line => line.End - line.First >= Size))
        {
            throw new EdgeHostException(
                ErrorKind.Invalid,
                ours.Length == 0
                    ? $"{file}: {Owner} has no line; add one as {Owner}:FIRST:COUNT with a COUNT of at least {Size}"
                    : $"{file}: no line of {Owner} has the {Size} users that a container needs; make one of them larger");
        }

        foreach (var line in ours)
        {
            if (line.First < Size || line.End > EndOfUsers)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{file}: {line.Text}: the first is to be at least {Size}, since those below are the machine's own users, and the last below {EndOfUsers}");
            }

            foreach (var other in lines)
            {
                if (!ReferenceEquals(other, line) && other.Overlaps(line.First, line.End))
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"{file}: {line.Text} overlaps {other.Text}: containers would have users that are somebody else's; move one of them");
                }
            }
        }

        return new UserRanges(ours, [.. lines.Where(line => !line.IsOurs)]);
    }

    private static List<Line> ReadLines(string file)
    {
        var lines = new List<Line>();
        try
        {
            if (!File.Exists(file))
            {
                return lines;
            }

            if (new FileInfo(file).Length > LongestFile)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{file} has more than {LongestFile} bytes: it is no file of subuid(5)");
            }

            var number = 0;
            foreach (var text in File.ReadLines(file))
            {
                number++;
                var parts = text.Trim().Split(':');
                if (parts.Length == 3
                    && ulong.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var first)
                    && ulong.TryParse(parts[2], NumberStyles.None, CultureInfo.InvariantCulture, out var count)
                    && first <= EndOfUsers && count is > 0 and <= EndOfUsers)
                {
                    lines.Add(new Line(text.Trim(), first, first + count));
                }
                else if (parts[0] == Owner)
                {
                    // What is wrong about others' lines is not ours to say.
                    throw new EdgeHostException(ErrorKind.Invalid, $"{file}:{number}: \"{text.Trim()}\" is not {Owner}:FIRST:COUNT");
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"{file} cannot be read: {e.Message}", e);
        }

        return lines;
    }

    private sealed class Line(string text, ulong first, ulong end)
    {
        internal string Text => text;

        internal ulong First => first;

        internal ulong End => end;

        internal bool IsOurs => text.StartsWith(Owner + ":", StringComparison.Ordinal);

        internal bool Overlaps(ulong otherFirst, ulong otherEnd) => first < otherEnd && otherFirst < end;
    }
}
