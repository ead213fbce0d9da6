using System.Globalization;
using Xunit;

namespace Edge.Tests.Board;

/// <summary>What befalls a board, and what is carried to it.</summary>
internal sealed partial class EmulatedBoard
{
    /// <summary>
    /// Pulls the plug, and boots it again: what was not flushed to its disk is gone, and without a disk everything is.
    /// What qemu had been given by then counts as written; the recorded disk of power cuts knows more.
    /// </summary>
    internal async Task CutPowerAsync()
    {
        await _oneAtATime.WaitAsync(TestContext.Current.CancellationToken);
        try
        {
            await EndAsync(TimeSpan.Zero);
            await BootAsync();
        }
        finally
        {
            _ = _oneAtATime.Release();
        }
    }

    /// <summary>Takes the cable out, or puts it in again.</summary>
    internal async Task CutLinkAsync(bool isCut = true)
    {
        // Its address and route are of the cable that is in.
        var script = isCut
            ? "ip link set eth0 down"
            : "ip link set eth0 up && ip route replace default via 10.0.2.2";
        (await RunAsync(script)).Succeeds();
    }

    /// <summary>Makes what the board sends late, lost or slow, in netem's words, as in <c>delay 300ms loss 5%</c>; null makes it good again.</summary>
    internal async Task ShapeLinkAsync(string? netem) => (await RunAsync(netem is null
        ? "tc qdisc del dev eth0 root 2> /dev/null; true"
        : $"modprobe sch_netem && tc qdisc replace dev eth0 root netem {netem}")).Succeeds();

    /// <summary>Sets the board's clock; it has none that a power cut leaves.</summary>
    internal async Task SetClockAsync(DateTimeOffset time) =>
        (await RunAsync($"date -u -s @{time.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture)}")).Succeeds();

    /// <summary>Fills the file system of a directory, with what is kept for root.</summary>
    /// <param name="directory">The directory.</param>
    /// <param name="leaveKilobytes">What is left free; 0 leaves not one byte.</param>
    internal async Task FillDiskAsync(string directory, long leaveKilobytes = 0)
    {
        var leave = leaveKilobytes.ToString(CultureInfo.InvariantCulture);
        (await RunAsync(
            $"""
            cd '{directory}' || exit
            cat /dev/zero > .filled 2> /dev/null
            sync
            truncate -s $(($(stat -c %s .filled) - {leave} * 1024)) .filled
            sync
            """)).Succeeds();
    }

    /// <summary>Takes away what <see cref="FillDiskAsync"/> put there.</summary>
    internal async Task EmptyDiskAsync(string directory) => (await RunAsync($"rm -f '{directory}/.filled'; sync")).Succeeds();

    /// <summary>Copies a file of the host to the board.</summary>
    internal async Task CopyToAsync(string file, string destination)
    {
        var name = Path.GetRandomFileName();
        File.Copy(file, Path.Combine(Share, name));
        (await RunAsync($"mv '/mnt/share/{name}' '{destination}'")).Succeeds();
    }

    /// <summary>Copies a file of the board to the host.</summary>
    internal async Task CopyFromAsync(string file, string destination)
    {
        var name = Path.GetRandomFileName();
        (await RunAsync($"cp '{file}' '/mnt/share/{name}'")).Succeeds();
        File.Move(Path.Combine(Share, name), destination, overwrite: true);
    }
}
