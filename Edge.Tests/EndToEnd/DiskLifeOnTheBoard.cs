using System.Text.Json.Nodes;
using Edge.Tests.Board;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>A board whose data are on an ATA disk.</summary>
public sealed class DiskLifeOnTheBoard
{
    // With the disk in DISK; what the kernel says of its disks afterwards, it says of what the daemon did.
    private const string Start = """
        set -e
        until [ -b DISK ]; do sleep 0.1; done
        mkfs.ext4 -q DISK
        mkdir -p /root/data
        mount DISK /root/data
        rm -f /root/log
        mkfifo /root/log
        dmesg -c >/dev/null
        setsid edgehost daemon --data-dir /root/data --run-dir /run/edgehost 2>/root/log &
        exec 3</root/log
        while read -r line <&3; do
          case $line in *"Connected to broker"*) break ;; esac
        done
        setsid cat <&3 >/root/said &
        echo '{"version": 1, "workloads": {}}' >/root/desired.json
        edgehost deploy --json /root/desired.json
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
        (await board.RunAsync("modprobe -a ahci sd_mod")).Succeeds();

        var health = JsonNode.Parse((await board.RunAsync(Start.Replace("DISK", "/dev/sda", StringComparison.Ordinal))).Succeeds().Output)!["board"]!["health"]!;

        // qemu's disk has SMART and no log of its life.
        Assert.False((bool)health["disk_failing"]!);
        Assert.Null(health["disk_worn_percent"]);
        Assert.Empty((await board.RunAsync("dmesg | grep -e ata1 -e sda || :")).Succeeds().Output);
    }
}
