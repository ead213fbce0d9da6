using System.Diagnostics;
using System.Text;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>How containers find each other and the world by name, asked with programs of busybox and of BIND.</summary>
public sealed class NameTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    [Fact]
    public async Task Containers_of_a_network_find_each_other_by_name_alias_and_id_also_after_a_rename_and_those_of_another_do_not()
    {
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.211.20.0/24", "names")).Succeeds();
        (await Daemon.DockerAsync("network", "create", "others")).Succeeds();
        var id = await Daemon.RunDetachedAsync("--name", "db", "--network", "names", "--network-alias", "storage", "--ip", "10.211.20.9", "busybox", "sleep", "1000");
        var asker = await Daemon.RunDetachedAsync("--name", "asker", "--network", "names", "busybox", "sleep", "1000");

        // What makes a container anew from what it is shown gives it the address that was asked for, and no other.
        Assert.Equal("""{"IPv4Address":"10.211.20.9"}""", await Daemon.InspectAsync(id, "{{json .NetworkSettings.Networks.names.IPAMConfig}}"));
        Assert.Equal("null", await Daemon.InspectAsync(asker, "{{json .NetworkSettings.Networks.names.IPAMConfig}}"));

        foreach (var name in (string[])["db", "DB", "storage", id[..12], "db.names"])
        {
            Assert.Contains("10.211.20.9", await LookUpAsync(asker, name), StringComparison.Ordinal);
        }

        Assert.Equal("nameserver 10.211.20.1", (await RunAsync("names", "cat", "/etc/resolv.conf")).Split('\n')[0]);
        Assert.Contains("name = db.names", await LookUpAsync(asker, "10.211.20.9"), StringComparison.Ordinal);
        var other = await Daemon.RunDetachedAsync("--network", "others", "busybox", "sleep", "1000");
        Assert.DoesNotContain("10.211.20.9", await LookUpAsync(other, "db"), StringComparison.Ordinal);

        (await Daemon.DockerAsync("rename", "db", "base")).Succeeds();
        Assert.Contains("10.211.20.9", await LookUpAsync(asker, "base"), StringComparison.Ordinal);
        Assert.DoesNotContain("10.211.20.9", await LookUpAsync(asker, "db"), StringComparison.Ordinal);

        await Daemon.KillAsync();
        await Daemon.StartAsync();
        Assert.Contains("10.211.20.9", await LookUpAsync(asker, "base"), StringComparison.Ordinal);

        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        Assert.DoesNotContain("10.211.20.9", await LookUpAsync(asker, "storage"), StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", asker, other)).Succeeds();
    }

    [Fact]
    public async Task Other_names_are_asked_of_the_given_server_over_udp_and_tcp_and_a_silent_one_is_passed_over()
    {
        await using var upstream = await NameServerUnderTest.StartAsync("127.0.0.55");
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.211.21.0/24", "forward")).Succeeds();
        var id = await Daemon.RunDetachedAsync("--network", "forward", "--dns", "127.0.0.54", "--dns", "127.0.0.55", "busybox", "sleep", "1000");

        Assert.Contains("192.0.2.5", await LookUpAsync(id, "outside.test"), StringComparison.Ordinal);
        Assert.Contains("192.0.2.5", await DigAsync(id, "+tcp", "outside.test"), StringComparison.Ordinal);
        Assert.Contains("NXDOMAIN", await DigAsync(id, "nowhere.test"), StringComparison.Ordinal);

        // An answer that is too long for UDP is asked for again over TCP, all of it.
        Assert.Equal(20, (await DigAsync(id, "+noedns", "+short", "many.test")).Split('\n').Count(each => each.StartsWith("192.0.2.", StringComparison.Ordinal)));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task A_name_of_a_container_is_never_asked_elsewhere_and_an_internal_network_asks_nobody()
    {
        await using var upstream = await NameServerUnderTest.StartAsync("127.0.0.56");
        (await Daemon.DockerAsync("network", "create", "--internal", "inner")).Succeeds();
        var id = await Daemon.RunDetachedAsync("--name", "alone", "--network", "inner", "--dns", "127.0.0.56", "busybox", "sleep", "1000");

        Assert.Contains("SERVFAIL", await DigAsync(id, "outside.test"), StringComparison.Ordinal);

        // That there is a name but nothing of this kind is another answer than that there is none.
        Assert.Contains("status: NOERROR", await DigAsync(id, "-t", "MX", "alone"), StringComparison.Ordinal);
        Assert.DoesNotContain("query", upstream.Said, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task A_running_container_joins_and_leaves_a_network_with_its_names_and_its_routes()
    {
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.211.22.0/24", "joined")).Succeeds();
        var server = await Daemon.RunDetachedAsync("--name", "server", "--network", "joined", "busybox", "sleep", "1000");
        var id = await Daemon.RunDetachedAsync("--name", "guest", "busybox", "sleep", "1000");

        (await Daemon.DockerAsync("network", "connect", "--ip", "10.211.22.77", "--alias", "visitor", "joined", "guest")).Succeeds();
        Assert.Contains("10.211.22.2", await LookUpAsync(id, "server"), StringComparison.Ordinal);
        Assert.Contains("10.211.22.77", await LookUpAsync(server, "visitor"), StringComparison.Ordinal);
        Assert.Contains("10.211.22.77", (await InAsync(id, "ip", "-o", "address", "show", "eth1")).Output, StringComparison.Ordinal);
        Assert.Contains("already in network joined", (await Daemon.DockerAsync("network", "connect", "joined", "guest")).Exits(1).Error, StringComparison.Ordinal);

        // What is left of its networks leads out.
        (await Daemon.DockerAsync("network", "disconnect", "bridge", "guest")).Succeeds();
        Assert.Contains("default via 10.211.22.1 dev eth1", (await InAsync(id, "ip", "route")).Output, StringComparison.Ordinal);
        (await Daemon.DockerAsync("network", "disconnect", "joined", "guest")).Succeeds();
        Assert.DoesNotContain("eth", (await InAsync(id, "ip", "-o", "link")).Output, StringComparison.Ordinal);
        Assert.DoesNotContain("10.211.22.77", await LookUpAsync(server, "visitor"), StringComparison.Ordinal);

        // It has it again after the next start, without having asked.
        (await Daemon.EdgehostAsync("network", "connect", "joined", "guest", "--alias", "again")).Succeeds();
        (await Daemon.DockerAsync("restart", "-t", "0", "guest")).Succeeds();
        Assert.Contains("10.211.22.", await LookUpAsync(server, "again"), StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", server, id)).Succeeds();
    }

    [Fact]
    public async Task Ports_of_a_container_are_led_to_the_network_that_is_left_to_it()
    {
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.211.23.0/24", "left")).Succeeds();
        var id = await Daemon.RunDetachedAsync("--name", "moving", "-p", "127.0.0.1::8080", "busybox", "nc", "-ll", "-p", "8080", "-e", "echo", "here");
        var port = (await Daemon.DockerAsync("port", "moving", "8080")).Succeeds().Output.Trim();
        (await Daemon.DockerAsync("network", "connect", "left", "moving")).Succeeds();
        (await Daemon.DockerAsync("network", "disconnect", "bridge", "moving")).Succeeds();

        Assert.Equal("here\n", (await CommandRun.RunAsync("bash", ["-c", $"exec 3<>/dev/tcp/{port.Replace(':', '/')}; cat <&3"])).Succeeds().Output);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    /// <summary>Asks with busybox in a container of a network.</summary>
    private async Task<string> RunAsync(string network, params string[] command) =>
        (await Daemon.RunAsync(["--rm", "--network", network, "busybox", .. command])).Succeeds().Output;

    /// <summary>Asks as a program in the container would, by its own resolv.conf.</summary>
    private async Task<string> LookUpAsync(string id, string name) =>
        (await CommandRun.RunAsync("nsenter", ["-t", $"{await Daemon.PidOfAsync(id)}", "-n", "-m", "nslookup", name])).Output;

    private async Task<string> DigAsync(string id, params string[] arguments)
    {
        await Packages.NeedAsync("bind9-dnsutils");
        var server = await Daemon.InspectAsync(id, "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}");
        return (await CommandRun.RunAsync("nsenter", ["-t", $"{await Daemon.PidOfAsync(id)}", "-n", "dig", "@" + server, .. arguments])).Succeeds().Output;
    }

    private async Task<CommandRun> InAsync(string id, params string[] command) =>
        (await CommandRun.RunAsync("nsenter", ["-t", $"{await Daemon.PidOfAsync(id)}", "-n", .. command])).Succeeds();

    /// <summary>dnsmasq as the name server of the world.</summary>
    private sealed class NameServerUnderTest : IAsyncDisposable
    {
        private readonly Process _process;
        private readonly Task _reading;
        private readonly StringBuilder _said = new();
        private readonly TaskCompletionSource _started = new(TaskCreationOptions.RunContinuationsAsynchronously);

        private NameServerUnderTest(Process process)
        {
            _process = process;
            _reading = ReadAsync();
        }

        internal string Said
        {
            get
            {
                lock (_said)
                {
                    return _said.ToString();
                }
            }
        }

        internal static async Task<NameServerUnderTest> StartAsync(string address)
        {
            await Packages.NeedAsync("dnsmasq-base");
            List<string> arguments =
            [
                "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=" + address,
                "--user=root", "--pid-file=", "--log-queries", "--log-facility=-", "--local=/test/", "--address=/outside.test/192.0.2.5",
                .. Enumerable.Range(1, 20).Select(each => $"--host-record=many.test,192.0.2.{each}"),
                .. Enumerable.Range(1, 20).Select(each => $"--host-record=many.test,2001:db8:0:0:0:0:0:{each}"),
            ];
            var server = new NameServerUnderTest(Process.Start(new ProcessStartInfo("dnsmasq", arguments) { RedirectStandardError = true })!);
            await server._started.Task.WaitAsync(DaemonUnderTest.Patience);
            return server;
        }

        public async ValueTask DisposeAsync()
        {
            _process.Kill();
            await _process.WaitForExitAsync();
            await _reading;
            _process.Dispose();
        }

        private async Task ReadAsync()
        {
            while (await _process.StandardError.ReadLineAsync() is { } line)
            {
                lock (_said)
                {
                    _said.AppendLine(line);
                }

                if (line.Contains("started, version", StringComparison.Ordinal))
                {
                    _started.TrySetResult();
                }
            }

            _started.TrySetException(new InvalidOperationException("dnsmasq has ended: " + Said));
        }
    }
}
