using System.Text.Json;
using EdgeHost.Api;
using EdgeHost.Engine;
using EdgeHost.Errors;
using Xunit;

namespace Edge.Tests.Api;

public sealed class ContainerCreateTranslationTests
{
    [Fact]
    public void Everything_that_is_held_reaches_the_spec()
    {
        var (spec, warnings) = Translate("""
            {"Image":"i","Hostname":"h","User":"5:6","Env":["A=b"],"Cmd":["c"],"Entrypoint":["e"],"WorkingDir":"/w","Labels":{"l":"v"},
             "StopSignal":"INT","StopTimeout":3,"Volumes":{"/anon":{},"/host":{}},
             "HostConfig":{"LogConfig":{"Type":"json-file","Config":{"max-size":"1.5m","max-file":"3"}},"ContainerIDFile":"/cid","MaskedPaths":null,"Binds":["/src:/host:ro,cached","vol:/vol"],"Mounts":[{"Type":"tmpfs","Target":"/m","TmpfsOptions":{"SizeBytes":1024,"Mode":1023}}],
               "Tmpfs":{"/t":"size=1m"},"NetworkMode":"host","Memory":8388608,"MemorySwap":8388608,"CpuPeriod":50000,"CpuQuota":25000,"PidsLimit":9,
               "CpusetCpus":"0","RestartPolicy":{"Name":"on-failure","MaximumRetryCount":2},"ReadonlyRootfs":true,"CapAdd":["NET_ADMIN"],"CapDrop":["ALL"],
               "BlkioDeviceReadBps":[{"Path":"/dev/sda","Rate":1048576}],"BlkioDeviceWriteIOps":[{"Path":"/dev/sdb","Rate":9}],"BlkioDeviceWriteBps":null,
               "SecurityOpt":["no-new-privileges"]}}
            """);
        Assert.Empty(warnings);
        Assert.Equal(("i", "h", "5:6", "/w", "INT", TimeSpan.FromSeconds(3)), (spec.Image, spec.Hostname, spec.User, spec.WorkingDirectory, spec.StopSignal, spec.StopGrace));
        Assert.Equal(["A=b"], spec.Environment);
        Assert.Equal(["c"], spec.Command);
        Assert.Equal(["e"], spec.Entrypoint);
        Assert.Equal("v", spec.Labels["l"]);
        Assert.Equal(
            [
                new ContainerMount(ContainerMountKind.Bind, "/src", "/host", true, MakesSource: true),
                new ContainerMount(ContainerMountKind.Volume, "vol", "/vol"),
                new ContainerMount(ContainerMountKind.Tmpfs, string.Empty, "/m", false, "size=1024,mode=1777"),
                new ContainerMount(ContainerMountKind.Tmpfs, string.Empty, "/t", false, "size=1m"),
                new ContainerMount(ContainerMountKind.Volume, string.Empty, "/anon"),
            ],
            spec.Mounts);
        Assert.Equal(NetworkMode.Host, spec.Network);
        Assert.Equal(new ResourceLimits { MemoryBytes = 8 << 20, MemoryAndSwapBytes = 8 << 20, NanoCpus = 500_000_000, Pids = 9, CpusetCpus = "0" }, spec.Limits with { BlockRates = null });
        Assert.Equal(["/dev/sda rbps=1048576", "/dev/sdb wiops=9"], spec.Limits.BlockRates);
        Assert.Equal(new RestartPolicy(RestartKind.OnFailure, 2), spec.Restart);
        Assert.True(spec.ReadOnlyRoot);
        Assert.Equal((3L << 19, 3), (spec.LogBytes, spec.LogFiles));
        Assert.Equal(["NET_ADMIN"], spec.AddCapabilities);
        Assert.Equal(["ALL"], spec.DropCapabilities);
    }

    [Theory]
    [InlineData("""{"Memory":8388608,"NetworkMode":"none"}""", null)]
    [InlineData("""{"Memory":8388608,"MemorySwap":8388608,"NetworkMode":"none"}""", 8388608L)]
    [InlineData("""{"Memory":8388608,"MemorySwap":9437184,"NetworkMode":"none"}""", 9437184L)]
    [InlineData("""{"Memory":8388608,"MemorySwap":-1,"NetworkMode":"none"}""", -1L)]
    public void Swap_is_granted_only_where_it_was_asked_for(string host, long? both) =>
        Assert.Equal(both, Translate($$"""{"Image":"i","HostConfig":{{host}}}""").Spec.Limits.MemoryAndSwapBytes);

    [Theory]
    [InlineData("""{"MemorySwap":5,"Memory":8388608}""", ErrorKind.Invalid, "cannot be less than Memory=8388608")]
    [InlineData("""{"Memory":6291455}""", ErrorKind.Invalid, "Minimum memory limit allowed is 6MB")]
    [InlineData("""{"MemorySwap":5}""", ErrorKind.Invalid, "without Memory")]
    [InlineData("""{"Memory":-5}""", ErrorKind.Invalid, "Memory=-5 is negative")]
    [InlineData("""{"NanoCpus":1,"CpuQuota":1}""", ErrorKind.Invalid, "exclude each other")]
    [InlineData("""{"CpuQuota":1,"CpuPeriod":5}""", ErrorKind.Invalid, "CpuPeriod=5")]
    [InlineData("""{"Binds":["x"]}""", ErrorKind.Invalid, "bind \"x\"")]
    [InlineData("""{"Binds":["/a:b"]}""", ErrorKind.Invalid, "absolute target")]
    [InlineData("""{"Binds":["/a:/b:rshared"]}""", ErrorKind.Unsupported, "rshared")]
    [InlineData("""{"Binds":["/a:/b","/c:/b/"]}""", ErrorKind.Invalid, "duplicate mount point: /b")]
    [InlineData("""{"Mounts":[{"Type":"npipe","Target":"/x"}]}""", ErrorKind.Unsupported, "npipe")]
    [InlineData("""{"Mounts":[{"Type":"volume","Target":"/x","VolumeOptions":{"DriverConfig":{"Name":"nfs"}}}]}""", ErrorKind.Unsupported, "Mounts.VolumeOptions")]
    [InlineData("""{"RestartPolicy":{"Name":"sometimes"}}""", ErrorKind.Invalid, "sometimes")]
    [InlineData("""{"RestartPolicy":{"Name":"always","MaximumRetryCount":3}}""", ErrorKind.Invalid, "goes with on-failure")]
    [InlineData("""{"RestartPolicy":{"Name":"always"},"AutoRemove":true}""", ErrorKind.Invalid, "AutoRemove")]
    [InlineData("""{"SecurityOpt":["seccomp=unconfined"]}""", ErrorKind.Unsupported, "SecurityOpt=seccomp=unconfined")]
    [InlineData("""{"SecurityOpt":["apparmor=two words"]}""", ErrorKind.Invalid, "has no blanks")]
    [InlineData("""{"MaskedPaths":[],"ReadonlyPaths":[]}""", ErrorKind.Unsupported, "HostConfig.MaskedPaths=[] (systempaths=unconfined)")]
    [InlineData("""{"ReadonlyPaths":[]}""", ErrorKind.Unsupported, "HostConfig.ReadonlyPaths=[]")]
    [InlineData("""{"LogConfig":{"Config":{"max-size":"1k"}}}""", ErrorKind.Invalid, "max-size=1k is not a size from 64k to 1g")]
    [InlineData("""{"LogConfig":{"Config":{"max-size":"-1"}}}""", ErrorKind.Invalid, "max-size=-1 is not a size from 64k to 1g")]
    [InlineData("""{"LogConfig":{"Config":{"max-size":"99999999999999999999g"}}}""", ErrorKind.Invalid, "is not a size from 64k to 1g")]
    [InlineData("""{"LogConfig":{"Config":{"max-file":"0"}}}""", ErrorKind.Invalid, "max-file=0 is not a number from 1 to 100")]
    [InlineData("""{"LogConfig":{"Config":{"max-file":null}}}""", ErrorKind.Invalid, "HostConfig.LogConfig has a null in it")]
    [InlineData("""{"LogConfig":{"Type":"none"}}""", ErrorKind.Unsupported, "log driver none is not in this version")]
    [InlineData("""{"BlkioWeight":500}""", ErrorKind.Unsupported, "HostConfig.BlkioWeight")]
    [InlineData("""{"BlkioDeviceReadBps":{}}""", ErrorKind.Invalid, "HostConfig.BlkioDeviceReadBps is not a list")]
    [InlineData("""{"BlkioDeviceReadBps":[{"Path":"/dev/sda","Rate":"1m"}]}""", ErrorKind.Invalid, "a Rate that is a number")]
    [InlineData("""{"BlkioDeviceWriteBps":[null]}""", ErrorKind.Invalid, "HostConfig.BlkioDeviceWriteBps: null is not an object")]
    [InlineData("""{"BlkioDeviceWriteBps":[{"Path":"sda","Rate":1}]}""", ErrorKind.Invalid, "HostConfig.BlkioDeviceWriteBps: \"sda\" is not the absolute path of a disk")]
    [InlineData("""{"BlkioDeviceReadIOps":[{"Path":"/dev/sda","Rate":0}]}""", ErrorKind.Invalid, "HostConfig.BlkioDeviceReadIOps: a rate of 0 for /dev/sda is not within 1")]
    [InlineData("""{"OomScoreAdj":-500}""", ErrorKind.Unsupported, "HostConfig.OomScoreAdj")]
    [InlineData("""{"NeverHeardOf":{"a":[0,1]}}""", ErrorKind.Unsupported, "HostConfig.NeverHeardOf")]
    public void What_cannot_be_held_is_an_error_that_names_it(string host, ErrorKind kind, string words)
    {
        var failure = Assert.Throws<EdgeHostException>(() => Translate($$"""{"Image":"i","HostConfig":{{host}}}"""));
        Assert.Equal(kind, failure.Kind);
        Assert.Contains(words, failure.Message);
    }

    [Fact]
    public void What_is_not_known_and_asks_for_nothing_is_no_error() => Translate("""
        {"Image":"i","Domainname":"","OnBuild":null,"HostConfig":{"NetworkMode":"none","Privileged":false,"Devices":[],"ConsoleSize":[24,80],
         "LogConfig":{"Type":"","Config":{}},"MemorySwappiness":-1,"OomScoreAdj":0,"PortBindings":{},"ShmSize":67108864,"IpcMode":"private"},
         "NetworkingConfig":{"EndpointsConfig":{"none":{"IPAMConfig":null,"Aliases":[],"MacAddress":""}}}}
        """);

    [Fact]
    public void An_entrypoint_of_one_empty_word_clears_the_images() =>
        Assert.Equal([], Translate("""{"Image":"i","Entrypoint":[""]}""").Spec.Entrypoint!);

    private static (ContainerSpec Spec, List<string> Warnings) Translate(string body) =>
        ContainerCreateTranslation.Translate("name", null, JsonSerializer.Deserialize(body, DockerJson.In.ContainerCreateBody)!);
}
