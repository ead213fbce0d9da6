using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Debian's kernel on the emulated board has AppArmor, which this machine may lack.</summary>
public sealed class AppArmorOnTheBoard
{
    // What the package would install; the board is put together without.
    private const string Install = """
        tar -C /mnt/share/apparmor -c . | tar -C / -x --keep-directory-symlink
        mount -t securityfs none /sys/kernel/security
        """;

    [Fact]
    public async Task Containers_and_what_is_started_in_them_are_confined_by_a_profile_whatever_rights_they_have()
    {
        await using var board = await EmulatedBoard.StartAsync();
        using var work = new TemporaryDirectory();
        (await CommandRun.RunAsync(
            "mmdebstrap", ["--quiet", "--variant=extract", "--skip=check/qemu", "--architectures=arm64", "--include=apparmor", "bookworm", work.Sub("root")], patience: TimeSpan.FromMinutes(5))).Succeeds();
        var share = Directory.CreateDirectory(Path.Combine(board.Share, "apparmor", "usr", "sbin")).FullName;
        (await CommandRun.RunAsync("sh", ["-c", $"cp {work.Sub("root")}/*bin/apparmor_parser {share}/ || cp {work.Sub("root")}/usr/sbin/apparmor_parser {share}/"])).Succeeds();
        (await board.RunAsync(Install)).Succeeds();

        var run = (await DaemonScript.RunOnAsync(board, "apparmor.sh")).Succeeds();

        TestContext.Current.TestOutputHelper?.WriteLine(run.Output + run.Error);
        Assert.Contains("INFO on options=1 check=1\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("CONFINED all current=edgehost-default_(enforce) exec=edgehost-default_(enforce) inspect=edgehost-default mounts=no:1 works=x kills=yes\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("CONFINED none current=unconfined exec=unconfined inspect= mounts=yes works=x kills=yes\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("OWN current=edgehost-default_(enforce) health=edgehost-default_(enforce)", run.Output, StringComparison.Ordinal);
        Assert.Matches("MISSING code=125 .*AppArmor profile nobody-has-this: it is not loaded", run.Output);
        Assert.Contains("STOPPED code=143\n", run.Output, StringComparison.Ordinal);
    }
}
