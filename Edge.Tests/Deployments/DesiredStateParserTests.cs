using System.Text;
using System.Text.Json;
using EdgeHost.Deployments;
using EdgeHost.Engine;
using EdgeHost.Errors;
using Xunit;

namespace Edge.Tests.Deployments;

public sealed class DesiredStateParserTests
{
    private static readonly BoardCapacity Board = new(1L << 30, 4);

    public static TheoryData<string> Pages =>
        ["docs/devices.md", .. Directory.GetFiles(Repository.PathOf("images"), "README.md", SearchOption.AllDirectories).Select(static page => Path.GetRelativePath(Repository.PathOf(string.Empty), page)).Where(static page => File.ReadAllText(Repository.PathOf(page)).Contains("\"workloads\"", StringComparison.Ordinal)).Order()];

    [Theory]
    [MemberData(nameof(Pages))]
    public void The_documents_on_the_pages_of_samples_and_devices_are_accepted(string page)
    {
        var documents = File.ReadAllText(Repository.PathOf(page)).Split("```json\n").Skip(1).Select(static block => block.Split("```")[0]).Where(static block => block.Contains("\"workloads\"", StringComparison.Ordinal)).ToList();

        Assert.NotEmpty(documents);
        Assert.All(documents, static document => DesiredStateParser.Parse(System.Text.Encoding.UTF8.GetBytes(document), new BoardCapacity(1L << 30, 4), new DefaultLimits()));
    }

    [Fact]
    public void Every_field_reaches_the_container()
    {
        var state = Parse("""
            {"version": 3, "workloads": {"web": {
              "image": "registry.example:5000/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
              "pull_policy": "always", "command": "serve --name 'two words' \"a\\\"b\"", "entrypoint": ["/init", "-q"],
              "environment": {"A": "1", "B": 2, "EMPTY": ""}, "volumes": ["data:/data", "/etc/web:/etc/web:ro", "/scratch",
                "/srv/a:/a:ro,idmap=none", {"type": "bind", "source": "/srv/b", "target": "/b", "idmap": "none"},
                {"type": "tmpfs", "target": "/cache", "tmpfs": {"size": "16m", "mode": 511}}],
              "tmpfs": ["/run", "/tmp:size=1m"], "network_mode": "host", "mem_limit": "64m", "cpus": "0.25", "pids_limit": 20,
              "cpuset": "0-1,3", "restart": "on-failure:5", "user": "1000:1000", "working_dir": "/srv", "hostname": "web",
              "read_only": true, "cap_add": ["NET_BIND_SERVICE"], "cap_drop": ["ALL"], "stop_signal": "SIGINT",
              "memswap_limit": "96m", "mem_reservation": "32m", "devices": ["/dev/ttyUSB0:/dev/modem:rw"], "device_cgroup_rules": ["c 189:* rwm"],
              "blkio_config": {"device_read_bps": [{"path": "/dev/sda", "rate": "12mb"}], "device_write_iops": [{"path": "/dev/sda", "rate": 30}, {"path": "/dev/sdb", "rate": 1}]},
              "stop_grace_period": "1m30s", "labels": ["a=b", "c"],
              "healthcheck": {"test": ["CMD", "probe", "-q"], "interval": "1m30s", "timeout": "500ms", "retries": 5, "start_period": "10s", "start_interval": "1s"}}}}
            """);

        var workload = Assert.Single(state.Workloads);
        var spec = workload.Container;
        Assert.Equal(3, state.Version);
        Assert.Equal(PullPolicy.Always, workload.PullPolicy);
        Assert.Equal(["serve", "--name", "two words", "a\"b"], spec.Command);
        Assert.Equal(["/init", "-q"], spec.Entrypoint);
        Assert.Equal(["A=1", "B=2", "EMPTY="], spec.Environment);
        Assert.Equal(
            [
                new ContainerMount(ContainerMountKind.Volume, "data", "/data"),
                new ContainerMount(ContainerMountKind.Bind, "/etc/web", "/etc/web", ReadOnly: true),
                new ContainerMount(ContainerMountKind.Volume, "", "/scratch"),
                new ContainerMount(ContainerMountKind.Bind, "/srv/a", "/a", ReadOnly: true, HostIds: true),
                new ContainerMount(ContainerMountKind.Bind, "/srv/b", "/b", HostIds: true),
                new ContainerMount(ContainerMountKind.Tmpfs, "", "/cache", Options: "size=16777216,mode=777"),
                new ContainerMount(ContainerMountKind.Tmpfs, "", "/run"),
                new ContainerMount(ContainerMountKind.Tmpfs, "", "/tmp", Options: "size=1m"),
            ],
            spec.Mounts);
        Assert.Equal(NetworkMode.Host, spec.Network);
        Assert.Equal(
            new ResourceLimits { MemoryBytes = 64 << 20, MemoryAndSwapBytes = 96 << 20, MemoryReservationBytes = 32 << 20, NanoCpus = 250_000_000, Pids = 20, CpusetCpus = "0-1,3" },
            spec.Limits with { BlockRates = null });
        Assert.Equal(["/dev/sda rbps=12582912", "/dev/sda wiops=30", "/dev/sdb wiops=1"], spec.Limits.BlockRates);
        Assert.Equal(new RestartPolicy(RestartKind.OnFailure, 5), spec.Restart);
        Assert.Equal(("1000:1000", "/srv", "web", true, "SIGINT"), (spec.User, spec.WorkingDirectory, spec.Hostname, spec.ReadOnlyRoot, spec.StopSignal));
        Assert.Equal(TimeSpan.FromSeconds(90), spec.StopGrace);
        Assert.Equal(["/dev/ttyUSB0:/dev/modem:rw"], spec.Devices);
        Assert.Equal(["c 189:* rwm"], spec.DeviceRules);
        Assert.Equal("b", spec.Labels["a"]);
        Assert.Equal("", spec.Labels["c"]);
        Assert.Equal(["CMD", "probe", "-q"], spec.Health!.Test);
        Assert.Equal(
            (90_000_000_000, 500_000_000, 10_000_000_000, 1_000_000_000, 5),
            (spec.Health.Interval, spec.Health.Timeout, spec.Health.StartPeriod, spec.Health.StartInterval, spec.Health.Retries));
    }

    [Theory]
    [InlineData("""{"test":"probe -q"}""", "CMD-SHELL probe -q")]
    [InlineData("""{"test":["NONE"]}""", "NONE")]
    [InlineData("""{"disable":true}""", "NONE")]
    [InlineData("""{"disable":false,"interval":"1s"}""", "")]
    public void A_health_check_is_what_Compose_makes_of_it(string check, string test)
    {
        var state = Parse($$$"""{"version":1,"workloads":{"web":{"image":"i","mem_limit":"8m","cpus":1,"healthcheck":{{{check}}} } } }""");

        Assert.Equal(test, string.Join(' ', Assert.Single(state.Workloads).Container.Health!.Test));
    }

    [Theory]
    [InlineData("""{"test":["probe"]}""", "test", "begins with NONE, CMD or CMD-SHELL")]
    [InlineData("""{"test":[]}""", "test", "begins with NONE, CMD or CMD-SHELL")]
    [InlineData("""{"test":["CMD"]}""", "test", "a program and its arguments")]
    [InlineData("""{"test":["CMD-SHELL","a","b"]}""", "test", "before one line")]
    [InlineData("""{"test":["CMD",1]}""", "test[1]", "expected text")]
    [InlineData("""{"test":""}""", "test", "expected a line")]
    [InlineData("""{"interval":"0s"}""", "interval", "not within 1ms and 24h")]
    [InlineData("""{"interval":"25h"}""", "interval", "not within 1ms and 24h")]
    [InlineData("""{"timeout":5}""", "timeout", "expected a duration")]
    [InlineData("""{"retries":0}""", "retries", "not within 1")]
    [InlineData("""{"disable":"yes"}""", "disable", "true or false")]
    [InlineData("""{"command":"x"}""", "command", "unknown field")]
    public void A_health_check_that_is_not_understood_is_refused_with_its_place(string check, string path, string reason)
    {
        var refusal = Assert.Throws<DesiredStateException>(() => Parse($$$"""{"version":1,"workloads":{"web":{"image":"i","mem_limit":"8m","cpus":1,"healthcheck":{{{check}}} } } }"""));

        Assert.Equal("workloads.web.healthcheck." + path, refusal.Path);
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_test_beside_disable_is_refused()
    {
        var refusal = Assert.Throws<DesiredStateException>(() => Parse("""{"version":1,"workloads":{"web":{"image":"i","mem_limit":"8m","cpus":1,"healthcheck":{"test":"a","disable":true}}}}"""));

        Assert.Equal("workloads.web.healthcheck", refusal.Path);
    }

    [Fact]
    public void Networks_ports_and_names_reach_the_container()
    {
        var state = Parse("""
            {"version": 3, "workloads": {
              "web": {"image": "web", "mem_limit": "16m", "cpus": 0.5, "networks": {"front": {"aliases": ["www"], "ipv4_address": "10.9.0.7", "mac_address": "02:42:0a:09:00:07"}, "lan": null},
                "ports": ["8080:80", 9000, "127.0.0.1:5000-5001:6000-6001/udp", "[::1]:81:81", {"target": 443, "published": "8443", "host_ip": "192.0.2.1", "protocol": "tcp", "mode": "host"}],
                "dns": "9.9.9.9", "dns_search": ["example", "lan"], "dns_opt": ["ndots:2"], "extra_hosts": {"db": "10.0.0.7", "me": "host-gateway"}},
              "plain": {"image": "plain", "mem_limit": "16m", "cpus": 0.5},
              "bridged": {"image": "plain", "mem_limit": "16m", "cpus": 0.5, "network_mode": "bridge", "ports": ["53/udp"], "extra_hosts": ["db=10.0.0.7"]}},
             "networks": {"front": {"internal": true, "ipam": {"config": [{"subnet": "10.9.0.0/24", "gateway": "10.9.0.254", "ip_range": "10.9.0.0/25"}]}},
               "lan": {"external": true, "name": "office"}, "unused": null}}
            """);

        var front = state.Networks.Single(network => network.Key == "front");
        var own = state.Networks.Single(network => network.Key == "default");
        Assert.Equal(["default", "front", "lan"], state.Networks.Select(network => network.Key).Order());
        Assert.Matches("^front-[0-9a-f]{8}$", front.Spec.Name);
        Assert.True(front.Spec.IsInternal);
        Assert.Equal("10.9.0.0/24 10.9.0.0/25 10.9.0.254", Assert.Single(front.Spec.Subnets) is var subnet ? $"{subnet.Subnet} {subnet.Range} {subnet.Gateway}" : null);
        Assert.True(state.Networks.Single(network => network.Key == "lan").IsExternal);

        var web = state.Workloads.Single(workload => workload.Name == "web").Container;
        Assert.Equal(NetworkMode.Bridge, web.Network);
        Assert.Equal([front.Spec.Name, "office"], web.Endpoints.Select(endpoint => endpoint.Network));
        Assert.Equal(["web", "www"], web.Endpoints[0].Aliases);
        Assert.Equal("10.9.0.7 02:42:0a:09:00:07", $"{web.Endpoints[0].Address4} {web.Endpoints[0].HardwareAddress}");
        Assert.Equal(
            [":8080:80/Tcp", ":0:9000/Tcp", "127.0.0.1:5000:6000/Udp", "127.0.0.1:5001:6001/Udp", "::1:81:81/Tcp", "192.0.2.1:8443:443/Tcp"],
            web.Ports.Select(port => $"{port.HostAddress}:{port.HostPort}:{port.ContainerPort}/{port.Protocol}"));
        Assert.Equal("9.9.9.9; example lan; ndots:2; db:10.0.0.7 me:host-gateway", $"{string.Join(' ', web.Dns)}; {string.Join(' ', web.DnsSearch)}; {string.Join(' ', web.DnsOptions)}; {string.Join(' ', web.ExtraHosts)}");

        var plain = state.Workloads.Single(workload => workload.Name == "plain").Container;
        Assert.Equal([own.Spec.Name], plain.Endpoints.Select(endpoint => endpoint.Network));
        Assert.Equal(["plain"], plain.Endpoints[0].Aliases);

        var bridged = state.Workloads.Single(workload => workload.Name == "bridged").Container;
        Assert.Equal(NetworkMode.Bridge, bridged.Network);
        Assert.Empty(bridged.Endpoints);
        Assert.Equal(["db:10.0.0.7"], bridged.ExtraHosts);
    }

    [Fact]
    public void Workloads_come_after_those_that_they_need_and_otherwise_as_they_stand()
    {
        var state = Parse("""
            {"version": 1, "workloads": {
              "web": {"image": "a", "mem_limit": "16m", "cpus": 0.5, "depends_on": {"db": {"condition": "service_started"}, "migrate": {"condition": "service_completed_successfully", "required": true}}},
              "alone": {"image": "a", "mem_limit": "16m", "cpus": 0.5},
              "migrate": {"image": "a", "mem_limit": "16m", "cpus": 0.5, "depends_on": ["db"]},
              "db": {"image": "a", "mem_limit": "16m", "cpus": 0.5}}}
            """);

        Assert.Equal(["db", "migrate", "web", "alone"], state.Workloads.Select(workload => workload.Name));
        Assert.Equal([new WorkloadDependency("db", DependencyCondition.Started), new WorkloadDependency("migrate", DependencyCondition.Completed)], state.Workloads[2].DependsOn);
    }

    [Theory]
    [InlineData("""{"back":{"driver":"overlay"}}""", "networks.back.driver", ErrorKind.Invalid, "bridge or macvlan")]
    [InlineData("""{"back":{"internl":true}}""", "networks.back.internl", ErrorKind.Invalid, "unknown field")]
    [InlineData("""{"back":{"external":true,"internal":true}}""", "networks.back.internal", ErrorKind.Invalid, "as it is")]
    [InlineData("""{"back":{"name":"x"}}""", "networks.back.name", ErrorKind.Unsupported, "external networks")]
    [InlineData("""{"back":{"ipam":{"config":[{"subnet":"10.0.0.1"}]}}}""", "networks.back.ipam.config[0].subnet", ErrorKind.Invalid, "a subnet")]
    [InlineData("""{"back":{"ipam":{"config":[{"gateway":"10.0.0.1"}]}}}""", "networks.back.ipam.config[0]", ErrorKind.Invalid, "subnet is missing")]
    [InlineData("""{"../x":null}""", "networks.../x", ErrorKind.Invalid, "network's key")]
    public void A_network_that_is_wrong_is_refused_with_its_place(string networks, string path, ErrorKind kind, string reason)
    {
        var refusal = Assert.Throws<DesiredStateException>(() => Parse($$$"""{"version":1,"workloads":{},"networks":{{{networks}}} }"""));

        Assert.Equal(path, refusal.Path);
        Assert.Equal(kind, refusal.Kind);
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "", ErrorKind.Invalid, "not JSON")]
    [InlineData("{", "", ErrorKind.Invalid, "not JSON at line 1")]
    [InlineData("[]", "", ErrorKind.Invalid, "expected an object")]
    [InlineData("""{"workloads":{}}""", "version", ErrorKind.Invalid, "missing")]
    [InlineData("""{"version":0,"workloads":{}}""", "version", ErrorKind.Invalid, "from 1 on")]
    [InlineData("""{"version":1.5,"workloads":{}}""", "version", ErrorKind.Invalid, "whole number")]
    [InlineData("""{"version":"1","workloads":{}}""", "version", ErrorKind.Invalid, "found \"1\"")]
    [InlineData("""{"version":99999999999999999999,"workloads":{}}""", "version", ErrorKind.Invalid, "whole number")]
    [InlineData("""{"version":1}""", "workloads", ErrorKind.Invalid, "missing")]
    [InlineData("""{"version":1,"version":2,"workloads":{}}""", "version", ErrorKind.Invalid, "given twice")]
    [InlineData("""{"version":1,"workloads":{},"extra":1}""", "extra", ErrorKind.Invalid, "unknown field")]
    [InlineData("""{"version":1,"workloads":{},"services":{}}""", "services", ErrorKind.Unsupported, "under workloads")]
    [InlineData("""{"payloadType":"application/json","payload":"e30=","signatures":[{"sig":""}]}""", "signatures", ErrorKind.Unsupported, "never accepted unverified")]
    [InlineData("""{"version":1,"workloads":{"../web":{}}}""", "workloads.../web", ErrorKind.Invalid, "name")]
    [InlineData("""{"version":1,"workloads":{"web":1}}""", "workloads.web", ErrorKind.Invalid, "expected an object, found 1")]
    public void A_document_that_is_not_understood_is_refused_with_its_place(string document, string path, ErrorKind kind, string reason)
    {
        var refusal = Assert.Throws<DesiredStateException>(() => Parse(document));

        Assert.Equal(path, refusal.Path);
        Assert.Equal(kind, refusal.Kind);
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\"mem_limt\":\"64m\"", "mem_limt", ErrorKind.Invalid, "unknown field")]
    [InlineData("\"privileged\":true", "privileged", ErrorKind.Unsupported, "does not have")]
    [InlineData("\"devices\":[\"i2c-1\"]", "devices[0]", ErrorKind.Invalid, "/dev/ttyUSB0:/dev/modem:rw")]
    [InlineData("\"device_cgroup_rules\":[\"c 1 rwm\"]", "device_cgroup_rules[0]", ErrorKind.Invalid, "c 189:* rwm")]
    [InlineData("\"image\":\"\"", "image", ErrorKind.Invalid, "given twice")]
    [InlineData("\"mem_limit\":1024", "mem_limit", ErrorKind.Invalid, "1024 bytes are less than the 262144")]
    [InlineData("\"mem_limit\":\"2g\"", "mem_limit", ErrorKind.Infeasible, "2147483648 bytes are more than the board has (1073741824)")]
    [InlineData("\"mem_limit\":\"-5m\"", "mem_limit", ErrorKind.Invalid, "expected a size")]
    [InlineData("\"mem_limit\":\"9999999999999g\"", "mem_limit", ErrorKind.Invalid, "expected a size")]
    [InlineData("\"mem_limit\":true", "mem_limit", ErrorKind.Invalid, "expected a size")]
    [InlineData("\"cpus\":0", "cpus", ErrorKind.Invalid, "0 CPUs are less than the 0.01")]
    [InlineData("\"cpus\":5", "cpus", ErrorKind.Infeasible, "5 CPUs are more than the board has (4)")]
    [InlineData("\"cpus\":-1", "cpus", ErrorKind.Invalid, "expected a number of CPUs")]
    [InlineData("\"cpus\":1e99", "cpus", ErrorKind.Invalid, "expected a number of CPUs")]
    [InlineData("\"cpuset\":\"0-7\"", "cpuset", ErrorKind.Infeasible, "CPU 7 is not there: the board has 4")]
    [InlineData("\"cpuset\":\"3-1\"", "cpuset", ErrorKind.Invalid, "expected a list of CPUs")]
    [InlineData("\"blkio_config\":{\"weight\":300}", "blkio_config.weight", ErrorKind.Unsupported, "does not have")]
    [InlineData("\"blkio_config\":{\"device_bps\":[]}", "blkio_config.device_bps", ErrorKind.Invalid, "unknown field")]
    [InlineData("\"blkio_config\":{\"device_read_bps\":{}}", "blkio_config.device_read_bps", ErrorKind.Invalid, "a list of disks")]
    [InlineData("\"blkio_config\":{\"device_read_bps\":[{\"path\":\"/dev/sda\"}]}", "blkio_config.device_read_bps[0]", ErrorKind.Invalid, "rate: missing")]
    [InlineData("\"blkio_config\":{\"device_read_bps\":[{\"path\":\"sda\",\"rate\":1}]}", "blkio_config.device_read_bps[0].path", ErrorKind.Invalid, "an absolute path")]
    [InlineData("\"blkio_config\":{\"device_read_iops\":[{\"path\":\"/dev/sda\",\"rate\":\"1m\"}]}", "blkio_config.device_read_iops[0].rate", ErrorKind.Invalid, "a number of operations")]
    [InlineData("\"blkio_config\":{\"device_read_iops\":[{\"path\":\"/dev/sda\",\"rate\":5000000000}]}", "blkio_config.device_read_iops[0]", ErrorKind.Invalid, "is not within 1 and 4294967295")]
    [InlineData("\"pids_limit\":0", "pids_limit", ErrorKind.Invalid, "0 is not within 1")]
    [InlineData("\"restart\":\"sometimes\"", "restart", ErrorKind.Invalid, "unless-stopped")]
    [InlineData("\"restart\":false", "restart", ErrorKind.Invalid, "found false")]
    [InlineData("\"network_mode\":\"service:db\"", "network_mode", ErrorKind.Unsupported, "cannot be shared")]
    [InlineData("\"network_mode\":\"nat\"", "network_mode", ErrorKind.Invalid, "bridge, none or host")]
    [InlineData("\"network_mode\":\"host\",\"ports\":[\"80\"]", "ports", ErrorKind.Invalid, "no port can be published")]
    [InlineData("\"network_mode\":\"bridge\",\"networks\":[\"a\"]", "network_mode", ErrorKind.Invalid, "exclude each other")]
    [InlineData("\"networks\":[\"back\"]", "networks", ErrorKind.Invalid, "back is not among the networks")]
    [InlineData("\"networks\":{\"back\":{\"ipv4_address\":\"::1\"}}", "networks.back.ipv4_address", ErrorKind.Invalid, "an IPv4 address")]
    [InlineData("\"networks\":{\"back\":{\"link_local_ips\":[]}}", "networks.back.link_local_ips", ErrorKind.Invalid, "unknown field")]
    [InlineData("\"ports\":[\"0:80\"]", "ports[0]", ErrorKind.Invalid, "not a port")]
    [InlineData("\"ports\":[\"80-81:8080\"]", "ports[0]", ErrorKind.Invalid, "different length")]
    [InlineData("\"ports\":[\"localhost:80:80\"]", "ports[0]", ErrorKind.Invalid, "localhost is not an IP address")]
    [InlineData("\"ports\":[\"80/sctp\"]", "ports[0]", ErrorKind.Unsupported, "tcp and udp")]
    [InlineData("\"ports\":[{\"published\":80}]", "ports[0]", ErrorKind.Invalid, "target is missing")]
    [InlineData("\"networks\":{\"back\":{\"aliases\":[\"two words\"]}}", "networks.back.aliases[0]", ErrorKind.Invalid, "without blanks")]
    [InlineData("\"extra_hosts\":[\"db:nowhere\"]", "extra_hosts[0]", ErrorKind.Invalid, "IP address or host-gateway")]
    [InlineData("\"dns\":\"dns.example\"", "dns", ErrorKind.Invalid, "an IP address")]
    [InlineData("\"mqtt\":\"yes\"", "mqtt", ErrorKind.Invalid, "true, or an object")]
    [InlineData("\"mqtt\":{\"publish\":[]}", "mqtt.publish", ErrorKind.Invalid, "unknown field")]
    [InlineData("\"mqtt\":{\"subscribe\":[\"#\"]}", "mqtt.subscribe[0]", ErrorKind.Invalid, "topic filter")]
    [InlineData("\"mqtt\":{\"subscribe\":[\"a/#/b\"]}", "mqtt.subscribe[0]", ErrorKind.Invalid, "topic filter")]
    [InlineData("\"mqtt\":{\"subscribe\":[\"a b\"]}", "mqtt.subscribe[0]", ErrorKind.Invalid, "topic filter")]
    [InlineData("\"mqtt\":true,\"network_mode\":\"none\"", "mqtt", ErrorKind.Invalid, "no broker can be reached")]
    [InlineData("\"depends_on\":[\"db\"]", "depends_on", ErrorKind.Invalid, "there is no workload db")]
    [InlineData("\"depends_on\":[\"web\"]", "depends_on", ErrorKind.Invalid, "a circle: web needs web")]
    [InlineData("\"depends_on\":{\"db\":{\"condition\":\"ready\"}}", "depends_on.db.condition", ErrorKind.Invalid, "service_started")]
    [InlineData("\"depends_on\":{\"db\":{\"required\":false}}", "depends_on.db.required", ErrorKind.Unsupported, "default only")]
    [InlineData("\"environment\":[\"HOME\"]", "environment[0]", ErrorKind.Invalid, "no value")]
    [InlineData("\"environment\":{\"A\":true}", "environment.A", ErrorKind.Invalid, "text or a number")]
    [InlineData("\"environment\":{\"A\":\"\\ud800\"}", "environment.A", ErrorKind.Invalid, "Unicode")]
    [InlineData("\"command\":\"echo 'oops\"", "command", ErrorKind.Invalid, "without an end")]
    [InlineData("\"command\":[\"a\\u0000b\"]", "command[0]", ErrorKind.Invalid, "zero byte")]
    [InlineData("\"volumes\":[\"./data:/data\"]", "volumes[0]", ErrorKind.Invalid, "relative")]
    [InlineData("\"volumes\":[\"data:relative\"]", "volumes[0]", ErrorKind.Invalid, "not an absolute path")]
    [InlineData("\"volumes\":[\"data:/a/../../b\"]", "volumes[0]", ErrorKind.Invalid, "\"..\"")]
    [InlineData("\"volumes\":[\"a1:/data\",\"b1:/data\"]", "", ErrorKind.Invalid, "two mounts on /data")]
    [InlineData("\"volumes\":[{\"type\":\"bind\",\"target\":\"/a\"}]", "volumes[0]", ErrorKind.Invalid, "absolute path of the host")]
    [InlineData("\"labels\":{\"io.edgehost.spec\":\"x\"}", "labels", ErrorKind.Invalid, "reconciler's own")]
    [InlineData("\"hostname\":\"a b\"", "hostname", ErrorKind.Invalid, "host name")]
    [InlineData("\"stop_grace_period\":\"10\"", "stop_grace_period", ErrorKind.Invalid, "duration")]
    [InlineData("\"cap_add\":[\"NET ADMIN\"]", "cap_add[0]", ErrorKind.Invalid, "capability")]
    public void A_workload_that_is_wrong_is_refused_with_its_place_and_version(string field, string path, ErrorKind kind, string reason)
    {
        var given = field[1..field.IndexOf(':', StringComparison.Ordinal)].TrimEnd('"');
        var rest = string.Concat(((string[])["\"mem_limit\":\"16m\"", "\"cpus\":0.5"]).Where(other => !other.Contains($"\"{given}\"", StringComparison.Ordinal)).Select(other => "," + other));

        var refusal = Assert.Throws<DesiredStateException>(() => Parse($$$"""{"workloads":{"web":{"image":"busybox",{{{field}}}{{{rest}}} } },"version":42}"""));

        Assert.Equal(path.Length == 0 ? "workloads.web" : $"workloads.web.{path}", refusal.Path);
        Assert.Equal(kind, refusal.Kind);
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
        Assert.Equal(42, refusal.Version);
    }

    [Theory]
    [InlineData("always", true)]
    [InlineData("unless-stopped", true)]
    [InlineData("on-failure:3", false)]
    [InlineData("no", false)]
    public void An_end_that_never_comes_is_not_waited_for(string restart, bool isRefused)
    {
        var document = $$$"""
            {"version":1,"workloads":{
              "web":{"image":"a","mem_limit":"16m","cpus":0.5,"depends_on":{"job":{"condition":"service_completed_successfully"}} },
              "job":{"image":"a","mem_limit":"16m","cpus":0.5,"restart":"{{{restart}}}"} } }
            """;
        if (!isRefused)
        {
            Assert.Equal(["job", "web"], Parse(document).Workloads.Select(workload => workload.Name));
            return;
        }

        Assert.Contains("job is started again whenever it ends", Assert.Throws<DesiredStateException>(() => Parse(document)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("8080:80", "8080:81", true)]
    [InlineData("8080:80", "127.0.0.1:8080:80", true)]
    [InlineData("127.0.0.1:8080:80", "8080:80", true)]
    [InlineData("8000-8100:8000-8100/udp", "8050:53/udp", true)]
    [InlineData("8080:80", "8080:80/udp", false)]
    [InlineData("127.0.0.1:8080:80", "[::1]:8080:80", false)]
    [InlineData("80", "80", false)]
    public void Two_workloads_that_publish_the_same_port_are_refused(string one, string other, bool isRefused)
    {
        var document = $$$"""
            {"version":7,"workloads":{
              "web":{"image":"a","mem_limit":"16m","cpus":0.5,"ports":["{{{one}}}"]},
              "api":{"image":"a","mem_limit":"16m","cpus":0.5,"ports":["{{{other}}}"]} } }
            """;
        if (!isRefused)
        {
            Assert.Equal(2, Parse(document).Workloads.Count);
            return;
        }

        var refusal = Assert.Throws<DesiredStateException>(() => Parse(document));
        Assert.Equal("workloads.api.ports", refusal.Path);
        Assert.Contains("published by workload web", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(7, refusal.Version);
    }

    [Fact]
    public void What_a_stranger_wrote_stands_in_a_refusal_in_one_line_of_bounded_length()
    {
        var forged = "x\\n<2>edgehost: all is well\\u0085" + new string('y', 100_000);
        var refusal = Assert.Throws<DesiredStateException>(() => Parse($$$"""{"version":1,"workloads":{"web":{"image":"a","mem_limit":"16m","cpus":0.5,"depends_on":["{{{forged}}}"]} } }"""));

        Assert.DoesNotContain(refusal.Message, char.IsControl);
        Assert.Contains("there is no workload x?<2>edgehost", refusal.Message, StringComparison.Ordinal);
        Assert.InRange(refusal.Message.Length, 100, 700);
    }

    [Fact]
    public void A_label_of_a_network_is_told_apart_from_an_option_of_its_driver()
    {
        string Name(string network) => Assert.Single(Parse($$$"""{"version":1,"networks":{"back":{{{network}}} },"workloads":{"web":{"image":"a","mem_limit":"16m","cpus":0.5,"networks":["back"]} } }""").Networks).Spec.Name;

        string[] names =
        [
            Name("""{"driver_opts":{"parent":"eth0"}}"""), Name("""{"labels":{"parent":"eth0"}}"""), Name("""{"labels":{"a":"1\nb=2"}}"""), Name("""{"labels":{"a":"1","b":"2"}}"""),
        ];
        Assert.Equal(4, names.Distinct().Count());
    }

    [Theory]
    [InlineData("\"cpus\":1", "mem_limit")]
    [InlineData("\"mem_limit\":\"16m\"", "cpus")]
    public void Limits_are_required_unless_the_configuration_has_defaults(string given, string missing)
    {
        var document = $$$"""{"version":1,"workloads":{"web":{"image":"busybox",{{{given}}} } } }""";

        Assert.Equal($"workloads.web.{missing}", Assert.Throws<DesiredStateException>(() => Parse(document)).Path);

        var state = DesiredStateParser.Parse(Encoding.UTF8.GetBytes(document), Board, new DefaultLimits(1 << 25, 100_000_000, 77));
        var limits = Assert.Single(state.Workloads).Container.Limits;
        Assert.NotNull(limits.MemoryBytes);
        Assert.NotNull(limits.NanoCpus);
        Assert.Equal(77, limits.Pids);
    }

    [Fact]
    public void A_document_of_more_than_a_mebibyte_is_refused_with_both_numbers()
    {
        var refusal = Assert.Throws<DesiredStateException>(() => DesiredStateParser.Parse(new byte[DesiredState.MaximumBytes + 1], Board, new DefaultLimits()));

        Assert.Contains("1048577 bytes are more than the 1048576", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_document_nested_too_deeply_is_refused_without_a_deep_stack()
    {
        var refusal = Assert.Throws<DesiredStateException>(() => Parse(new string('[', 500_000)));

        Assert.Contains("deeper than 16", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Bytes_and_digest_are_those_that_were_received()
    {
        var bytes = Encoding.UTF8.GetBytes(" {\"version\" : 1, \"workloads\":{}}\n");

        var state = DesiredStateParser.Parse(bytes, Board, new DefaultLimits());

        Assert.Equal(bytes, state.Bytes.ToArray());
        Assert.Equal("sha256:" + Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)), state.Digest);
    }

    [Fact]
    public void No_cut_and_no_flipped_byte_of_a_good_document_gets_past_as_anything_but_a_refusal_or_a_document()
    {
        var good = """{"version":1,"workloads":{"web":{"image":"busybox","command":["a","b"],"environment":{"A":"ü"},"volumes":["data:/data:ro"],"mem_limit":"16m","cpus":0.5}}}"""u8.ToArray();
        for (var i = 0; i < good.Length; i++)
        {
            foreach (var value in (byte[])[0, (byte)'"', (byte)'{', 0xFF, (byte)(good[i] ^ 0x20)])
            {
                var bad = (byte[])good.Clone();
                bad[i] = value;
                TryParse(bad);
            }

            TryParse(good[..i]);
        }

        static void TryParse(byte[] document)
        {
            try
            {
                _ = DesiredStateParser.Parse(document, Board, new DefaultLimits());
            }
            catch (DesiredStateException refusal)
            {
                Assert.DoesNotContain('\n', refusal.Message);
            }
        }
    }

    [Fact]
    public void The_schema_has_the_fields_of_the_parser()
    {
        using var schema = JsonDocument.Parse(File.ReadAllText(Repository.PathOf("docs/desired-state.schema.json")));

        var root = schema.RootElement;
        var workload = root.GetProperty("$defs").GetProperty("workload");
        Assert.Equal(DesiredStateParser.Fields.Order(), Names(root));
        Assert.Equal(WorkloadParser.Fields.Order(), Names(workload));
        Assert.Equal(NetworkParser.Fields.Order(), Names(root.GetProperty("$defs").GetProperty("network")));
        Assert.False(root.GetProperty("additionalProperties").GetBoolean());
        Assert.False(workload.GetProperty("additionalProperties").GetBoolean());

        static IEnumerable<string> Names(JsonElement element) =>
            element.GetProperty("properties").EnumerateObject().Select(property => property.Name).Order();
    }

    [Fact]
    public void Each_field_of_the_list_is_one_that_the_parser_knows()
    {
        foreach (var field in WorkloadParser.Fields)
        {
            // An object is wrong for almost all of them, but "unknown" for none.
            var exception = Record.Exception(() => Parse($$$"""{"version":1,"workloads":{"web":{"{{{field}}}":{"a":{} } } } }"""));
            Assert.DoesNotContain($"{field}: unknown", Assert.IsType<DesiredStateException>(exception).Message, StringComparison.Ordinal);
        }
    }

    private static DesiredState Parse(string document) =>
        DesiredStateParser.Parse(Encoding.UTF8.GetBytes(document), Board, new DefaultLimits());
}
