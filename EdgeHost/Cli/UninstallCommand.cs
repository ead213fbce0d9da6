using System.CommandLine;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary><c>edgehost uninstall</c>: removes what <c>install</c> wrote; data only when asked.</summary>
internal static class UninstallCommand
{
    private static readonly string[] Data = ["/var/lib/edgehost", "/run/edgehost", "/etc/edgehost"];

    /// <summary>Makes the command.</summary>
    /// <param name="daemon">Runs the daemon, which alone knows what it has made in the kernel.</param>
    internal static Command Create(Func<DaemonFlags, int> daemon)
    {
        var root = InstallCommand.RootOption();
        var purge = new Option<bool>("--purge") { Description = "Remove images, containers, volumes, configuration, keys and the group, too" };
        var command = new Command("uninstall", "Stop all containers and remove what install wrote; data stay") { root, purge };
        command.SetAction(parsed =>
        {
            var system = new HostSystem(InstallCommand.Absolute(parsed.GetValue(root)!), parsed.InvocationConfiguration.Output);
            Uninstall(system, parsed.GetValue(purge), daemon);
            return ExitCode.Ok;
        });
        return command;
    }

    private static void Uninstall(HostSystem system, bool purge, Func<DaemonFlags, int> daemon)
    {
        system.Check("uninstall");

        // dpkg says so to what its packages run (dpkg(1), DPKG_MAINTSCRIPT_PACKAGE).
        if (system.HasPackage && Environment.GetEnvironmentVariable("DPKG_MAINTSCRIPT_PACKAGE") != "edgehost")
        {
            throw new EdgeHostException(ErrorKind.Conflict, "EdgeHost is installed as the package edgehost here; apt remove edgehost removes it, and apt purge edgehost its data, too");
        }

        string[] units = [InstalledUnits.Daemon, InstalledUnits.Shepherd, InstalledUnits.Containers, InstalledUnits.Slice];
        var ours = system.HasPackage ? [.. units] : units.Where(unit => system.IsOurs(HostSystem.UnitOf(unit))).ToList();
        foreach (var unit in ours.Where(system.IsActive))
        {
            system.Systemctl("stop", unit);
            system.Say(unit == InstalledUnits.Shepherd ? $"stopped {unit}, with all containers" : $"stopped {unit}");
        }

        if (system.IsThis && ours.Count > 0)
        {
            Leave(system, daemon);
        }

        InstalledNeighbours.Uninstall(system);
        if (system.HasPackage)
        {
            // The rest is dpkg's.
            return;
        }

        if (ours.Contains(InstalledUnits.Daemon) && new FileInfo(system.PathOf(InstallCommand.Wanted)).LinkTarget is not null)
        {
            DurableFile.Remove(system.PathOf(InstallCommand.Wanted));
            if (Path.GetDirectoryName(system.PathOf(InstallCommand.Wanted)) is { } wants && !Directory.EnumerateFileSystemEntries(wants).Any())
            {
                Directory.Delete(wants);
            }

            system.Say($"disabled {InstalledUnits.Daemon}");
        }

        foreach (var unit in ours)
        {
            system.RemoveOurs(HostSystem.UnitOf(unit));
        }

        if (ours.Count > 0)
        {
            system.Systemctl("daemon-reload");
        }
        else
        {
            system.Say("no unit of edgehost install is here");
        }

        if (purge)
        {
            Purge(system);
            return;
        }

        var configuration = system.PathOf(InstallCommand.ConfigurationFile);
        if (File.Exists(configuration) && File.ReadAllText(configuration) == InstallCommand.ExampleConfiguration)
        {
            DurableFile.Remove(configuration);
            system.Say($"removed {InstallCommand.ConfigurationFile}, which nobody had changed");
        }

        var left = Data.Where(path => Directory.Exists(system.PathOf(path))).ToList();
        if (left.Count > 0)
        {
            system.Say($"left {string.Join(", ", left)}; edgehost uninstall --purge removes them");
        }
    }

    // The containers ended after the daemon, which left their bridges and rules for them.
    private static void Leave(HostSystem system, Func<DaemonFlags, int> daemon)
    {
        try
        {
            daemon(new DaemonFlags(null, null, null) { Leaves = true });
        }
        catch (EdgeHostException e)
        {
            system.Say($"bridges and rules stay until the next boot: {e.Message}");
        }
    }

    private static void Purge(HostSystem system)
    {
        // What is mounted there belongs to somebody, and would be emptied.
        var mounted = Data.Select(system.PathOf).SelectMany(path => File.ReadLines("/proc/self/mounts")
            .Select(line => line.Split(' ')[1].Replace("\\040", " ", StringComparison.Ordinal)).Where(point => point.StartsWith(path + "/", StringComparison.Ordinal))).ToList();
        if (mounted.Count > 0)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"something is mounted at {mounted[0]}; unmount it first, so that nothing of it is removed");
        }

        var group = File.Exists(system.PathOf(InstallCommand.GroupMark));
        foreach (var path in Data.Where(path => Directory.Exists(system.PathOf(path))))
        {
            RemoveAll(system.PathOf(path));
            system.Say($"removed {path}");
        }

        if (group)
        {
            system.RemoveGroup();
        }
    }

    // The directory of data may itself be a mount of its own: it stays, empty.
    private static void RemoveAll(string directory)
    {
        foreach (var entry in new DirectoryInfo(directory).EnumerateFileSystemInfos())
        {
            if (entry is DirectoryInfo { LinkTarget: null } inner)
            {
                inner.Delete(recursive: true);
            }
            else
            {
                entry.Delete();
            }
        }

        if (!File.ReadLines("/proc/self/mounts").Any(line => line.Split(' ')[1] == directory))
        {
            Directory.Delete(directory);
        }
    }
}
