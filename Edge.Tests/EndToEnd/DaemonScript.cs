using Edge.Tests.Board;
using Edge.Tests.Fixtures;

namespace Edge.Tests.EndToEnd;

/// <summary>Scripts in this folder that run behind <c>own-daemon.sh</c>, with the image of busybox.</summary>
internal static class DaemonScript
{
    /// <summary>Before a script whose daemon has a broker.</summary>
    internal const string WithBroker = "broker='\"listen\": \"127.0.0.1:1883\"'\n";

    /// <summary>Runs one on this machine, with the cgroups that it has.</summary>
    internal static async Task<CommandRun> RunHereAsync(string name)
    {
        Needs.Root();
        var binary = await PublishedBinary.NativeAsync();
        var image = await SampleImage.PathAsync("busybox", PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64");
        return await CommandRun.RunAsync("bash", ["-c", $"PATH={Path.GetDirectoryName(binary)}:$PATH\n{Read(name)}", name, image], patience: TimeSpan.FromMinutes(4));
    }

    /// <summary>Runs one on the emulated board, with cgroup v2.</summary>
    internal static async Task<CommandRun> RunOnAsync(Arm64Board board, string name) => await RunOnAsync(await board.BootedAsync(), name);

    /// <summary>Runs one on a board of arm64 with a kernel of its own.</summary>
    internal static async Task<CommandRun> RunOnAsync(EmulatedBoard board, string name, string before = "")
    {
        var image = await SampleImage.PathAsync("busybox", "arm64");
        // Renamed into place: another script may be about to read it.
        var copy = Path.Combine(board.Share, Path.GetRandomFileName());
        File.Copy(image, copy);
        File.Move(copy, Path.Combine(board.Share, "busybox.tar"), overwrite: true);
        return await board.RunAsync($"set -- /mnt/share/busybox.tar\n{before}{Read(name)}", TimeSpan.FromMinutes(6));
    }

    private static string Read(string name) => string.Concat(
        ((string[])["own-daemon.sh", name]).Select(file => File.ReadAllText(Repository.PathOf("Edge.Tests", "EndToEnd", file))));
}
