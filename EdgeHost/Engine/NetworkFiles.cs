using System.Net;
using System.Text;
using EdgeHost.Linux;
using EdgeHost.Networks;
using EdgeHost.Oci;

namespace EdgeHost.Engine;

/// <summary>The three files by which a container finds itself and others: hostname, hosts, resolv.conf.</summary>
internal static class NetworkFiles
{
    private const string Localhost = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

    /// <summary>The name by which containers reach the machine that they run on.</summary>
    private const string HostName = "host.docker.internal";

    // What we wrote last into hosts and resolv.conf, by which it is seen whether the container has changed them.
    private const string Ours = ".network";

    /// <summary>Writes them into the container's run directory, before it starts, and gives the mounts that put them in place.</summary>
    internal static IReadOnlyList<RuntimeMount> Write(ContainerRecord record, string directory)
    {
        var hostname = RuntimeSpecBuilder.HostnameOf(record);
        var (hosts, resolver) = (HostsOf(record, hostname), ResolverOf(record));
        using var place = Files.OpenDirectoryForPaths(directory);
        Put("hostname", hostname + "\n");
        Put("hosts", hosts);
        Put("resolv.conf", resolver);
        Files.WriteIn(place, Ours, Encoding.UTF8.GetBytes($"{hosts}\0{resolver}"), 0x180);
        return Share(directory);

        // The container's root may change them, as everywhere. Nobody reads them yet: a start that ends in the middle is
        // begun anew.
        void Put(string name, string content) => Files.WriteIn(place, name, Encoding.UTF8.GetBytes(content), 0x1A4, record.FirstUser ?? 0);
    }

    /// <summary>
    /// Writes hosts and resolv.conf of a running container anew, where their content is another now. What the container
    /// itself has changed stays as it has it.
    /// </summary>
    internal static void Refresh(ContainerRecord record, string directory)
    {
        var ours = $"{directory}/{Ours}";
        if (!File.Exists(ours) || File.ReadAllText(ours).Split('\0') is not [var hosts, var resolver])
        {
            return;
        }

        var (newHosts, newResolver) = (HostsOf(record, RuntimeSpecBuilder.HostnameOf(record)), ResolverOf(record));
        if (Put("hosts", hosts, newHosts) | Put("resolv.conf", resolver, newResolver))
        {
            DurableFile.WriteVolatile(ours, Encoding.UTF8.GetBytes($"{newHosts}\0{newResolver}"));
        }

        bool Put(string name, string before, string content)
        {
            var file = $"{directory}/{name}";
            if (before == content)
            {
                return false;
            }

            if (File.Exists(file) && new FileInfo(file).Length == Encoding.UTF8.GetByteCount(before) && File.ReadAllText(file) == before)
            {
                // In place: the container has this very file.
                File.WriteAllText(file, content);
            }

            return true;
        }
    }

    /// <summary>The mounts of the files in the run directory of this container, or of the one whose network it shares.</summary>
    internal static IReadOnlyList<RuntimeMount> Share(string directory) =>
    [
        .. ((string[])["hostname", "hosts", "resolv.conf"]).Select(name => new RuntimeMount
        {
            Destination = "/etc/" + name,
            Type = "bind",
            Source = $"{directory}/{name}",
            Options = ["bind"],
        }),
    ];

    private static string HostsOf(ContainerRecord record, string hostname)
    {
        var hosts = new StringBuilder(record.Spec.Network == NetworkMode.Host && File.Exists("/etc/hosts") ? File.ReadAllText("/etc/hosts") : Localhost);
        var addresses = record.Sandbox?.Endpoints.SelectMany(each => each.Addresses).ToList() ?? [];
        if (addresses.Count == 0 && record.Spec.Network == NetworkMode.None)
        {
            hosts.Append($"127.0.0.1\t{hostname}\n");
        }

        foreach (var address in addresses)
        {
            hosts.Append($"{address.Address}\t{hostname}\n");
        }

        var gateway = addresses.FirstOrDefault()?.Gateway;
        if (gateway is not null)
        {
            hosts.Append($"{gateway}\t{HostName}\n");
        }

        foreach (var extra in record.Spec.ExtraHosts)
        {
            // name:address, and of IPv6 the address has colons of its own.
            var (name, address) = (extra[..extra.IndexOf(':', StringComparison.Ordinal)], extra[(extra.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim('[', ']'));
            hosts.Append($"{(address == "host-gateway" ? (gateway ?? IPAddress.Loopback).ToString() : address)}\t{name}\n");
        }

        return hosts.ToString();
    }

    private static string ResolverOf(ContainerRecord record)
    {
        var spec = record.Spec;
        if (spec.Network == NetworkMode.Host && spec.Dns.Count + spec.DnsSearch.Count + spec.DnsOptions.Count == 0)
        {
            return HostResolver.Text;
        }

        if (spec.Network == NetworkMode.None)
        {
            return HostResolver.Write(spec.Dns, spec.DnsSearch, spec.DnsOptions);
        }

        var host = HostResolver.Read();
        if (NetworkHost.NameServerFor(record.Sandbox?.Endpoints ?? []) is { } own)
        {
            // Its networks' names have no dot and are to be asked for as they are, before any search domain.
            IReadOnlyList<string> options = spec.DnsOptions.Count > 0 ? spec.DnsOptions : host.Options;
            return HostResolver.Write(
                [own.ToString()],
                spec.DnsSearch.Count > 0 ? spec.DnsSearch : host.Search,
                options.Any(each => each.StartsWith("ndots:", StringComparison.Ordinal)) ? options : [.. options, "ndots:0"]);
        }

        return HostResolver.Write(
            spec.Dns.Count > 0 ? spec.Dns : host.Servers.Select(each => each.ToString()),
            spec.DnsSearch.Count > 0 ? spec.DnsSearch : host.Search,
            spec.DnsOptions.Count > 0 ? spec.DnsOptions : host.Options);
    }
}
