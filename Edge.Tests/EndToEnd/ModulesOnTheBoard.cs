using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>A board that has just been booted has no module of networks loaded: what is run to load them, by the kernel or by the daemon.</summary>
public sealed class ModulesOnTheBoard
{
    // The program that the kernel runs, and so the daemon, writes down with what it was run, and does it.
    private const string Prepare = """
        set -eux
        cat >/tmp/loader <<'END'
        #!/bin/sh
        echo "$@" >>/tmp/asked
        exec /sbin/modprobe "$@"
        END
        chmod 755 /tmp/loader
        echo /tmp/loader >/proc/sys/kernel/modprobe
        start() {
          log=$(mktemp -u)
          mkfifo $log
          "$@" edgehost daemon --data-dir /tmp/data --run-dir /run/edgehost 2>$log &
          pid=$!
          exec 3<$log
          while read -r line <&3; do
            case $line in *"ready; the API is at"*) break ;; esac
          done
          cat <&3 >>/tmp/said &
          : >/tmp/asked
        }
        run() { edgehost run --rm --network $1 localhost/busybox:latest true; }
        start env
        edgehost load -i /mnt/share/busybox.tar

        """;

    [Fact]
    public async Task Modules_of_networks_are_loaded_by_one_program_and_not_asked_for_again()
    {
        await using var board = await EmulatedBoard.StartAsync();
        File.Copy(await SampleImage.PathAsync("busybox", "arm64"), Path.Combine(board.Share, "busybox.tar"));

        (await board.RunAsync(Prepare + """
            exec 2>&1
            : "the kernel asks for none of them one by one, neither for the default bridge nor for a network of one's own"
            run bridge
            cat /tmp/asked
            test "$(cut -d' ' -f1,3 /tmp/asked)" = '-a nfnetlink-subsys-10'
            edgehost network create one
            run one
            cat /tmp/asked
            test $(grep -c '^-a ' /tmp/asked) = 1
            test -z "$(grep -v '^-a ' /tmp/asked | grep -E 'nft-|nfnetlink|bridge|veth')"

            : "what is loaded is not asked for by the next daemon"
            kill $pid
            wait $pid || :
            start env
            edgehost network create two
            run two
            run bridge
            test ! -s /tmp/asked

            : "a kernel that has it built in does not list it: asked for once, not with each network"
            kill $pid
            wait $pid || :
            start unshare -m sh -c 'mount -t tmpfs none /sys/module; exec "$@"' sh
            edgehost network create three
            run three
            run bridge
            cat /tmp/asked
            test "$(cut -d' ' -f1 /tmp/asked)" = -a
            """)).Succeeds();
    }
}
