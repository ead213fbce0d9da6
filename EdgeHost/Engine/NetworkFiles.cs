using System.Text;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Engine;

/// <summary>The three files by which a container finds itself and others: hostname, hosts, resolv.conf.</summary>
internal static class NetworkFiles
{
    /// <summary>Writes them into the container's run directory and gives the mounts that put them in place.</summary>
    internal static IReadOnlyList<RuntimeMount> Write(ContainerRecord record, string directory)
    {
        var hostname = RuntimeSpecBuilder.HostnameOf(record);
        var hosts = record.Spec.Network == NetworkMode.Host && File.Exists("/etc/hosts")
            ? File.ReadAllText("/etc/hosts")
            : $"127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n";
        var resolv = record.Spec.Network == NetworkMode.Host && File.Exists("/etc/resolv.conf") ? File.ReadAllText("/etc/resolv.conf") : string.Empty;
        return
        [
            Put("hostname", hostname + "\n"),
            Put("hosts", hosts),
            Put("resolv.conf", resolv),
        ];

        RuntimeMount Put(string name, string content)
        {
            var path = $"{directory}/{name}";
            DurableFile.WriteVolatile(path, Encoding.UTF8.GetBytes(content), 0x1A4);
            return new RuntimeMount { Destination = "/etc/" + name, Type = "bind", Source = path, Options = ["bind"] };
        }
    }
}
