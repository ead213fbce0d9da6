using System.Globalization;
using System.Text.Json.Nodes;
using Edge.Tests.Board;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>A board whose data are on an ATA disk.</summary>
public sealed class DiskLifeOnTheBoard
{
    // The disk that is REMOVABLE, as the kernel calls it, holds the data.
    private const string Prepare = """
        set -e
        modprobe -a ahci sd_mod xhci_pci usb_storage
        until found=$(grep -lx REMOVABLE /sys/block/sd*/removable); do sleep 0.1; done 2>/dev/null
        found=/dev/$(basename ${found%/removable})
        mkfs.ext4 -q $found
        mkdir -p /root/data
        mount $found /root/data
        """;

    // What the kernel says afterwards it says of what the daemon did.
    private const string Start = """
        set -e
        dmesg -c >/dev/null
        rm -f /root/log
        mkfifo /root/log
        setsid edgehost daemon --data-dir /root/data --run-dir /run/edgehost 2>/root/log &
        echo $! >/root/pid
        exec 3</root/log
        while read -r line <&3; do
          case $line in *"Connected to broker"*) break ;; esac
        done
        setsid cat <&3 >/root/said &
        echo '{"version": VERSION, "workloads": {}}' >/root/desired.json
        edgehost deploy --json /root/desired.json
        """;

    private const string Stop = """
        kill $(cat /root/pid)
        while kill -0 $(cat /root/pid) 2>/dev/null; do sleep 0.1; done
        """;

    [Fact]
    public async Task An_ATA_disk_says_that_it_does_not_fail()
    {
        using var outside = new TemporaryDirectory();
        await using (var disk = File.Create(outside.Sub("disk")))
        {
            disk.SetLength(256 << 20);
        }

        await using var board = await EmulatedBoard.StartAsync(new BoardSpec
        {
            Devices = $"-device ahci,id=sata -drive if=none,id=disk,file={outside.Sub("disk")},format=raw -device ide-hd,drive=disk,bus=sata.0",
        });
        (await board.RunAsync(Prepare.Replace("REMOVABLE", "0", StringComparison.Ordinal))).Succeeds();

        var state = await StartAsync(board, 1);

        // qemu's disk has SMART and no log of its life.
        Assert.Equal((false, null), Life(state));
        Assert.Empty((await board.RunAsync("dmesg | grep -e ata1 -e sda || :")).Succeeds().Output);
    }

    [Fact]
    public async Task An_ATA_disk_behind_a_bridge_is_asked_for_its_life_unless_it_sleeps_and_a_bridge_that_refuses_or_hangs_costs_nothing_else_and_a_stick_is_not_asked()
    {
        using var outside = new TemporaryDirectory();
        await using var disk = new BridgedDisk(outside.Sub("bridge"), mebibytes: 64) { Fails = true, PercentUsed = 93 };
        await using var stick = new BridgedDisk(outside.Sub("stick"), mebibytes: 64) { IsRemovable = true, Fails = true };
        await using var board = await EmulatedBoard.StartAsync(new BoardSpec { Devices = $"-device qemu-xhci,id=xhci {disk.Device("bridge")} {stick.Device("stick")}" });
        (await board.RunAsync(Prepare.Replace("REMOVABLE", "0", StringComparison.Ordinal))).Succeeds();

        // Of the first answer the kernel takes too little.
        var state = await AskedAsync(1, "CHECK POWER MODE", "IDENTIFY DEVICE", "CHECK POWER MODE", "SMART RETURN STATUS", "READ LOG EXT 0, page 0", "READ LOG EXT 4, page 7");
        Assert.Equal((true, 93), Life(state));
        string[] words = ["the disk of /root/data has used 93 % of its life; replace it", "the disk of /root/data says that it will fail; save what is on it, and replace it"];
        Assert.Equal(words, state["errors"]!.AsArray().Select(error => (string)error!["message"]!).Where(said => said.StartsWith("the disk", StringComparison.Ordinal)));

        (disk.Fails, disk.PercentUsed, disk.HasLogs) = (false, 12, false);
        state = await AskedAsync(2, "CHECK POWER MODE", "IDENTIFY DEVICE", "SMART RETURN STATUS", "SMART READ LOG 0, 1 pages", "SMART READ LOG 4, 8 pages");
        Assert.Equal((false, 12), Life(state));
        Assert.Empty(state["errors"]!.AsArray());

        disk.Sleeps = true;
        Assert.Equal((null, null), Life(await AskedAsync(3, "CHECK POWER MODE")));

        // Whether it sleeps is not told; what does not turn may be asked.
        (disk.Sleeps, disk.HasLogs, disk.Bridge) = (false, true, BridgedDisk.Manner.HandsOnData);
        state = await AskedAsync(4, "CHECK POWER MODE", "IDENTIFY DEVICE", "CHECK POWER MODE", "SMART RETURN STATUS", "READ LOG EXT 0, page 0", "READ LOG EXT 4, page 7");
        Assert.Equal((null, 12), Life(state));
        disk.Turns = true;
        Assert.Equal((null, null), Life(await AskedAsync(5, "CHECK POWER MODE", "IDENTIFY DEVICE", "CHECK POWER MODE")));

        disk.Bridge = BridgedDisk.Manner.Refuses;
        Assert.Equal((null, null), Life(await AskedAsync(6, "CHECK POWER MODE, refused", "IDENTIFY DEVICE, refused")));
        Assert.DoesNotContain("warning", (await board.RunAsync("cat /root/said")).Succeeds().Output, StringComparison.Ordinal);

        disk.Bridge = BridgedDisk.Manner.Hangs;
        Assert.Equal((null, null), Life(await AskedAsync(7, "CHECK POWER MODE, unanswered")));
        Assert.Contains("reset high-speed USB device", (await board.RunAsync("echo kept >/root/data/file; sync; echo 3 >/proc/sys/vm/drop_caches; grep -qx kept /root/data/file; dmesg")).Succeeds().Output, StringComparison.Ordinal);

        (await board.RunAsync("umount /root/data; " + Prepare.Replace("REMOVABLE", "1", StringComparison.Ordinal))).Succeeds();
        Assert.Equal((null, null), Life(await AskedAsync(8)));
        Assert.Empty(stick.Asked());

        async Task<JsonNode> AskedAsync(int version, params string[] questions)
        {
            var state = await StartAsync(board, version);
            foreach (var question in questions)
            {
                Assert.Equal(question, await disk.AskedAsync());
            }

            (await board.RunAsync(Stop)).Succeeds();
            Assert.Empty(disk.Asked());
            return state;
        }
    }

    private static async Task<JsonNode> StartAsync(EmulatedBoard board, int version) =>
        JsonNode.Parse((await board.RunAsync(Start.Replace("VERSION", version.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal))).Succeeds().Output)!;

    private static (bool? Fails, int? Used) Life(JsonNode state) =>
        state["board"]!["health"] is var health ? ((bool?)health!["disk_failing"], (int?)health["disk_worn_percent"]) : default;
}
