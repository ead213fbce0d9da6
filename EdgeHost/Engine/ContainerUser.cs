using System.Globalization;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>The user of a container's program, found in the passwd and group files of its image (passwd(5), group(5)).</summary>
/// <param name="Uid">User id.</param>
/// <param name="Gid">Group id.</param>
/// <param name="AdditionalGids">Groups that name the user as a member.</param>
/// <param name="Home">The home directory; <c>/</c> where none is known.</param>
internal sealed record ContainerUser(uint Uid, uint Gid, IReadOnlyList<uint> AdditionalGids, string Home)
{
    private const int MaximumFileBytes = 1 << 20;

    /// <summary>Finds it.</summary>
    /// <param name="asked">As in <c>name|uid[:group|gid]</c>; empty for root.</param>
    /// <param name="layers">The layers of the root, the topmost first.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: a name that the image does not have.</exception>
    internal static ContainerUser Find(string asked, IReadOnlyList<string> layers)
    {
        var passwd = ReadLines(layers, "etc/passwd");
        var group = ReadLines(layers, "etc/group");
        var (user, groupPart) = asked.Split(':', 2) is [var first, var second] ? (first, second) : (asked, string.Empty);
        if (user.Length == 0)
        {
            user = "0";
        }

        var entry = passwd.FirstOrDefault(fields => fields.Length >= 6 && fields[0] == user)
            ?? passwd.FirstOrDefault(fields => fields.Length >= 6 && fields[2] == user);
        uint uid, gid = 0;
        if (entry is not null)
        {
            uid = Number(entry[2], "etc/passwd");
            gid = Number(entry[3], "etc/passwd");
        }
        else if (!uint.TryParse(user, NumberStyles.None, CultureInfo.InvariantCulture, out uid))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"unable to find user {user}: no matching entries in passwd file of the image");
        }

        if (groupPart.Length > 0)
        {
            var groupEntry = group.FirstOrDefault(fields => fields.Length >= 3 && fields[0] == groupPart);
            if (groupEntry is not null)
            {
                gid = Number(groupEntry[2], "etc/group");
            }
            else if (!uint.TryParse(groupPart, NumberStyles.None, CultureInfo.InvariantCulture, out gid))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"unable to find group {groupPart}: no matching entries in group file of the image");
            }
        }

        // As runc: 4294967295 is the kernel's word for "leave it as it is", which is root.
        if (uid > int.MaxValue || gid > int.MaxValue)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"user {asked}: uids and gids must be in range 0-{int.MaxValue}");
        }

        // A group that was given is the only one, as with Docker.
        var additional = groupPart.Length > 0 || entry is null
            ? []
            : group.Where(fields => fields.Length >= 4 && fields[3].Split(',').Contains(entry[0])).Select(fields => Number(fields[2], "etc/group")).Distinct().ToList();
        return new ContainerUser(uid, gid, additional, entry is not null && entry[5].Length > 0 ? entry[5] : "/");
    }

    private static List<string[]> ReadLines(IReadOnlyList<string> layers, string file)
    {
        var bytes = LayerFile.TryReadTopmost(layers, file, MaximumFileBytes) ?? [];
        return [.. Encoding.UTF8.GetString(bytes).Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#').Select(line => line.TrimEnd('\r').Split(':'))];
    }

    private static uint Number(string text, string file) => uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
        ? number
        : throw new EdgeHostException(ErrorKind.Invalid, $"\"{text}\" in {file} of the image is not an id");
}
