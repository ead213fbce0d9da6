using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using EdgeHost.Linux;
using EdgeHost.Runtime.Shepherd;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>The shepherd is given to another program under running containers, or refuses to be.</summary>
public sealed class HandoverTests : IDisposable
{
    private readonly TemporaryDirectory _host = new();

    public void Dispose() => _host.Dispose();

    [Fact]
    public async Task A_shepherd_that_is_told_to_reload_executes_what_is_installed_by_then_and_nothing_is_lost()
    {
        await using var daemon = DaemonUnderTest.Make();
        daemon.Settings["log"] = new { maxSize = "64m" };
        daemon.Program = _host.Sub("edgehost");
        File.Copy(await PublishedBinary.NativeAsync(), daemon.Program);
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var shepherd = await daemon.ShepherdPidAsync();
        var busy = await BusyContainers.StartAsync(daemon, _host.Path);
        for (var round = 0; round < 5; round++)
        {
            // A file of its own each time, in the place of the one before.
            File.Copy(daemon.Program, daemon.Program + ".new");
            File.Move(daemon.Program + ".new", daemon.Program, overwrite: true);
            var logger = await daemon.LoggerPidAsync();
            var before = daemon.Said.Length;

            await DaemonUnderTest.SignalAsync(shepherd, "HUP");

            await daemon.SaysAsync("has taken over 20 containers", before);
            await DaemonUnderTest.GoneAsync(logger);
            await busy.GoOnAsync();
            Assert.Equal(await FileOf(daemon.Program), await FileOf($"/proc/{shepherd}/exe"));
            Assert.Equal(await FileOf(daemon.Program), await FileOf($"/proc/{await daemon.LoggerPidAsync()}/exe"));
        }

        await busy.AssertSameProcessesAsync();
        (await daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
        BusyContainers.AssertComplete(await busy.StopAsync());
    }

    [Theory]
    [InlineData("missing", "no such file or directory")]
    [InlineData("directory", "is not an ELF program")]
    [InlineData("script", "is not an ELF program")]
    [InlineData("machine", "is built for another machine")]
    [InlineData("cut", "its check ended with")]
    [InlineData("other", "it said nothing")]
    [InlineData("hangs", "its check has not ended within 10 s")]
    public async Task A_program_that_cannot_take_over_is_refused_and_nothing_has_changed(string kind, string why)
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        var container = await daemon.RunDetachedAsync("busybox", "sleep", "1000");
        var pid = await daemon.PidOfAsync(container);
        var shepherd = await daemon.ShepherdPidAsync();
        var (file, logger) = (await FileOf($"/proc/{shepherd}/exe"), await daemon.LoggerPidAsync());

        var refusal = await ReplaceAsync(daemon, await BadProgramAsync(kind));

        Assert.NotNull(refusal);
        Assert.Contains(why, refusal, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(shepherd, await daemon.ShepherdPidAsync());
        Assert.Equal(file, await FileOf($"/proc/{shepherd}/exe"));
        Assert.Equal(logger, await daemon.LoggerPidAsync());
        Assert.Equal(pid, await daemon.PidOfAsync(container));
        (await daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
        await ReplacedAsync(daemon);
        (await daemon.DockerAsync("rm", "-f", container)).Succeeds();
    }

    [Fact]
    public async Task When_a_program_that_passed_its_check_fails_to_take_over_the_one_before_goes_on()
    {
        await Packages.NeedAsync("clang");
        await using var daemon = DaemonUnderTest.Make();
        daemon.Settings["log"] = new { maxSize = "64m" };
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var shepherd = await daemon.ShepherdPidAsync();
        var file = await FileOf($"/proc/{shepherd}/exe");
        var busy = await BusyContainers.StartAsync(daemon, _host.Path);

        var refusal = await ReplaceAsync(daemon, await FailingProgramAsync("errno = EMFILE; return -1;"));

        Assert.NotNull(refusal);
        Assert.Contains("failed, the program before goes on: make an event loop: too many open files", refusal, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(file, await FileOf($"/proc/{shepherd}/exe"));
        await busy.GoOnAsync();
        await busy.AssertSameProcessesAsync();
        (await daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
        await ReplacedAsync(daemon);
        BusyContainers.AssertComplete(await busy.StopAsync());
    }

    [Fact]
    public async Task When_a_program_that_passed_its_check_crashes_another_shepherd_takes_everything_back()
    {
        await Packages.NeedAsync("clang");
        await using var daemon = DaemonUnderTest.Make();
        daemon.Settings["log"] = new { maxSize = "64m" };
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var shepherd = await daemon.ShepherdPidAsync();
        var busy = await BusyContainers.StartAsync(daemon, _host.Path);
        var before = daemon.Said.Length;

        Assert.Equal("gone", await ReplaceAsync(daemon, await FailingProgramAsync("abort();")));

        await daemon.SaysAsync("20 containers are taken back", before);
        await daemon.SaysAsync("of them running; the shepherd is process", before);
        Assert.NotEqual(shepherd, await daemon.ShepherdPidAsync());
        await busy.GoOnAsync();
        await busy.AssertSameProcessesAsync();
        BusyContainers.AssertComplete(await busy.StopAsync());
    }

    [Fact]
    public async Task A_check_of_health_that_runs_does_not_hold_a_hand_over_up_and_the_next_one_is_made()
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        var container = await daemon.RunDetachedAsync(
            "-v",
            _host.Path + ":/host",
            "--health-cmd",
            "echo checked > /proc/1/fd/1; [ -e /host/fast ] || sleep 1000",
            "--health-interval",
            "100ms",
            "--health-timeout",
            "1000s",
            "busybox",
            "sleep",
            "1000");
        await daemon.LineAsync(container, line => line == "checked");

        await ReplacedAsync(daemon);
        await File.WriteAllTextAsync(_host.Sub("fast"), string.Empty, TestContext.Current.CancellationToken);

        await HealthTests.BecomesAsync(daemon, container, "healthy");
        (await daemon.DockerAsync("rm", "-f", container)).Succeeds();
    }

    private static async Task ReplacedAsync(DaemonUnderTest daemon)
    {
        var refusal = await ReplaceAsync(daemon, await PublishedBinary.NativeAsync());
        Assert.True(refusal is null, refusal);
    }

    // Device and inode.
    internal static async Task<string> FileOf(string path) => (await CommandRun.RunAsync("stat", ["-L", "-c", "%d:%i", path])).Succeeds().Output;

    /// <summary>Asks the shepherd to be replaced.</summary>
    /// <returns>Why it was not; null when it was.</returns>
    private static async Task<string?> ReplaceAsync(DaemonUnderTest daemon, string program)
    {
        using var shepherd = PacketSocket.TryConnect(daemon.Run + "/shepherd.sock")!;
        return await Task.Run(() =>
        {
            var buffer = new byte[PacketSocket.MaximumLength];
            var replace = new ShepherdMessageWriter(buffer, ShepherdMessageKind.Replace);
            replace.Put(1);
            replace.Put(program);
            Assert.True(shepherd.Send(replace.Written));
            while (true)
            {
                var length = shepherd.Receive(buffer, []);
                if (length == 0)
                {
                    return "gone";
                }

                var reader = new ShepherdMessageReader(buffer.AsSpan(0, length));
                if (reader.Kind == ShepherdMessageKind.Done)
                {
                    return null;
                }

                if (reader.Kind == ShepherdMessageKind.Failed)
                {
                    _ = (reader.TakeInt32(), reader.TakeInt32());
                    return reader.TakeText();
                }
            }
        }).WaitAsync(DaemonUnderTest.Patience, TestContext.Current.CancellationToken);
    }

    private async Task<string> BadProgramAsync(string kind)
    {
        var path = _host.Sub("bad");
        switch (kind)
        {
            case "directory":
                Directory.CreateDirectory(path);
                break;
            case "script":
                await File.WriteAllTextAsync(path, "#!/bin/sh\necho 'edgehost shepherd: ready to take over'\n", TestContext.Current.CancellationToken);
                break;
            case "machine":
                const int Machine = 18;
                var other = await File.ReadAllBytesAsync(await PublishedBinary.NativeAsync(), TestContext.Current.CancellationToken);
                other[Machine] ^= 0xFF;
                await File.WriteAllBytesAsync(path, other, TestContext.Current.CancellationToken);
                break;
            case "cut":
                // The kernel maps it, and it dies where it reads what is not there.
                var whole = await File.ReadAllBytesAsync(await PublishedBinary.NativeAsync(), TestContext.Current.CancellationToken);
                await File.WriteAllBytesAsync(path, whole[..(whole.Length / 2)], TestContext.Current.CancellationToken);
                break;
            case "other":
                return "/usr/bin/true";
            case "hangs":
                await Packages.NeedAsync("clang");
                await File.WriteAllTextAsync(_host.Sub("hang.c"), "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n", TestContext.Current.CancellationToken);
                (await CommandRun.RunAsync("clang", ["-o", path, _host.Sub("hang.c")])).Succeeds();
                break;
        }

        if (File.Exists(path))
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }

        return path;
    }

    // This build, in surroundings in which something befalls it where it makes its event loop to take over; not so the program before.
    private async Task<string> FailingProgramAsync(string how)
    {
        await File.WriteAllTextAsync(
            _host.Sub("fail.c"),
            """
            #define _GNU_SOURCE
            #include <dlfcn.h>
            #include <errno.h>
            #include <fcntl.h>
            #include <stdarg.h>
            #include <stdlib.h>
            #include <string.h>
            #include <sys/syscall.h>
            #include <unistd.h>

            static int has_argument(const char *name)
            {
                char line[4096];
                int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
                ssize_t length = read(fd, line, sizeof line);
                close(fd);
                return memmem(line, length, name, strlen(name)) != NULL;
            }

            __attribute__((constructor)) static void leave(void)
            {
                if (has_argument("--refused"))
                    unsetenv("LD_PRELOAD");
            }

            long syscall(long number, ...)
            {
                static long (*next)(long, ...);
                va_list list;
                long a[6];
                if (number == SYS_epoll_create1 && has_argument("--before")) {
                    HOW
                }
                va_start(list, number);
                for (int i = 0; i < 6; i++)
                    a[i] = va_arg(list, long);
                va_end(list);
                if (!next)
                    next = dlsym(RTLD_NEXT, "syscall");
                return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
            }
            """,
            TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(
            _host.Sub("run.c"),
            """
            #include <stdlib.h>
            #include <unistd.h>

            int main(int count, char **arguments)
            {
                setenv("LD_PRELOAD", LIBRARY, 1);
                execv(PROGRAM, arguments);
                return 1;
            }
            """,
            TestContext.Current.CancellationToken);
        (await CommandRun.RunAsync("clang", [$"-DHOW={how}", "-shared", "-fPIC", "-o", _host.Sub("fail.so"), _host.Sub("fail.c")])).Succeeds();
        (await CommandRun.RunAsync(
            "clang", [$"-DLIBRARY=\"{_host.Sub("fail.so")}\"", $"-DPROGRAM=\"{await PublishedBinary.NativeAsync()}\"", "-o", _host.Sub("failing"), _host.Sub("run.c")])).Succeeds();
        return _host.Sub("failing");
    }
}
