namespace EdgeHost.Cli;

/// <summary>
/// The systemd units by which EdgeHost runs: one cgroup tree for the containers, the shepherd that holds them, and the daemon,
/// which comes and goes. All in <c>edgehost.slice</c>.
/// </summary>
/// <remarks>
/// The containers' cgroups are not beneath the shepherd's own: a cgroup that hands controllers on may hold no process
/// ("no internal processes", cgroup-v2.rst), so systemd before 254 could not start a shepherd again beside them.
/// </remarks>
internal static class InstalledUnits
{
    /// <summary>The first line of each, by which <c>uninstall</c> knows what is ours.</summary>
    internal const string Mark = "# Written by edgehost install; edgehost uninstall removes it. Changes go into a drop-in: systemctl edit";

    internal const string Slice = "edgehost.slice";
    internal const string Containers = "edgehost-containers.service";
    internal const string Shepherd = "edgehost-shepherd.service";
    internal const string Daemon = "edgehost.service";

    // Beneath the unit's own cgroup, whose limits are systemd's.
    private const string CgroupRoot = $"{Slice}/{Containers}/all";

    // systemd kills what is left after the second; the shepherd has killed it after the first.
    private const int StopWithinSeconds = 80, StopTimeoutSeconds = 90;

    /// <summary>Name and text of each unit.</summary>
    /// <param name="program">The absolute path of the program on the board.</param>
    internal static IReadOnlyList<(string Name, string Text)> For(string program) =>
    [
        (Slice, $"""
            {Mark}
            [Unit]
            Description=EdgeHost and its containers
            Documentation=man:systemd.slice(5)
            Before=slices.target

            [Slice]
            # What the two processes below keep even when the containers press; it protects nothing where a parent has none.
            MemoryMin=24M

            """),
        (Containers, $"""
            {Mark}
            [Unit]
            Description=The cgroups of EdgeHost's containers

            [Service]
            # It runs nothing: its cgroup is there for the containers, whoever starts them, and is emptied when it stops.
            Type=oneshot
            RemainAfterExit=yes
            ExecStart={Quote(program)} version
            StandardOutput=null
            Slice={Slice}
            Delegate=yes
            OOMPolicy=continue
            TasksMax=infinity

            """),
        (Shepherd, $"""
            {Mark}
            [Unit]
            Description=EdgeHost shepherd, the parent of all containers
            # At a shutdown the containers still have the network while they stop.
            After={Containers} network.target
            Requires={Containers}

            [Service]
            Type=notify
            ExecStart={Quote(program)} shepherd --stop-within {StopWithinSeconds}
            # It becomes the program that is installed by then, under running containers.
            ExecReload={Quote(program)} shepherd --replace
            # The containers' pipes, for the next one when this one and its logger have died.
            FileDescriptorStoreMax=8192
            Restart=always
            RestartSec=100ms
            TimeoutStopSec={StopTimeoutSeconds}
            # It stops the containers itself, each in its own way; one of it that died left them running.
            KillMode=process
            OOMPolicy=continue
            OOMScoreAdjust=-900
            TasksMax=infinity
            LimitNOFILE=524288
            Slice={Slice}
            MemoryMin=8M

            """),
        (Daemon, $"""
            {Mark}
            [Unit]
            Description=EdgeHost daemon
            # A stop of the shepherd is the end of the containers, and of the daemon before them. No network is waited for.
            After={Shepherd} network.target
            Requires={Shepherd}

            [Service]
            Type=notify
            ExecStart={Quote(program)} daemon --external-shepherd
            ExecReload=/bin/kill -HUP $MAINPID
            Environment=EDGEHOST_CGROUP_ROOT={CgroupRoot}
            Restart=always
            RestartSec=1
            TimeoutStartSec=180
            TimeoutStopSec=20
            WatchdogSec=60
            OOMPolicy=continue
            OOMScoreAdjust=-500
            TasksMax=infinity
            LimitNOFILE=524288
            Slice={Slice}
            MemoryMin=16M

            [Install]
            WantedBy=multi-user.target

            """),
    ];

    // A percent sign is a specifier and a blank ends a word (systemd.syntax(7), systemd.service(5)).
    private static string Quote(string program)
    {
        var text = program.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("%", "%%", StringComparison.Ordinal);
        return text.Contains(' ', StringComparison.Ordinal) ? $"\"{text}\"" : text;
    }
}
