using System.Formats.Tar;
using System.Text;
using System.Text.Json;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;

namespace Edge.Tests.Board.PowerCuts;

/// <summary>What is around a board whose power is cut, and what stays when it is: a network with a registry and its images.</summary>
internal sealed class PowerCutSite : IAsyncDisposable
{
    internal const string Registry = "127.0.0.1:5000";

    private const int Port = 5000;

    private readonly string _name = "eh-cuts-" + Guid.NewGuid().ToString("N")[..8];
    private RegistryFixture? _registry;

    private PowerCutSite()
    {
    }

    /// <summary>A program with arguments that executes another one in this network.</summary>
    internal string[] Inside => ["nsenter", "--net=" + NetworkFile];

    private string NetworkFile => "/run/netns/" + _name;

    /// <summary>What the daemon is configured with, on the board and where a cut is replayed.</summary>
    internal static Dictionary<string, object> Settings { get; } = new()
    {
        ["log"] = new { maxSize = "64k", maxFiles = 3 },
    };

    internal static async Task<PowerCutSite> StartAsync()
    {
        await Packages.NeedAsync("iproute2", "util-linux", "docker-registry", "skopeo", "busybox-static", "mosquitto-clients", "nftables");
        var site = new PowerCutSite();
        try
        {
            (await CommandRun.RunAsync("ip", ["netns", "add", site._name])).Succeeds();
            (await CommandRun.RunAsync("ip", ["-n", site._name, "link", "set", "lo", "up"])).Succeeds();
            site._registry = await RegistryFixture.StartAsync(network: site.NetworkFile, port: Port);
            await site.PushImagesAsync();
            return site;
        }
        catch
        {
            await site.DisposeAsync();
            throw;
        }
    }

    /// <summary>Removes what a daemon that was killed has left in the network.</summary>
    internal async Task ClearAsync()
    {
        const string Clear = "nft flush ruleset; ip -o link show type bridge | sed 's/^[0-9]*: //; s/:.*//' | xargs -rn1 ip link delete";
        (await CommandRun.RunAsync("nsenter", ["--net=" + NetworkFile, "sh", "-c", Clear])).Succeeds();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_registry is not null)
        {
            await _registry.DisposeAsync();
        }

        _ = await CommandRun.RunAsync("ip", ["netns", "delete", _name]);
    }

    /// <summary>Three images that share layers: with a program, with many files, with links and with what hides others.</summary>
    private async Task PushImagesAsync()
    {
        using var layout = new OciLayout();
        var program = Layer.Gzip(await ProgramAsync());
        var files = Layer.Zstd(Layer.Files([.. Enumerable.Range(0, 200).Select(n => ($"srv/{n % 9}/{n}", new string((char)('a' + (n % 26)), n * 37)))]));
        var hidden = Layer.Gzip(Layer.Entries(
            new PaxTarEntry(TarEntryType.RegularFile, "srv/3/.wh.3"),
            new PaxTarEntry(TarEntryType.RegularFile, "srv/4/.wh..wh..opq"),
            new PaxTarEntry(TarEntryType.RegularFile, "opt/first") { DataStream = new MemoryStream(Encoding.UTF8.GetBytes("linked")) },
            new PaxTarEntry(TarEntryType.HardLink, "opt/second") { LinkName = "opt/first" }));
        var noise = Layer.Gzip(Layer.Noise("noise", 2 << 20, 7));
        layout.AddImage("1", [program]);
        layout.AddImage("2", [program, files, hidden]);
        layout.AddImage("3", [program, files, noise]);
        foreach (var tag in (string[])["1", "2", "3"])
        {
            await _registry!.PushAsync($"{layout.Path}:{tag}", $"app:{tag}");
        }
    }

    private static async Task<byte[]> ProgramAsync()
    {
        const UnixFileMode Executable = (UnixFileMode)0x1ED;
        var busybox = await File.ReadAllBytesAsync("/bin/busybox");
        List<TarEntry> entries = [new PaxTarEntry(TarEntryType.RegularFile, "bin/busybox") { Mode = Executable, DataStream = new MemoryStream(busybox) }];
        entries.AddRange(((string[])["sh", "true", "sleep"]).Select(name => new PaxTarEntry(TarEntryType.SymbolicLink, "bin/" + name) { LinkName = "busybox" }));
        return Layer.Entries([.. entries]);
    }

    internal static string SettingsText => JsonSerializer.Serialize(Settings);
}
