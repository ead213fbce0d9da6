using System.Buffers.Binary;
using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Networks.Nftables;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Networks;

/// <summary>What is told of changes that others make to this machine's network. Called by one thread.</summary>
internal interface INetworkWatcher
{
    /// <summary>Whose messages to nftables are our own: the port of that socket; 0 when there is none yet.</summary>
    uint OwnPort { get; }

    /// <summary>Somebody has changed our table; by whom, as in <c>nft (process 312)</c>, or null when messages were lost.</summary>
    void TableChanged(string? by);

    /// <summary>Somebody has changed what becomes of forwarded packets in a table of iptables-nft.</summary>
    void ForwardChanged();

    /// <summary>Interfaces are gone, or down, or no more ports of their bridge; null when messages were lost.</summary>
    void LinksChanged(IReadOnlySet<string>? names);

    /// <summary>Addresses of interfaces with these numbers are gone.</summary>
    void AddressesChanged(IReadOnlyList<int> links);

    /// <summary>A route to another network was added, or removed.</summary>
    void RouteChanged(Route route, bool isAdded);

    /// <summary>The name servers of this machine may be others.</summary>
    void ResolverChanged();
}

/// <summary>
/// Listens to what others do to links, addresses, routes, nftables and the resolver of this machine: one thread, which
/// the kernel wakes when there is something, and which nothing wakes otherwise.
/// </summary>
internal sealed partial class NetworkWatch : IDisposable
{
    // The groups of rtnetlink(7) and of nfnetlink, by their numbers.
    private const int LinkGroup = 1, Address4Group = 5, Route4Group = 7, Address6Group = 9, Route6Group = 11;
    private const int NftablesGroup = 7;

    private const int DeleteLink = 17, NewLink = 16, DeleteAddress = 21, NewRoute = 24, DeleteRoute = 25;
    private const int Generation = 15;
    private const int Subsystem = TableTransaction.Subsystem << 8;
    private const uint Up = 1;

    // What the loop needs is little; a stack of the usual size would be touched no more.
    private const int StackBytes = 256 << 10;

    private readonly byte[] _table;
    private readonly INetworkWatcher _watcher;
    private readonly ILogger _log;
    private readonly EventLoop _loop = new();
    private readonly List<IDisposable> _sockets = [];
    private readonly Fd _wake;
    private readonly Thread _thread;
    private readonly ResolverFiles? _resolver;
    private volatile bool _isOver;
    private bool _isOurs;

    /// <summary>Begins to listen in the network namespace of this thread.</summary>
    /// <param name="table">Our table of the family inet.</param>
    /// <param name="watcher">Who is told.</param>
    /// <param name="log">Where it is said what cannot be listened to.</param>
    internal NetworkWatch(string table, INetworkWatcher watcher, ILogger log)
    {
        (_table, _watcher, _log) = (System.Text.Encoding.UTF8.GetBytes(table), watcher, log);
        (var stop, _wake) = Pipe.Make();
        _sockets.Add(stop);
        _loop.Add(stop, () => _isOver = true);
        Listen("links and routes", NetlinkProtocol.Route, ReadRoutes, LinkGroup, Address4Group, Address6Group, Route4Group, Route6Group);
        Listen("nftables", NetlinkProtocol.Netfilter, ReadTables, NftablesGroup);
        try
        {
            _resolver = new ResolverFiles();
            _loop.Add(_resolver.Fd, () =>
            {
                if (_resolver.TakeChange())
                {
                    _watcher.ResolverChanged();
                }
            });
        }
        catch (LinuxException e)
        {
            LogDeaf(_log, "name servers", e.Message);
        }

        _thread = new Thread(Run, StackBytes) { IsBackground = true, Name = "networks" };
        _thread.Start();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _wake.Dispose();
        _thread.Join();
        _sockets.ForEach(each => each.Dispose());
        _resolver?.Dispose();
        _loop.Dispose();
    }

    private void Listen(string what, NetlinkProtocol protocol, Action<NetlinkSocket> read, params ReadOnlySpan<int> groups)
    {
        try
        {
            var socket = NetlinkSocket.Open(protocol, groups);
            _sockets.Add(socket);
            _loop.Add(socket.Fd, () => read(socket));
        }
        catch (LinuxException e)
        {
            // A kernel without nftables has nothing of it to listen to.
            LogDeaf(_log, what, e.Message);
        }
    }

    private void Run()
    {
        while (!_isOver)
        {
            try
            {
                _loop.RunOnce(-1);
            }
            catch (EdgeHostException e)
            {
                LogNotMended(_log, e.Message);
            }
            catch (Exception e)
            {
                // What was told is taken; the next thing that happens is another.
                LogDefect(_log, e);
            }
        }
    }

    /// <summary>
    /// Messages of one transaction come together, that of the new generation at the end; of all that are there, as when
    /// a firewall is loaded anew, the last one that concerns us is enough.
    /// </summary>
    private void ReadTables(NetlinkSocket socket)
    {
        var (isChanged, isForward, isLost, by) = (false, false, false, (string?)null);
        for (var messages = socket.Receive(); messages is not { Count: 0 }; messages = socket.Receive())
        {
            if (messages is null)
            {
                (isLost, _isOurs) = (true, false);
                continue;
            }

            foreach (var message in messages)
            {
                if (message.Type == (Subsystem | Generation))
                {
                    if (_isOurs)
                    {
                        (isChanged, by, _isOurs) = (true, Author(message), false);
                    }
                }
                else if ((message.Type & 0xff00) == Subsystem && message.Sender != _watcher.OwnPort && message.Attributes(4).TryFind(1, out var table))
                {
                    _isOurs |= message.Payload.Span[0] == TableTransaction.Inet && table.TrimEnd((byte)0).SequenceEqual(_table);
                    isForward |= ForeignForward.Families.Contains(message.Payload.Span[0]) && table.TrimEnd((byte)0).SequenceEqual("filter"u8);
                }
            }
        }

        if (isChanged || isLost)
        {
            _watcher.TableChanged(by);
        }

        if (isForward || isLost)
        {
            _watcher.ForwardChanged();
        }
    }

    private static string Author(NetlinkReply generation)
    {
        var attributes = generation.Attributes(4);
        var pid = attributes.TryFind(2, out var number) ? BinaryPrimitives.ReadUInt32BigEndian(number) : 0;
        var name = attributes.TryFind(3, out var text) ? System.Text.Encoding.UTF8.GetString(text.TrimEnd((byte)0)) : "somebody";
        return string.Create(CultureInfo.InvariantCulture, $"{name} (process {pid})");
    }

    private void ReadRoutes(NetlinkSocket socket)
    {
        var isLost = false;
        var links = new HashSet<string>(StringComparer.Ordinal);
        var addresses = new List<int>();
        for (var messages = socket.Receive(); messages is not { Count: 0 }; messages = socket.Receive())
        {
            if (messages is null)
            {
                isLost = true;
                continue;
            }

            foreach (var message in messages)
            {
                switch (message.Type)
                {
                    case DeleteLink:
                    case NewLink when (BitConverter.ToUInt32(message.Payload.Span[8..]) & Up) == 0:
                        // A port is told of as down while it is made, which is no news; as one of a bridge no more it is deleted.
                        if (RouteNetlink.NameOf(message) is { Length: > 0 } name && (message.Type == DeleteLink || !name.StartsWith(NetworkHost.PortPrefix, StringComparison.Ordinal)))
                        {
                            links.Add(name);
                        }

                        break;
                    case DeleteAddress:
                        addresses.Add(BitConverter.ToInt32(message.Payload.Span[4..]));
                        break;
                    case NewRoute or DeleteRoute when RouteNetlink.ParseRoute(message) is { } route:
                        _watcher.RouteChanged(route, message.Type == NewRoute);
                        break;
                    default:
                        break;
                }
            }
        }

        if (isLost || links.Count > 0)
        {
            _watcher.LinksChanged(isLost ? null : links);
        }

        if (!isLost && addresses.Count > 0)
        {
            _watcher.AddressesChanged(addresses);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "changes of {What} by other programs are not seen: {Reason}")]
    private static partial void LogDeaf(ILogger log, string what, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "what another program has changed is not mended: {Reason}")]
    private static partial void LogNotMended(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Critical, Message = "internal error while looking at what another program has changed")]
    private static partial void LogDefect(ILogger log, Exception defect);

    /// <summary>The files by which this machine finds names, and the directories in which they are replaced or yet to appear.</summary>
    private sealed class ResolverFiles : IDisposable
    {
        private readonly FileWatch _watch = new();
        private readonly HashSet<string> _names = new(StringComparer.Ordinal);

        internal ResolverFiles() => Follow();

        internal Fd Fd => _watch.Fd;

        public void Dispose() => _watch.Dispose();

        internal bool TakeChange()
        {
            if (!_watch.TakeChange(_names))
            {
                return false;
            }

            // What was replaced is another file now, and a link may lead elsewhere.
            Follow();
            return true;
        }

        private void Follow()
        {
            foreach (var start in (string[])[HostResolver.File, HostResolver.Upstream])
            {
                // Each link of the way may be replaced, not only its end.
                var path = start;
                for (var hops = 0; hops < 8 && path is not null; hops++)
                {
                    _names.Add(Path.GetFileName(path));
                    Nearest(Path.GetDirectoryName(path)!);
                    _watch.Add(path);
                    path = new FileInfo(path).LinkTarget is { } target ? Path.GetFullPath(target, Path.GetDirectoryName(path)!) : null;
                }
            }
        }

        /// <summary>Watches a directory, or while it is not there the nearest one in which it will appear.</summary>
        private void Nearest(string directory)
        {
            while (!_watch.Add(directory))
            {
                _names.Add(Path.GetFileName(directory));
                directory = Path.GetDirectoryName(directory)!;
            }
        }
    }
}
