using System.CommandLine;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary><c>edgehost install</c>: the systemd units, the group and a first configuration, for the program where it is.</summary>
internal static class InstallCommand
{
    internal const string ConfigurationFile = "/etc/edgehost/edgehost.json";
    internal const string KeyDirectory = "/etc/edgehost/keys";
    internal const string Wanted = "/etc/systemd/system/multi-user.target.wants/" + InstalledUnits.Daemon;

    /// <summary>Where the package has the program.</summary>
    internal const string Packaged = "/usr/bin/edgehost";

    /// <summary>Beside the units, says that the group was made by us and is ours to remove.</summary>
    internal const string GroupMark = "/etc/edgehost/.group-made-by-install";

    /// <summary>What stands in the configuration when there was none: nothing is set, and what there is to set is named.</summary>
    internal const string ExampleConfiguration = """
        // The configuration of EdgeHost; every key is in docs/configuration.md. Without any of them: a broker inside the
        // daemon on 127.0.0.1:1883, images from any registry by TLS, and no defaults for limits.
        {
          // "device": { "id": "gateway-17" },
          // "mqtt": { "url": "mqtts://broker.example.com", "user": "gateway-17", "passwordFile": "/etc/edgehost/keys/mqtt-password" },
          // "registries": { "registry.lan:5000": { "plainHttp": true } },
          // "defaults": { "memory": "64m", "cpus": 0.5, "pids": 128 },
          // "reserve": { "memory": "64m" }
        }

        """;

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var root = RootOption();
        var prefix = new Option<string?>("--prefix") { Description = "The program will be at DIR/bin/edgehost (default: where it is now)", HelpName = "DIR" };
        var noStart = new Option<bool>("--no-start") { Description = "Enable the services for the next boot and start nothing now" };
        var command = new Command("install", "Make EdgeHost a service of systemd: units, group, first configuration; may be repeated") { root, prefix, noStart };
        command.SetAction(parsed =>
        {
            var system = new HostSystem(Absolute(parsed.GetValue(root)!), parsed.InvocationConfiguration.Output);
            Install(system, Program(system, parsed.GetValue(root)!, parsed.GetValue(prefix)), start: system.IsThis && !parsed.GetValue(noStart));
            return ExitCode.Ok;
        });
        return command;
    }

    /// <summary>The option that both verbs have.</summary>
    internal static Option<string> RootOption() => new("--root")
    {
        Description = "Work on the system whose root is DIR, as in an image that is being built",
        HelpName = "DIR",
        DefaultValueFactory = _ => "/",
    };

    /// <summary>The absolute path of a root, without a slash at its end.</summary>
    internal static string Absolute(string root) => root.Length > 0
        ? Path.TrimEndingDirectorySeparator(Path.GetFullPath(root))
        : throw new EdgeHostException(ErrorKind.Invalid, "--root is empty; name a directory, or leave it out");

    private static void Install(HostSystem system, string program, bool start)
    {
        system.Check("install");
        if (system.HasPackage && program != Packaged)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"the package edgehost is installed here, whose program is {Packaged}, and this one would be {program}; remove the package first (apt remove edgehost; data stay), or update the package");
        }

        if (system.MakeGroup())
        {
            OwnedDirectory.Create(system.PathOf("/etc/edgehost"), 0x1ED, null); // 0755
            DurableFile.Write(system.PathOf(GroupMark), [], 0x180); // 0600
        }

        if (!Directory.Exists(system.PathOf(KeyDirectory)))
        {
            OwnedDirectory.Create(system.PathOf(KeyDirectory), 0x1C0, null); // 0700
            system.Say($"made {KeyDirectory}");
        }

        if (!File.Exists(system.PathOf(ConfigurationFile)))
        {
            system.Write(ConfigurationFile, ExampleConfiguration);
        }

        InstalledNeighbours.Install(system);

        List<string> changed = [];
        if (system.HasPackage)
        {
            // Those of the package were put there by dpkg, and enabled by it unless somebody does not want that; what was
            // installed without it before would hide them.
            foreach (var (name, _) in InstalledUnits.For(program))
            {
                system.RemoveOurs(HostSystem.UnitOf(name));
            }
        }
        else
        {
            changed = [.. InstalledUnits.For(program).Where(unit => system.Write(HostSystem.UnitOf(unit.Name), unit.Text)).Select(unit => unit.Name)];
            Enable(system);
        }

        if (changed.Count > 0 || system.HasPackage)
        {
            system.Systemctl("daemon-reload");
        }

        if (start)
        {
            Start(system, changed, program);
        }
        else
        {
            system.Say(system.IsThis ? $"nothing was started; systemctl start {InstalledUnits.Daemon} does, and so does the next boot" : $"{InstalledUnits.Daemon} starts when the image is booted");
        }
    }

    // The link that systemctl enable makes, which would need the program of the image's own architecture.
    private static void Enable(HostSystem system)
    {
        var link = system.PathOf(Wanted);
        if (!Path.Exists(link) && new FileInfo(link).LinkTarget is null)
        {
            OwnedDirectory.Create(Path.GetDirectoryName(link)!, 0x1ED, null); // 0755
            File.CreateSymbolicLink(link, $"/etc/systemd/system/{InstalledUnits.Daemon}");
            Files.FlushDirectory(Path.GetDirectoryName(link)!);
            system.Say($"enabled {InstalledUnits.Daemon}");
        }
    }

    // The daemon may be restarted at any time; the shepherd's end would be that of all containers: it is reloaded.
    private static void Start(HostSystem system, List<string> changed, string program)
    {
        if (!system.IsActive(InstalledUnits.Daemon))
        {
            system.Systemctl("start", InstalledUnits.Daemon);
            system.Say($"started {InstalledUnits.Daemon} and {InstalledUnits.Shepherd}");
            return;
        }

        var (daemon, shepherd) = (changed.Contains(InstalledUnits.Daemon) || system.RunsAnother(InstalledUnits.Daemon, program), system.RunsAnother(InstalledUnits.Shepherd, program));
        if (shepherd)
        {
            Reload(system);
        }

        if (daemon)
        {
            system.Systemctl("restart", InstalledUnits.Daemon);
            system.Say($"restarted {InstalledUnits.Daemon}; the containers went on");
        }

        foreach (var unit in changed.Where(unit => unit is InstalledUnits.Shepherd or InstalledUnits.Containers))
        {
            system.Say($"{unit} runs as it was started, so that no container ends; its new version counts from the next boot");
        }

        if (changed.Count == 0 && !daemon && !shepherd)
        {
            system.Say("everything is installed and runs");
        }
    }

    private static void Reload(HostSystem system)
    {
        try
        {
            system.Systemctl("reload", InstalledUnits.Shepherd);
            system.Say($"reloaded {InstalledUnits.Shepherd}: it is the new program now, and the containers went on");
        }
        catch (EdgeHostException e)
        {
            // It refuses what cannot take over, and goes on; one from before hand-overs does nothing else.
            system.Say($"{InstalledUnits.Shepherd} goes on as the program before; journalctl -u {InstalledUnits.Shepherd} says why ({e.Message})");
        }
    }

    private static string Program(HostSystem system, string root, string? prefix)
    {
        if (prefix is not null)
        {
            return prefix.StartsWith('/')
                ? prefix.TrimEnd('/') + "/bin/edgehost"
                : throw new EdgeHostException(ErrorKind.Invalid, $"--prefix {prefix} is not an absolute path on the board, as in /usr");
        }

        var here = Environment.ProcessPath ?? throw new EdgeHostException(ErrorKind.Internal, "the path of this program is not known: is /proc mounted?");
        var inside = Absolute(root) + "/";
        return system.IsThis || !here.StartsWith(inside, StringComparison.Ordinal) ? here : here[(inside.Length - 1)..];
    }
}
