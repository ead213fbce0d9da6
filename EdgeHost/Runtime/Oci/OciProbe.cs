using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;
using EdgeHost.Oci;
using EdgeHost.Runtime.Cgroups;
using EdgeHost.Runtime.Launch;

namespace EdgeHost.Runtime.Oci;

/// <summary>
/// <c>oci probe</c>: starts a container with a user namespace from layers of its own in a directory, as the daemon would
/// with its data directory, and prints <c>ok</c> or the step that this kernel or file system cannot do. What it has made
/// is gone then.
/// </summary>
internal static class OciProbe
{
    /// <summary>What it prints when all of it works.</summary>
    internal const string Works = "ok";

    private const string Program = "probe";
    private const string Scratch = ".probe-";
    private const uint Size = 1 << 16;

    internal static int Execute(OciArguments line)
    {
        var operands = line.TakeOperands(2, 2, "a directory and the first user of a range");
        if (!uint.TryParse(operands[1], NumberStyles.None, CultureInfo.InvariantCulture, out var first))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"\"{operands[1]}\" is not a user's number");
        }

        SingleThread.Print(Try(Path.GetFullPath(operands[0]), first) + "\n");
        return 0;
    }

    private static string Try(string directory, uint first)
    {
        var scratch = $"{directory}/{Scratch}{Environment.ProcessId.ToString(CultureInfo.InvariantCulture)}";
        try
        {
            RemoveLeft(directory);
            foreach (var part in (string[])["", "/root", "/layers", "/layers/lower", "/layers/upper", "/layers/work"])
            {
                Files.TryMakeDirectory(scratch + part, 0x1ED);
            }

            // No program: that the kernel reads it, for a user that alone may execute it, and finds none, is the proof. For
            // what is no text it would look for a module that knows it.
            DurableFile.WriteVolatile($"{scratch}/layers/lower/{Program}", "none"u8, 0x1C0);
            return Launch(scratch, first);
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            return e.Message;
        }
        finally
        {
            Remove(scratch);
        }
    }

    private static string Launch(string scratch, uint first)
    {
        var plan = LaunchPlanCompiler.Compile(SpecOf(first), new LaunchTarget
        {
            Bundle = scratch,
            Overlay = new OverlayRoot(scratch + "/root", [scratch + "/layers/lower"], scratch + "/layers/upper", scratch + "/layers/work"),
            CgroupMounts = CgroupMounts.Read(),
            Cgroup = null,
            GivesStreams = false,
        });
        using var process = Launcher.Start(plan, null, [0, 1, 2]);
        var failure = process.Wait();
        Processes.Wait(process.Pid);
        return failure switch
        {
            { IsExecute: true, Errno: Errno.ENOEXEC } => Works,
            null => "a file that is no program was executed",
            _ => $"{failure.Cause}; this is Linux {File.ReadAllText("/proc/sys/kernel/osrelease").Trim()}",
        };
    }

    private static RuntimeSpec SpecOf(uint first)
    {
        RuntimeIdMapping[] map = [new() { ContainerId = 0, HostId = first, Size = Size }];
        return new RuntimeSpec
        {
            OciVersion = "1.1.0",
            Mounts =
            [
                new() { Destination = "/proc", Type = "proc", Source = "proc", Options = ["nosuid", "noexec", "nodev"] },
                new() { Destination = "/dev", Type = "tmpfs", Source = "tmpfs", Options = ["nosuid", "mode=755", "size=64k"] },
                new() { Destination = "/dev/pts", Type = "devpts", Source = "devpts", Options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
                new() { Destination = "/sys", Type = "sysfs", Source = "sysfs", Options = ["nosuid", "noexec", "nodev", "ro"] },
            ],
            Process = new RuntimeProcess { Args = ["/" + Program], Cwd = "/", NoNewPrivileges = true },
            Linux = new RuntimeLinux
            {
                Namespaces = [.. ((string[])["user", "mount", "pid", "ipc", "uts", "cgroup"]).Select(kind => new RuntimeNamespace { Type = kind })],
                UidMappings = map,
                GidMappings = map,
                MaskedPaths = ["/proc/kcore", "/sys/firmware"],
                ReadonlyPaths = ["/proc/sys"],
            },
        };
    }

    // Of one that was killed.
    private static void RemoveLeft(string directory)
    {
        foreach (var left in Directory.EnumerateDirectories(directory, Scratch + "*"))
        {
            if (int.TryParse(left[(left.LastIndexOf('-') + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var pid) && Processes.TryReadStartTime(pid) is null)
            {
                Remove(left);
            }
        }
    }

    private static void Remove(string scratch)
    {
        if (Directory.Exists(scratch))
        {
            Directory.Delete(scratch, recursive: true);
        }
    }
}
