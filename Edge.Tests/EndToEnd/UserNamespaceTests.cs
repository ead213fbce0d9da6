using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using EdgeHost.Linux;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Containers whose root is nobody of the machine, as the kernel and the disk show them.</summary>
public sealed class UserNamespaceTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    [Fact]
    public async Task Root_inside_is_nobody_outside_and_its_files_on_the_disk_are_as_without()
    {
        (await Daemon.EdgehostAsync("run", "-d", "--name", "rootless", "--userns", "auto", "busybox", "sh", "-c", "touch /made; chown 7:8 /made; exec sleep 1000")).Succeeds();
        var pid = await Daemon.PidOfAsync("rootless");
        var status = await File.ReadAllLinesAsync($"/proc/{pid}/status", TestContext.Current.CancellationToken);
        var first = uint.Parse(status.Single(line => line.StartsWith("Uid:", StringComparison.Ordinal)).Split('\t')[1], System.Globalization.CultureInfo.InvariantCulture);
        Assert.True(first >= 0x7700_0000, $"uid {first}");
        Assert.Equal($"0 {first} 65536", string.Join(' ', (await File.ReadAllTextAsync($"/proc/{pid}/uid_map", TestContext.Current.CancellationToken)).Split(' ', StringSplitOptions.RemoveEmptyEntries)).Trim());
        Assert.Equal("0:0 7:8", (await InsideAsync("rootless", "stat -c %u:%g / /made")).ReplaceLineEndings(" ").Trim());
        Assert.Equal("auto", await Daemon.InspectAsync("rootless", "{{.HostConfig.UsernsMode}}"));

        // The topmost layer has it with the owner that it has inside.
        var made = Assert.Single(Directory.GetFiles(Path.Combine(Daemon.Data, "snapshots"), "made", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 3 }));
        Assert.Equal("7:8", (await CommandRun.RunAsync("stat", ["-c", "%u:%g", made])).Succeeds().Output.Trim());

        // Its range is its own, and stays it.
        (await Daemon.EdgehostAsync("run", "-d", "--name", "second", "--userns", "auto", "busybox", "sleep", "1000")).Succeeds();
        Assert.NotEqual(await UserAsync("rootless"), await UserAsync("second"));
        (await Daemon.DockerAsync("restart", "-t", "0", "rootless")).Succeeds();
        Assert.Equal(first.ToString(System.Globalization.CultureInfo.InvariantCulture), await UserAsync("rootless"));
        Assert.Equal("7:8", (await InsideAsync("rootless", "stat -c %u:%g /made")).Trim());
        (await Daemon.DockerAsync("rm", "-f", "rootless", "second")).Succeeds();
    }

    [Fact]
    public async Task Namespaces_that_are_made_ahead_become_those_of_one_container_alone()
    {
        (await Daemon.EdgehostAsync("run", "--rm", "--network", "none", "busybox", "true")).Succeeds();
        string[] ready;
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        while ((ready = Held()).Length == 0)
        {
            // The daemon holds them by descriptors, which is all that there is of them.
            await Task.Delay(20, patience.Token);
        }

        var ids = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            ids.Add(await Daemon.RunDetachedAsync("--network", "none", "busybox", "sleep", "1000"));
        }

        var users = new List<string>();
        var ranges = new List<string>();
        foreach (var id in ids)
        {
            var pid = await Daemon.PidOfAsync(id);
            users.Add(new FileInfo($"/proc/{pid}/ns/user").LinkTarget!);
            ranges.Add(await File.ReadAllTextAsync($"/proc/{pid}/uid_map", TestContext.Current.CancellationToken));
        }

        Assert.Equal(Assert.Single(ready), users[0]);
        Assert.Equal(3, users.Distinct().Count());
        Assert.Equal(3, ranges.Distinct().Count());
        Assert.Empty(Held().Intersect(users));
        (await Daemon.DockerAsync(["rm", "-f", .. ids])).Succeeds();

        string[] Held() => [.. Directory.EnumerateFiles($"/proc/{Daemon.Pid}/fd").Select(file => new FileInfo(file).LinkTarget).OfType<string>().Where(target => target.StartsWith("user:[", StringComparison.Ordinal))];
    }

    [Fact]
    public async Task Two_of_them_share_a_volume_whose_owners_both_see_alike()
    {
        const string Write = "id -u; touch /data/$HOSTNAME; chown 5 /data/$HOSTNAME; stat -c %n:%u /data/*";
        (await Daemon.EdgehostAsync("run", "--rm", "--hostname", "a", "--userns", "auto", "-v", "common:/data", "busybox", "sh", "-c", Write)).Succeeds();
        Assert.Equal("0\n/data/a:5\n/data/b:5\n", (await Daemon.EdgehostAsync("run", "--rm", "--hostname", "b", "--userns", "auto", "-v", "common:/data", "busybox", "sh", "-c", Write)).Succeeds().Output);
        Assert.Equal("/data/a:5\n/data/b:5\n", (await Daemon.RunAsync("--rm", "-v", "common:/data", "busybox", "sh", "-c", "stat -c %n:%u /data/*")).Succeeds().Output);
        (await Daemon.DockerAsync("volume", "rm", "common")).Succeeds();
    }

    [Fact]
    public async Task It_has_networks_names_and_low_ports_and_a_user_of_its_own()
    {
        var said = (await Daemon.EdgehostAsync(
            "run", "--rm", "--userns", "auto", "--user", "1000:1000", "busybox", "sh", "-c",
            "id -u; grep -c localhost /etc/hosts; timeout 1 nc -l -p 80 || echo $?; echo again > /dev/stdout")).Succeeds().Output;

        // busybox's timeout ends with 143 what listens: nothing was refused.
        Assert.Equal("1000\n2\n143\nagain\n", said);
        Assert.Equal("", (await Daemon.EdgehostAsync("run", "--rm", "--userns", "auto", "busybox", "sh", "-c", "echo '10.0.0.9 more' >> /etc/hosts")).Succeeds().Error);
    }

    [Fact]
    public async Task Health_checks_come_into_it_as_its_own_user()
    {
        (await Daemon.EdgehostAsync("run", "-d", "--name", "checked", "--userns", "auto", "--health-interval", "200ms", "--health-cmd", "id -u; cat /proc/self/uid_map; test -O /etc", "busybox", "sleep", "1000")).Succeeds();
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        while (await Daemon.InspectAsync("checked", "{{.State.Health.Status}}") is var health && health != "healthy")
        {
            Assert.False(patience.IsCancellationRequested, await Daemon.InspectAsync("checked", "{{json .State.Health}}"));
        }

        Assert.StartsWith("0\n         0 ", await Daemon.InspectAsync("checked", "{{(index .State.Health.Log 0).Output}}"), StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", "checked")).Succeeds();
    }

    [Fact]
    public async Task Every_container_is_one_but_who_says_otherwise_or_asks_for_rights_over_the_host()
    {
        Assert.True(await HasOwnUsersAsync());
        Assert.True(await HasOwnUsersAsync("--network", "host"));
        Assert.True(await HasOwnUsersAsync("--network", "none", "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", "--cap-add", "chown"));
        Assert.False(await HasOwnUsersAsync("--userns", "host"));
        Assert.True(await HasOwnUsersAsync("--cap-add", "NET_ADMIN", "--cap-add", "net_raw"));
        Assert.False(await HasOwnUsersAsync("--cap-add", "SYS_ADMIN"));
        Assert.False(await HasOwnUsersAsync("--network", "host", "--cap-add", "NET_ADMIN"));
        Assert.False(await HasOwnUsersAsync("--network", "host", "--cap-add", "NET_BIND_SERVICE"));
        Assert.Contains("SYS_TIME means nothing in a user namespace", (await Daemon.EdgehostAsync("run", "--rm", "--userns", "auto", "--cap-add", "SYS_TIME", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
        Assert.Contains("name=userns", (await Daemon.DockerAsync("info", "-f", "{{.SecurityOptions}}")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Contains("User Namespaces: on\n", (await Daemon.EdgehostAsync("info")).Succeeds().Output, StringComparison.Ordinal);

        // Of the attempt at the start nothing is left.
        Assert.DoesNotContain(Directory.EnumerateFileSystemEntries(Path.Combine(Daemon.Data, "snapshots")), path => Path.GetFileName(path).StartsWith(".probe", StringComparison.Ordinal));

        async Task<bool> HasOwnUsersAsync(params string[] options)
        {
            var map = (await Daemon.EdgehostAsync(["run", "--rm", .. options, "busybox", "cat", "/proc/self/uid_map"])).Succeeds().Output.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            return map[1] != "0";
        }
    }

    [Fact]
    public async Task A_mount_that_asks_for_it_shows_the_hosts_users_as_nobody_and_gives_no_right_to_their_files()
    {
        using var host = new TemporaryDirectory();
        await File.WriteAllTextAsync(host.Sub("open"), "open\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(host.Sub("closed"), "closed\n", TestContext.Current.CancellationToken);
        File.SetUnixFileMode(host.Path, (UnixFileMode)0x1ED);
        File.SetUnixFileMode(host.Sub("open"), (UnixFileMode)0x1A4);
        File.SetUnixFileMode(host.Sub("closed"), (UnixFileMode)0x180);
        const string Look = "stat -c %u /b/open /b/closed; cat /b/open; cat /b/closed 2>&1; touch /b/new 2>&1";
        const string Refused = "65534\n65534\nopen\ncat: can't open '/b/closed': Permission denied\ntouch: /b/new: Permission denied\n";
        Assert.Equal(Refused, (await Daemon.EdgehostAsync("run", "--rm", "-v", host.Path + ":/b:idmap=none", "busybox", "sh", "-c", Look + "; true")).Succeeds().Output);
        Assert.Equal(Refused, (await Daemon.EdgehostAsync("run", "--rm", "--mount", $"type=bind,source={host.Path},target=/b,idmap=none", "busybox", "sh", "-c", Look + "; true")).Succeeds().Output);
        Assert.Equal(Refused, (await Daemon.RunAsync("--rm", "-v", host.Path + ":/b:idmap=none", "busybox", "sh", "-c", Look + "; true")).Succeeds().Output);
        Assert.Equal("0\n0\nopen\nclosed\n", (await Daemon.EdgehostAsync("run", "--rm", "-v", host.Path + ":/b:ro", "busybox", "sh", "-c", Look.Split("; touch")[0])).Succeeds().Output);

        // What cannot be mapped at all is there with it, and refused without.
        Assert.Equal("65534\n", (await Daemon.EdgehostAsync("run", "--rm", "-v", "/proc/sys/kernel:/b:ro,idmap=none", "busybox", "stat", "-c", "%u", "/b/ostype")).Succeeds().Output);
        var refused = (await Daemon.EdgehostAsync("run", "--rm", "-v", "/proc/sys/kernel:/b:ro", "busybox", "true")).Exits(125).Error;
        Assert.Contains("bind /proc/sys/kernel on /b: this kernel cannot map the ids of its file system", refused, StringComparison.Ordinal);
        Assert.Contains("idmap=none", refused, StringComparison.Ordinal);
        Assert.Contains("--userns host", refused, StringComparison.Ordinal);
        Assert.Contains("idmap \"all\" is not none", (await Daemon.EdgehostAsync("run", "--rm", "--mount", "type=bind,source=/etc,target=/b,idmap=all", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Set_user_id_bits_and_file_capabilities_give_nothing()
    {
        (await Daemon.EdgehostAsync("run", "--rm", "-v", "raised:/v", "busybox", "sh", "-c", "mkdir /v/suid /v/capable; cp /bin/busybox /v/suid; cp /bin/busybox /v/capable; chmod 4755 /v/suid/busybox")).Succeeds();
        using (var volume = RootedDirectory.Open(Path.Combine(Daemon.Data, "volumes/raised/_data/capable")))
        using (var file = RootedDirectory.OpenNamedFile(volume.Root, "busybox"u8))
        {
            // CAP_CHOWN, effective at once (struct vfs_cap_data of linux/capability.h, version 2).
            Assert.Equal(Errno.None, RootedDirectory.TrySetAttribute(file, "security.capability"u8, [1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        }

        foreach (var users in new[] { "auto", "host" })
        {
            Assert.Equal(
                "su: must be suid to work properly\nCapEff:\t0000000000000000\n",
                (await Daemon.EdgehostAsync("run", "--rm", "--userns", users, "--user", "1000", "-v", "raised:/v", "busybox", "sh", "-c", "/v/suid/busybox su 2>&1; /v/capable/busybox grep CapEff /proc/self/status")).Succeeds().Output);
        }

        // Both come out of it and in again by a copy, as the container has them.
        (await Daemon.EdgehostAsync("run", "-d", "--name", "raising", "-v", "raised:/v", "busybox", "sleep", "1000")).Succeeds();
        using var host = new TemporaryDirectory();
        (await Daemon.EdgehostAsync("cp", "raising:/v/capable/busybox", host.Sub("capable"))).Succeeds();
        (await Daemon.EdgehostAsync("cp", host.Sub("capable"), "raising:/v/again")).Succeeds();
        Assert.Equal("0:0\n", await InsideAsync("raising", "stat -c %u:%g /v/again"));
        using (var volume = RootedDirectory.Open(Path.Combine(Daemon.Data, "volumes/raised/_data")))
        using (var file = RootedDirectory.OpenNamedFile(volume.Root, "again"u8))
        {
            var value = RootedDirectory.GetAttribute(file, "security.capability"u8);
            Assert.NotNull(value);
            Assert.Equal([1, 0, 0, 0], value[4..8]);
        }

        (await Daemon.DockerAsync("rm", "-f", "raising")).Succeeds();
        (await Daemon.DockerAsync("volume", "rm", "raised")).Succeeds();
    }

    [Fact]
    public async Task Where_the_kernel_refuses_them_containers_have_the_hosts_users_and_it_is_said()
    {
        // A kernel that lets nobody into a user namespace; containers join theirs last.
        const string Filter = """
            import ctypes, os, platform, struct, sys
            setns = 308 if platform.machine() == "x86_64" else 268
            steps = [(0x20, 0, 0, 0), (0x15, 0, 3, setns), (0x20, 0, 0, 24), (0x15, 0, 1, 0x10000000), (6, 0, 0, 0x50001), (6, 0, 0, 0x7fff0000)]
            code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
            program = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
            assert ctypes.CDLL(None).prctl(22, 2, program, 0, 0) == 0
            os.execv(sys.argv[1], sys.argv[1:])
            """;
        await Packages.NeedAsync("python3");
        await using var daemon = DaemonUnderTest.Make();
        daemon.Before = ["python3", "-c", Filter];
        await daemon.StartAsync();
        const string Why = "join the container's user namespace: operation not permitted; this is Linux ";
        await daemon.SaysAsync("containers have the host's users unless they ask for their own: " + Why);
        await daemon.LoadAsync("busybox");
        Assert.Equal("0\n", (await daemon.EdgehostAsync("run", "--rm", "busybox", "sh", "-c", "awk '{print $2}' /proc/self/uid_map")).Succeeds().Output);
        Assert.Contains("containers cannot have one on this host: " + Why, (await daemon.EdgehostAsync("run", "--rm", "--userns", "auto", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
        Assert.Contains("User Namespaces: off: " + Why, (await daemon.EdgehostAsync("info")).Succeeds().Output, StringComparison.Ordinal);
        Assert.DoesNotContain("name=userns", (await daemon.DockerAsync("info", "-f", "{{.SecurityOptions}}")).Succeeds().Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Check_says_where_a_data_directory_cannot_have_them()
    {
        // No file of a ramfs can be mapped, on any kernel.
        using var place = new TemporaryDirectory();
        var check = (await CommandRun.RunAsync("unshare", ["--mount", "sh", "-c", $"mount -t ramfs none {place.Path} && {await PublishedBinary.NativeAsync()} check --data-dir {place.Path}; ls -A {place.Path}"])).Output;
        Assert.Matches(@"lacks    user namespaces +bind .*: this kernel cannot map the ids of its file system \(ext4", check);
        Assert.DoesNotContain("\n.probe", check, StringComparison.Ordinal);
        Assert.Matches("ok       user namespaces +up to .*; one works with files in /", (await CommandRun.RunAsync(await PublishedBinary.NativeAsync(), ["check", "--data-dir", place.Sub("later")])).Output);
    }

    [Fact]
    public async Task Ranges_are_those_of_a_file_kept_for_life_and_at_their_end_it_is_said()
    {
        await using var daemon = DaemonUnderTest.Make();
        using var files = new TemporaryDirectory();
        daemon.Settings["userns"] = new { rangeFile = files.Sub("subuid") };
        Assert.Contains($"{files.Sub("subuid")} is not there", (await daemon.StartInVainAsync()).Said, StringComparison.Ordinal);
        await File.WriteAllTextAsync(files.Sub("subuid"), "other:400000:65536\nedgehost:300000:131072\n", TestContext.Current.CancellationToken);
        Assert.Contains("edgehost:300000:131072 overlaps other:400000:65536", (await daemon.StartInVainAsync()).Said, StringComparison.Ordinal);

        await File.WriteAllTextAsync(files.Sub("subuid"), "edgehost:300000:131072\n", TestContext.Current.CancellationToken);
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        await daemon.RunDetachedAsync("--name", "one", "busybox", "sleep", "1000");
        await daemon.RunDetachedAsync("--name", "two", "busybox", "sleep", "1000");
        Assert.Equal(("300000", "365536"), (await UserAsync(daemon, "one"), await UserAsync(daemon, "two")));
        Assert.Contains("all 2 ranges of users are taken by containers", (await daemon.EdgehostAsync("run", "--rm", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
        (await daemon.EdgehostAsync("run", "--rm", "--userns", "host", "busybox", "true")).Succeeds();

        // Other lines later are for other containers.
        await daemon.StopAsync();
        await File.WriteAllTextAsync(files.Sub("subuid"), "edgehost:250000:131072\n", TestContext.Current.CancellationToken);
        await daemon.StartAsync();
        (await daemon.DockerAsync("restart", "-t", "0", "two")).Succeeds();
        Assert.Equal("365536", await UserAsync(daemon, "two"));
        Assert.Contains("all 2 ranges of users are taken", (await daemon.EdgehostAsync("run", "--rm", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
        (await daemon.DockerAsync("rm", "-f", "one")).Succeeds();
        await daemon.RunDetachedAsync("--name", "three", "busybox", "sleep", "1000");
        Assert.Equal("250000", await UserAsync(daemon, "three"));
    }

    [Fact]
    public async Task Without_a_file_of_its_own_the_ranges_are_those_of_subuid()
    {
        // The host's are not touched: this daemon alone sees others.
        await using var daemon = DaemonUnderTest.Make();
        using var host = new TemporaryDirectory();
        daemon.Before =
        [
            "unshare", "--mount", "sh", "-c",
            $"cp -a /etc {host.Path} && echo edgehost:500000:65536 >{host.Path}/etc/subuid && cp {host.Path}/etc/subuid {host.Path}/etc/subgid && mount --bind {host.Path}/etc /etc && exec \"$@\"", "-",
        ];
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        await daemon.RunDetachedAsync("--name", "one", "busybox", "sleep", "1000");
        Assert.Equal("500000", await UserAsync(daemon, "one"));
        Assert.Contains("all 1 ranges of users are taken", (await daemon.EdgehostAsync("run", "--rm", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_it_cannot_be_is_refused()
    {
        Assert.Contains("invalid userns mode: keep-id; it is host or auto", (await Daemon.EdgehostAsync("run", "--rm", "--userns", "keep-id", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
        Assert.Contains("this kernel cannot map the ids of its file system", (await Daemon.EdgehostAsync("run", "--rm", "--userns", "auto", "-v", "/proc:/host", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
        Assert.Equal("0", (await Daemon.EdgehostAsync("run", "--rm", "--userns", "host", "busybox", "sh", "-c", "awk '{print $2}' /proc/self/uid_map")).Succeeds().Output.Trim());
    }

    private Task<string> UserAsync(string container) => UserAsync(Daemon, container);

    private static async Task<string> UserAsync(DaemonUnderTest daemon, string container) =>
        (await CommandRun.RunAsync("stat", ["-c", "%u", $"/proc/{await daemon.PidOfAsync(container)}"])).Succeeds().Output.Trim();

    private async Task<string> InsideAsync(string container, string script) =>
        (await Daemon.InAsync(container, "-m", "-U", "sh", "-c", script)).Succeeds().Output;
}
