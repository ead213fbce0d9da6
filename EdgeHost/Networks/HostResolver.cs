using System.Net;

namespace EdgeHost.Networks;

/// <summary>How this machine finds names, as far as a container can use it (resolv.conf(5)).</summary>
/// <param name="Servers">Name servers that are not on a loopback.</param>
/// <param name="Search">Search domains.</param>
/// <param name="Options">Options of the resolver.</param>
public sealed record HostResolver(IReadOnlyList<IPAddress> Servers, IReadOnlyList<string> Search, IReadOnlyList<string> Options)
{
    private const int MaximumBytes = 64 << 10;

    /// <summary>What programs of this machine read.</summary>
    internal const string File = "/etc/resolv.conf";

    /// <summary>Where systemd-resolved keeps the servers that it asks itself.</summary>
    internal const string Upstream = "/run/systemd/resolve/resolv.conf";

    /// <summary>
    /// Reads it. A resolver on a loopback cannot be reached from a container: in its place are those that it asks, where
    /// that can be found out, else none.
    /// </summary>
    public static HostResolver Read() => Read(File, Upstream);

    /// <summary>The file as programs of this machine read it; empty when there is none, or a link that leads nowhere.</summary>
    public static string Text => TextOf(File) ?? string.Empty;

    /// <summary>The servers that this machine itself asks, those on a loopback too.</summary>
    internal static IReadOnlyList<IPAddress> OwnServers() => Parse(File, withLoopback: true).Servers;

    /// <summary>Why there is no server that a container can ask.</summary>
    internal static string WhyNone() =>
        TextOf(File) is null ? new FileInfo(File).LinkTarget is { } target ? $"{File} is a link to {target}, where no file is" : $"there is no {File} that can be read"
        : OwnServers().Count == 0 ? $"{File} names no server"
        : $"{File} names only servers on a loopback, and {Upstream} none";

    internal static HostResolver Read(string file, string upstream)
    {
        var host = Parse(file);
        var other = host.Servers.Count == 0 ? Parse(upstream) : host;
        return host with { Servers = other.Servers, Search = host.Search.Count > 0 ? host.Search : other.Search };
    }

    /// <summary>The text of a resolv.conf.</summary>
    public static string Write(IEnumerable<string> servers, IReadOnlyCollection<string> search, IReadOnlyCollection<string> options) => string.Concat(
        servers.Select(each => $"nameserver {each}\n")
            .Concat(search.Count > 0 ? [$"search {string.Join(' ', search)}\n"] : [])
            .Concat(options.Count > 0 ? [$"options {string.Join(' ', options)}\n"] : []));

    private static string? TextOf(string file)
    {
        try
        {
            using var stream = System.IO.File.OpenRead(file);
            return stream.Length <= MaximumBytes ? new StreamReader(stream).ReadToEnd() : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // As with the resolver of libc: what cannot be read names no server.
            return null;
        }
    }

    private static HostResolver Parse(string file, bool withLoopback = false)
    {
        var (servers, search, options) = (new List<IPAddress>(), new List<string>(), new List<string>());
        if (TextOf(file) is { } text)
        {
            foreach (var line in text.Split('\n'))
            {
                var words = line.Split(['#', ';'])[0].Split([' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
                switch (words)
                {
                    case ["nameserver", var server, ..] when IPAddress.TryParse(server, out var address) && (withLoopback || !IPAddress.IsLoopback(address)) && address.ScopeIdOrZero() == 0:
                        servers.Add(address);
                        break;
                    case ["search" or "domain", .. var domains]:
                        search = [.. domains];
                        break;
                    case ["options", .. var more]:
                        options.AddRange(more);
                        break;
                    default:
                        break;
                }
            }
        }

        return new HostResolver(servers, search, options);
    }
}

internal static class ScopedAddress
{
    /// <summary>The interface that a link-local address is of; another namespace does not have it.</summary>
    internal static long ScopeIdOrZero(this IPAddress address) => address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? address.ScopeId : 0;
}
