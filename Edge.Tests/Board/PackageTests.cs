using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.Board;

/// <summary>The Debian packages: what they are made of, and what a system does with them.</summary>
public sealed class PackageTests : IDisposable
{
    private readonly SystemdBoard _board = new();
    private readonly TemporaryDirectory _dist = new();

    public void Dispose()
    {
        _board.Dispose();
        _dist.Dispose();
    }

    [Theory]
    [InlineData("linux-x64")]
    [InlineData("linux-arm64")]
    public async Task Packages_are_small_and_equal_when_they_are_made_of_equal_files(string rid)
    {
        var deb = await DebianPackage.PackAsync(_dist, "first", rid);
        Assert.True(new FileInfo(deb).Length <= 8_000_000, $"{new FileInfo(deb).Length} bytes");
        var installed = (await CommandRun.RunAsync("dpkg-deb", ["-f", deb, "Installed-Size"])).Succeeds().Output;
        TestContext.Current.TestOutputHelper?.WriteLine($"{Path.GetFileName(deb)}: {new FileInfo(deb).Length} bytes, installed {installed.Trim()} KiB");
        Assert.True(1024 * int.Parse(installed, System.Globalization.CultureInfo.InvariantCulture) <= 22_000_000, $"{installed} KiB");

        var again = await DebianPackage.PackAsync(_dist, "second", rid);
        Assert.Equal(await File.ReadAllBytesAsync(deb, TestContext.Current.CancellationToken), await File.ReadAllBytesAsync(again, TestContext.Current.CancellationToken));
        (await CommandRun.RunAsync("sh", ["-c", "cd \"$0\" && cmp SHA256SUMS ../second/SHA256SUMS && sha256sum -c SHA256SUMS", Path.GetDirectoryName(deb)!])).Succeeds();

        await Packages.NeedAsync("lintian");
        var said = (await CommandRun.RunAsync("lintian", ["--allow-root", "--tag-display-limit", "0", "--suppress-tags", string.Join(',', KnownToLintian), deb])).Output;
        Assert.DoesNotMatch("(?m)^[EW]:", said);
    }

    // A static zlib and the fixed address are .NET's and meant (docs/security.md); the keys are root's alone, and OpenRC is
    // not Debian's init; nobody gets mail; what is enabled and active decides what an upgrade does, which systemctl knows.
    private static readonly string[] KnownToLintian =
    [
        "embedded-library", "hardening-no-pie", "non-standard-dir-perm", "unusual-interpreter", "bogus-mail-host", "bogus-mail-host-in-debian-changelog",
        "command-with-path-in-maintainer-script", "copyright-without-copyright-notice", "maintainer-script-calls-systemctl",
    ];

    [Fact]
    public async Task An_installed_package_runs_is_upgraded_under_running_containers_and_is_removed_with_them_and_purged_with_its_data()
    {
        await _board.BuildAsync();
        File.Copy(await DebianPackage.PackAsync(_dist, "old", "linux-x64", "1"), _board.Shared("old.deb"));
        File.Copy(await DebianPackage.PackAsync(_dist, "new", "linux-x64", "2"), _board.Shared("new.deb"));

        (await _board.BootAsync("""
            echo '/mnt/data /var/lib/edgehost none bind 0 0' >>/etc/fstab
            mkdir -p /var/lib/edgehost
            mount /var/lib/edgehost

            : "installed, it runs"
            dpkg -i /mnt/share/old.deb >said 2>&1 || { cat said; exit 1; }
            grep -x 'started edgehost.service and edgehost-shepherd.service' said
            test "$(systemctl is-enabled edgehost)" = enabled
            systemd-analyze verify edgehost.service edgehost-shepherd.service edgehost-containers.service
            test "$(edgehost install)" = 'everything is installed and runs'
            test ! -e /etc/systemd/system/edgehost.service
            test "$(stat -c '%a %U' /etc/edgehost/keys)" = '700 root'
            networkctl list >/dev/null
            grep -q 'the package edgehost' <<<"$(edgehost uninstall 2>&1)"

            edgehost load -i /mnt/share/busybox.tar
            edgehost run -d --name counting --network none --restart always localhost/busybox:latest sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done'
            edgehost run -d --name quiet --network none localhost/busybox:latest sleep 1000
            pids() { edgehost inspect -f '{{.State.Pid}} {{.State.StartedAt}}' counting quiet; }
            main() { systemctl show -P MainPID edgehost-shepherd; }
            before=$(pids) was=$(main)

            : "an upgrade replaces what runs, and restarts no container"
            echo '// mine' >>/etc/edgehost/edgehost.json
            dpkg -i /mnt/share/new.deb >said 2>&1 || { cat said; exit 1; }
            grep '^reloaded edgehost-shepherd.service: ' said
            grep '^restarted edgehost.service; ' said
            test "$(pids)" = "$before"
            test $(main) = $was
            test $(stat -Lc %i /proc/$was/exe) = $(stat -c %i /usr/bin/edgehost)
            tail -1 /etc/edgehost/edgehost.json | grep -x '// mine'
            edgehost logs counting 2>/dev/null | awk '$1 != NR { print "line " NR " is " $1; exit 1 }'

            : "a service that was stopped and disabled stays so"
            systemctl disable --now edgehost
            dpkg -i /mnt/share/new.deb
            test "$(systemctl is-enabled edgehost)" = disabled
            test "$(systemctl is-active edgehost)" = inactive
            test $(stat -Lc %i /proc/$(main)/exe) = $(stat -c %i /usr/bin/edgehost)
            systemctl enable --now edgehost
            test "$(pids)" = "$before"
            """)).Succeeds();

        (await _board.BootAsync("""
            : "after a power cut it runs again"
            until edgehost ps -q >now && [ $(wc -l <now) = 1 ]; do sleep 0.2; done

            : "removed, nothing of it runs, and the data stay"
            dpkg -r edgehost >said 2>&1 || { cat said; exit 1; }
            grep -x 'stopped edgehost-shepherd.service, with all containers' said
            test ! -e /sys/fs/cgroup/edgehost.slice
            test ! -e /usr/bin/edgehost
            test -z "$(nft list tables 2>/dev/null | grep edgehost || :)"
            test -e /var/lib/edgehost/state.db
            test -e /etc/edgehost/edgehost.json

            : "installed again, it takes up where it was, and purged it leaves nothing"
            dpkg -i /mnt/share/new.deb
            test $(edgehost ps -aq | wc -l) = 2
            dpkg -P edgehost
            test -z "$(ls -A /var/lib/edgehost)"
            test ! -e /etc/edgehost
            test ! -e /run/edgehost
            test -z "$(getent group edgehost)"
            test -z "$(find /etc /usr/lib /usr/share -name '*edgehost*')"
            """)).Succeeds();
    }
}
