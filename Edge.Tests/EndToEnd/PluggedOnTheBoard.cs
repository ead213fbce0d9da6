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
        until [ -b /dev/nvme0n1 ]; do sleep 0.1; done
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
        cat >/root/desired.json <<'END'
        {"version": 1, "workloads": {"modem": {"image": "localhost/busybox:latest", "pull_policy": "never", "mem_limit": "16m", "cpus": 0.5, "restart": "always",
          "command": ["sh", "-c", "echo start of $(ls /dev/bus/usb/001) >/dev/modem; cat /dev/modem"],
          "devices": ["/dev/ttyUSB0:/dev/modem:rw", "usb=0403:6001:rw"]}}}
        END
        """;

    // As edgehost ps has it.
    private const string UntilItSays = "until edgehost ps --format '{{.Status}}' | grep '^SAYS'; do sleep 0.2; done";

    [Fact]
    public async Task A_workload_waits_for_what_is_to_be_plugged_in_and_again_when_it_was_pulled_out_and_an_NVMe_disk_tells_of_its_life()
    {
        using var outside = new TemporaryDirectory();
        await using (var flash = File.Create(outside.Sub("flash")))
        {
            flash.SetLength(256 << 20);
        }

        await using var board = await EmulatedBoard.StartAsync(new BoardSpec
        {
            Memory = 768,
            Devices = $"-device qemu-xhci,id=xhci -chardev file,id=line,path={outside.Sub("line")} -drive if=none,id=flash,file={outside.Sub("flash")},format=raw -device nvme,drive=flash,serial=flash0,smart_critical_warning=4",
        });
        File.Copy(await SampleImage.PathAsync("busybox", "arm64"), Path.Combine(board.Share, "busybox.tar"));
        (await board.RunAsync(Prepare)).Succeeds();

        var deployed = JsonNode.Parse((await board.RunAsync("edgehost deploy --json /root/desired.json")).Succeeds().Output)!;
        Assert.Equal("waits for device /dev/ttyUSB0, which is not there", (string?)deployed["workloads"]!["modem"]!["error"]);
        Assert.Equal(0, (int?)deployed["board"]!["health"]!["disk_worn_percent"]);
        Assert.True((bool)deployed["board"]!["health"]!["disk_failing"]!);
        await SaysAsync("Waiting for /dev/ttyUSB0");

        await board.PlugInAsync("usb-serial,id=modem,bus=xhci.0,chardev=line");
        await SaysAsync("Up ");
        await LineAsync("start of 002\n");

        // Its program ends by itself at the end of what it reads; its next start is the one that waits.
        await board.PullOutAsync("modem");
        await SaysAsync("Waiting for /dev/ttyUSB0");

        await board.PlugInAsync("usb-serial,id=modem,bus=xhci.0,chardev=line");
        await SaysAsync("Up ");
        await LineAsync("start of 002\nstart of 003\n");

        async Task SaysAsync(string status) => (await board.RunAsync(UntilItSays.Replace("SAYS", status, StringComparison.Ordinal))).Succeeds();

        // What the container has written, at the other end of the line: a file, of which qemu tells nothing.
        async Task LineAsync(string text)
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
}
