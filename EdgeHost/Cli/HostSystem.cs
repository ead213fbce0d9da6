using System.Diagnostics;
using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary>The system that EdgeHost is installed on: this one, or one that is being built in a directory.</summary>
/// <param name="root">The directory that is its root; <c>/</c> for this one.</param>
/// <param name="output">Where each thing that is done is said.</param>
internal sealed class HostSystem(string root, TextWriter output)
{
    internal const string Group = "edgehost";

    private const string UnitDirectory = "/etc/systemd/system";
    private const uint ForEverybody = 0x1A4; // 0644

    /// <summary>Whether it is the one that this program runs on.</summary>
    internal bool IsThis => root == "/";

    /// <summary>A path of it, as this program sees it.</summary>
    internal string PathOf(string path) => IsThis ? path : root + path;

    /// <summary>Where <c>install</c> writes a unit.</summary>
    internal static string UnitOf(string unit) => $"{UnitDirectory}/{unit}";

    /// <summary>
    /// Whether the package edgehost is installed on it, of which the units, and what the network's programs are told, are then
    /// part: dpkg replaces and removes these.
    /// </summary>
    internal bool HasPackage => File.Exists(PathOf($"/usr/lib/systemd/system/{InstalledUnits.Daemon}"));

    /// <summary>Says a thing that was done.</summary>
    internal void Say(string what) => output.WriteLine(what);

    /// <summary>Refuses what cannot be installed on, before anything is changed.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Denied"/>: not root; <see cref="ErrorKind.Unsupported"/>: no systemd; <see cref="ErrorKind.NotFound"/>: no such directory.</exception>
    internal void Check(string verb)
    {
        if (Processes.EffectiveUser != 0)
        {
            throw new EdgeHostException(ErrorKind.Denied, $"{verb} needs root: it changes /etc and starts services; run it with sudo");
        }

        if (!IsThis && !Directory.Exists(root))
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"there is no directory {root}; --root names the root of the image that is being built");
        }

        if (IsThis && !Directory.Exists("/run/systemd/system"))
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"this system does not run under systemd, and {verb} writes its units; for OpenRC and busybox init there are scripts in device-configs/init, and for an image that will run systemd --root DIR");
        }
    }

    /// <summary>Writes a file unless it holds just that.</summary>
    /// <returns>Whether it was written.</returns>
    internal bool Write(string path, string text)
    {
        var file = PathOf(path);
        if (File.Exists(file) && File.ReadAllText(file) == text)
        {
            return false;
        }

        OwnedDirectory.Create(Path.GetDirectoryName(file)!, 0x1ED, null); // 0755
        DurableFile.Write(file, System.Text.Encoding.UTF8.GetBytes(text), ForEverybody);
        Say($"wrote {path}");
        return true;
    }

    /// <summary>Whether a file is there that <c>install</c> has written.</summary>
    internal bool IsOurs(string path) => File.Exists(PathOf(path)) && File.ReadLines(PathOf(path)).FirstOrDefault() == InstalledUnits.Mark;

    /// <summary>Removes a file if <c>install</c> has written it.</summary>
    /// <returns>Whether it was removed.</returns>
    internal bool RemoveOurs(string path)
    {
        if (!IsOurs(path))
        {
            return false;
        }

        DurableFile.Remove(PathOf(path));
        Say($"removed {path}");
        return true;
    }

    /// <summary>Makes the group whose members may use the daemon, by the system's own program for that.</summary>
    /// <returns>Whether it was made.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: the system has no such program.</exception>
    internal bool MakeGroup()
    {
        if (SystemGroup.Find(Group, PathOf("/etc/group")) is not null)
        {
            return false;
        }

        if (Find("groupadd") is { } groupadd)
        {
            // --prefix, not --root: what is in the image may be of another architecture.
            Run(groupadd, IsThis ? ["--system", Group] : ["--system", "--prefix", root, Group]);
        }
        else if (IsThis && Find("addgroup") is { } addgroup)
        {
            Run(addgroup, ["-S", Group]);
        }
        else
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"the group {Group} cannot be made: there is neither groupadd nor addgroup; add the line \"{Group}:x:GID:\" with a free GID below 1000 to {PathOf("/etc/group")} and run this again");
        }

        Say($"made the system group {Group}; its members may use the daemon, which is as good as root: usermod -aG {Group} USER");
        return true;
    }

    /// <summary>Removes the group.</summary>
    internal void RemoveGroup()
    {
        if (SystemGroup.Find(Group, PathOf("/etc/group")) is null)
        {
            return;
        }

        if (Find("groupdel") is { } groupdel)
        {
            Run(groupdel, IsThis ? [Group] : ["--prefix", root, Group]);
        }
        else
        {
            Run(Find("delgroup") ?? throw new EdgeHostException(ErrorKind.Infeasible, $"the group {Group} cannot be removed: there is neither groupdel nor delgroup"), [Group]);
        }

        Say($"removed the group {Group}");
    }

    /// <summary>Runs systemctl; on another system than this one nothing is running that it could ask.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Internal"/>: it failed, in its own words.</exception>
    internal void Systemctl(params string[] arguments)
    {
        if (IsThis)
        {
            Run(Find("systemctl") ?? throw new EdgeHostException(ErrorKind.Infeasible, "there is no systemctl in PATH"), arguments);
        }
    }

    /// <summary>Whether a unit is active now.</summary>
    internal bool IsActive(string unit) => IsThis && Find("systemctl") is { } systemctl && Start(systemctl, ["is-active", "--quiet", unit]).ExitCode == 0;

    /// <summary>Whether the process of an active unit executes another file than the one that is at a path now.</summary>
    internal bool RunsAnother(string unit, string program) =>
        IsThis && Find("systemctl") is { } systemctl
        && int.TryParse(Start(systemctl, ["show", "-P", "MainPID", unit]).Output, NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out var pid)
        && pid > 0 && !ProgramFile.IsExecutedBy(pid, program);

    private static string? Find(string program) => (Environment.GetEnvironmentVariable("PATH") ?? string.Empty).Split(':')
        .Concat(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
        .Where(directory => directory.Length > 0).Select(directory => Path.Combine(directory, program)).FirstOrDefault(File.Exists);

    private static void Run(string program, string[] arguments)
    {
        var (exitCode, _, error) = Start(program, arguments);
        if (exitCode != 0)
        {
            throw new EdgeHostException(ErrorKind.Internal, $"{Path.GetFileName(program)} {string.Join(' ', arguments)} failed with {exitCode}: {error.Trim().ReplaceLineEndings("; ")}");
        }
    }

    private static (int ExitCode, string Output, string Error) Start(string program, string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        using var process = Process.Start(start) ?? throw new EdgeHostException(ErrorKind.Internal, $"{program} cannot be started");
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output.GetAwaiter().GetResult(), error);
    }
}
