using EdgeHost.Errors;

namespace EdgeHost.Engine;

/// <summary>
/// The users and groups of the host that containers with a user namespace have, each a range of its own for life: above
/// those that people, distributions (subuid(5)) and systemd-nspawn use, and below 2^31, which some programs take for -1.
/// </summary>
internal static class UserRanges
{
    /// <summary>How many users and groups a container has.</summary>
    internal const uint Size = 1 << 16;

    private const uint First = 0x7700_0000;
    private const uint End = 0x7FFF_0000;

    /// <summary>The lowest range that nobody has.</summary>
    /// <param name="taken">The first users of those that are taken.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Full"/>: none is left.</exception>
    internal static uint Take(IEnumerable<uint> taken)
    {
        var used = taken.ToHashSet();
        for (var first = First; first < End; first += Size)
        {
            if (!used.Contains(first))
            {
                return first;
            }
        }

        throw new EdgeHostException(ErrorKind.Full, $"all {(End - First) / Size} ranges of users are taken by containers; remove some that are not needed any more");
    }
}
