using System.Text.Json.Nodes;
using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>A board to whose USB port things are plugged while it runs, and whose data are on an NVMe disk.</summary>
public sealed class PluggedOnTheBoard
{
    private const string Prepare = """
        set -e
        modprobe -a nvme xhci_pci ftdi_sio
        until [ -b /dev/nvme0n1 ] && [ -c /dev/ttyUSB0 ]; do sleep 0.1; done
        mkfs.ext4 -q /dev/nvme0n1
        mkdir /root/data
        mount /dev/nvme0n1 /root/data
        mkfifo /root/log
        setsid edgehost daemon --data-dir /root/data --run-dir /run/edgehost 2>/root/log &
        exec 3</root/log
        while read -r line <&3; do
          case $line in *"Connected to broker"*) break ;; esac
        done
        setsid cat <&3 >/root/said &
        edgehost load -i /mnt/share/busybox.tar

        """;

    private const string PrepareInstalled = """
        set -e
        install -m755 /mnt/share/edgehost /usr/local/bin/edgehost
        mkdir -p /var/lib/edgehost
        mount --bind /mnt/data /var/lib/edgehost
        edgehost install
        edgehost load -i /mnt/share/busybox.tar

        """;

    private const string Desire = """
        cat >/root/desired.json <<'END'
        {"version": 1, "workloads": {"modem": {"image": "localhost/busybox:latest", "pull_policy": "never", "mem_limit": "16m", "cpus": 0.5, "restart": "always",
          "command": ["sh", "-c", "echo device $(ls /dev/bus/usb/001), line $(stat -c %T /dev/modem) >/dev/modem; cat /dev/modem"],
          "devices": ["LINE:/dev/modem:rw", "usb=1-2:rw"]}}}
        END
        """;

    private const string Modem = "usb-serial,id=modem,bus=xhci.0,port=2,chardev=line,serial=A9A5YNLT";

    // As edgehost ps has it.
    private const string UntilItSays = "until edgehost ps --format '{{.Status}}' | grep '^SAYS'; do sleep 0.2; done";

    [Fact]
    public async Task A_workload_waits_for_what_is_to_be_plugged_in_by_its_port_and_again_when_it_was_pulled_out_and_an_NVMe_disk_tells_of_its_life()
    {
        using var outside = new TemporaryDirectory();
        await using (var flash = File.Create(outside.Sub("flash")))
        {
            flash.SetLength(256 << 20);
        }

        await using var board = await StartAsync(new BoardSpec
        {
            Memory = 768,
            Devices = $"{Usb(outside)} -drive if=none,id=flash,file={outside.Sub("flash")},format=raw -device nvme,drive=flash,serial=flash0,smart_critical_warning=4",
        });
        (await board.RunAsync(Prepare + Desire.Replace("LINE", "tty=1-2", StringComparison.Ordinal))).Succeeds();

        var deployed = JsonNode.Parse((await board.RunAsync("edgehost deploy --json /root/desired.json")).Succeeds().Output)!;
        Assert.Equal("waits for device tty=1-2, which is not there", (string?)deployed["workloads"]!["modem"]!["error"]);
        Assert.Equal(0, (int?)deployed["board"]!["health"]!["disk_worn_percent"]);
        Assert.True((bool)deployed["board"]!["health"]!["disk_failing"]!);
        await SaysAsync(board, "Waiting for tty=1-2");

        await board.PlugInAsync(Modem);
        await SaysAsync(board, "Up ");
        await LineAsync(outside, "device 003, line 1\n");

        // Its program ends by itself at the end of what it reads; its next start is the one that waits. The line that was there
        // first is gone then, and the modem's has its number.
        await board.PullOutAsync("modem");
        await SaysAsync(board, "Waiting for tty=1-2");
        await board.PullOutAsync("other");
        (await board.RunAsync("while [ -c /dev/ttyUSB0 ]; do sleep 0.1; done")).Succeeds();

        await board.PlugInAsync(Modem);
        await SaysAsync(board, "Up ");
        await LineAsync(outside, "device 003, line 1\ndevice 004, line 0\n");
    }

    [Fact]
    public async Task Where_there_is_udev_a_workload_waits_for_the_name_that_it_gives()
    {
        const string Name = "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_A9A5YNLT-if00-port0";
        using var outside = new TemporaryDirectory();
        await using var board = await StartAsync(new BoardSpec { Flavour = "systemd", Disk = 256, Memory = 768, Devices = Usb(outside) });
        File.Copy(await PublishedBinary.ForAsync("linux-arm64"), Path.Combine(board.Share, "edgehost"));
        (await board.RunAsync(PrepareInstalled + Desire.Replace("LINE", Name, StringComparison.Ordinal))).Succeeds();

        (await board.RunAsync("edgehost deploy /root/desired.json")).Succeeds();
        await SaysAsync(board, $"Waiting for {Name}");

        await board.PlugInAsync(Modem);
        await SaysAsync(board, "Up ");
        await LineAsync(outside, "device 003, line 1\n");
    }

    // Two serial lines, of which the first is there from the start.
    private static string Usb(TemporaryDirectory outside) =>
        $"-device qemu-xhci,id=xhci -chardev file,id=line,path={outside.Sub("line")} -chardev file,id=first,path={outside.Sub("first")} -device usb-serial,id=other,bus=xhci.0,port=3,chardev=first";

    private static async Task<EmulatedBoard> StartAsync(BoardSpec spec)
    {
        var board = await EmulatedBoard.StartAsync(spec);
        File.Copy(await SampleImage.PathAsync("busybox", "arm64"), Path.Combine(board.Share, "busybox.tar"));
        return board;
    }

    private static async Task SaysAsync(EmulatedBoard board, string status) => (await board.RunAsync(UntilItSays.Replace("SAYS", status, StringComparison.Ordinal))).Succeeds();

    // What the container has written, at the other end of the line: a file, of which qemu tells nothing.
    private static async Task LineAsync(TemporaryDirectory outside, string text)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(EmulatedBoard.UsualPatience);
        while (await File.ReadAllTextAsync(outside.Sub("line"), TestContext.Current.CancellationToken) is var heard && heard.ReplaceLineEndings("\n") != text)
        {
            Assert.StartsWith(heard.ReplaceLineEndings("\n"), text, StringComparison.Ordinal);
            await Task.Delay(50, patience.Token);
        }
    }
}
