using Edge.Tests.Fixtures;
using Edge.Tests.Images;

namespace Edge.Tests.Board;

/// <summary>A board with a real systemd and dpkg: user-mode Linux, x86_64, cgroup v2; one disk over all its boots.</summary>
internal sealed class SystemdBoard : IDisposable
{
    private static readonly TimeSpan BuildPatience = TimeSpan.FromMinutes(25);
    private static readonly TimeSpan BootPatience = TimeSpan.FromMinutes(6);

    private readonly TemporaryDirectory _share = new();

    /// <summary>A file of this machine that the board sees at /mnt/share.</summary>
    internal string Shared(string name) => _share.Sub(name);

    public void Dispose() => _share.Dispose();

    /// <summary>Makes its root, which is kept for the next test, a disk for its data, and what is handed to it at /mnt/share.</summary>
    internal async Task BuildAsync()
    {
        Needs.Root();
        if (PublishedBinary.NativeRid != "linux-x64")
        {
            Needs.Missing("user-mode Linux runs on x86_64 only");
        }

        await Packages.NeedAsync("user-mode-linux", "mmdebstrap", "kmod", "cpio", "e2fsprogs", "util-linux");
        (await CommandRun.RunAsync(Script("board-build.sh"), ["uml", "systemd"], patience: BuildPatience)).Succeeds();
        File.Copy(await PublishedBinary.NativeAsync(), _share.Sub("edgehost"));
        File.Copy(await SampleImage.PathAsync("busybox", "amd64"), _share.Sub("busybox.tar"));
        (await CommandRun.RunAsync("sh", ["-c", "truncate -s 512M \"$0\" && mkfs.ext4 -q \"$0\"", _share.Sub("disk")])).Succeeds();
    }

    /// <summary>Boots the board to its usual target and runs a script on it; then its power is cut.</summary>
    internal Task<CommandRun> BootAsync(string script) => CommandRun.RunAsync(
        Script("board-uml.sh"),
        ["exec 2>&1; set -eux; systemctl is-system-running --wait; systemctl --failed\n" + script, _share.Path],
        environment: new Dictionary<string, string?>
        {
            ["BOARD_FLAVOUR"] = "systemd",
            ["BOARD_DATA"] = _share.Sub("disk"),
            ["BOARD_KEEP"] = "1",
            ["BOARD_TIMEOUT"] = ((int)BootPatience.TotalSeconds).ToString(System.Globalization.CultureInfo.InvariantCulture),
        },
        patience: BootPatience * 1.5);

    private static string Script(string name) => Repository.PathOf("Edge.Tests", "Board", name);
}
