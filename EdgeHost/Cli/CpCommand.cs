using System.CommandLine;
using System.Net;
using System.Text;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Archives;

namespace EdgeHost.Cli;

/// <summary><c>edgehost cp</c>.</summary>
internal static class CpCommand
{
    private const string StatHeader = "X-Docker-Container-Path-Stat";

    // Of Go's io/fs.FileMode, which the API speaks.
    private const long GoDirectory = 1L << 31;
    private const long GoSymbolicLink = 1L << 27;
    private const long GoDevice = 1L << 26;
    private const long GoOther = (1L << 25) | (1L << 24);

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var source = new Argument<string>("source") { HelpName = "CONTAINER:SRC_PATH|SRC_PATH|-" };
        var destination = new Argument<string>("destination") { HelpName = "DEST_PATH|CONTAINER:DEST_PATH|-" };
        var archive = new Option<bool>("--archive", "-a") { Description = "What goes into a container belongs to the container's user" };
        var follow = new Option<bool>("--follow-link", "-L") { Description = "Copy what a symbolic link at the source leads to" };
        var quiet = new Option<bool>("--quiet", "-q") { Description = "Say nothing on a terminal" };
        var command = new Command("cp", "Copy files between a container and this host; - is a tar archive on standard input or output") { archive, follow, quiet, source, destination };
        command.SetAction(async parsed =>
        {
            var from = Side(parsed.GetValue(source)!, "source");
            var to = Side(parsed.GetValue(destination)!, "destination");
            using var client = DaemonClient.For(parsed);
            var said = (from.Container, to.Container) switch
            {
                ({ } container, null) => await OutOfAsync(client, container, from.Path, to.Path, parsed.GetValue(follow)),
                (null, { } container) => await IntoAsync(client, container, from.Path, to.Path, parsed.GetValue(follow), parsed.GetValue(archive)),
                (null, null) => throw new EdgeHostException(ErrorKind.Invalid, "must specify at least one container source"),
                _ => throw new EdgeHostException(ErrorKind.Invalid, "copying between containers is not supported"),
            };
            if (said is not null && !parsed.GetValue(quiet) && !Console.IsOutputRedirected)
            {
                parsed.InvocationConfiguration.Error.WriteLine($"Successfully copied {said}");
            }

            return ExitCode.Ok;
        });
        return command;
    }

    /// <summary>A container and a path, or a path of this host: what begins with a slash or a dot is one.</summary>
    private static (string? Container, string Path) Side(string text, string which)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return text.Length == 0 ? throw new EdgeHostException(ErrorKind.Invalid, $"{which} can not be empty")
            : colon <= 0 || text[0] is '/' or '.' ? (null, text) : (text[..colon], text[(colon + 1)..]);
    }

    private static async Task<string?> OutOfAsync(DaemonClient client, string container, string path, string destination, bool follow)
    {
        var target = destination == "-" ? null : CopyPath.Destination(destination);
        string? name = null;
        if (follow && await StatAsync(client, container, path) is { } link && (link.Mode & GoSymbolicLink) != 0)
        {
            (path, name) = (link.Target, CopyPath.Split(path).Name);
        }

        using var response = await client.SendAsync(HttpMethod.Get, Query(container, path));
        await using var content = await response.Content.ReadAsStreamAsync();
        if (target is null)
        {
            await using var output = OutputStream.StandardOutput();
            await DaemonClient.CopyAsync(content, output);
            return null;
        }

        var facts = Read(response);
        var own = CopyPath.Split(path).Name;
        var (directory, newName) = target.PlaceOf(new CopyPath(path, true, (facts.Mode & GoDirectory) != 0) { Name = name ?? own });
        using var root = RootedDirectory.Over(Files.OpenDirectoryForPaths(directory), directory.TrimEnd('/'));
        var bytes = Extract(root, content, own == "/" ? string.Empty : own, newName == "/" ? string.Empty : newName);
        return $"{Humanly.Size(bytes)} to {target.Path}";
    }

    private static long Extract(RootedDirectory root, Stream content, string name, string newName)
    {
        byte[] before = Encoding.UTF8.GetBytes(name), after = Encoding.UTF8.GetBytes(newName);
        try
        {
            return TreeExtractor.Extract(
                root,
                [],
                new TarReader(content, null),
                new ExtractOptions
                {
                    KeepDirectories = true,
                    LeaveOwner = true,
                    Devices = true,
                    Rename = each => each.AsSpan().StartsWith(before) && (each.Length == before.Length || each[before.Length] == '/') ? [.. after, .. each.AsSpan(before.Length)] : each,
                },
                CancellationToken.None);
        }
        catch (IOException e)
        {
            throw DaemonClient.BrokeOff(e);
        }
    }

    private static async Task<string?> IntoAsync(DaemonClient client, string container, string source, string path, bool follow, bool toUser)
    {
        var from = source == "-" ? null : CopyPath.Source(source, follow);
        var there = await StatAsync(client, container, path);
        var whole = path;
        if (there is { } link && (link.Mode & GoSymbolicLink) != 0)
        {
            whole = link.Target;
            there = await StatAsync(client, container, whole);
        }

        if (there is { } odd && (odd.Mode & (GoDevice | GoOther)) != 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"destination \"{container}:{path}\" must be a directory or a regular file: got {((odd.Mode & GoDevice) != 0 ? "a device" : "an irregular file")}");
        }

        var target = new CopyPath(whole, there is not null, there is { } found && (found.Mode & GoDirectory) != 0);
        if (from is null)
        {
            if (!target.IsDirectory)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"destination \"{container}:{path}\" must be a directory");
            }

            await using var input = Console.OpenStandardInput();
            await SendAsync(client, container, target.Path, toUser, input.CopyTo);
            return null;
        }

        var (directory, name) = target.PlaceOf(from);
        long bytes = 0;
        await SendAsync(client, container, directory, toUser, stream => bytes = Write(from, name, stream));
        return $"{Humanly.Size(bytes)} to {container}:{target.Path}";
    }

    private static long Write(CopyPath from, string name, Stream stream)
    {
        var counted = new CountingStream(stream);
        var tar = new TarWriter(counted);
        var asName = Encoding.UTF8.GetBytes(name == "/" ? string.Empty : name);
        if (from.IsDirectory)
        {
            using var directory = RootedDirectory.Over(Files.OpenDirectoryForPaths(CopyPath.Clean(from.Path)), from.Path);
            TreeArchive.WriteDirectory(directory, asName, tar, null, CancellationToken.None);
        }
        else
        {
            using var parent = Files.OpenDirectoryForPaths(from.Parts.Directory);
            TreeArchive.WriteFile(parent, Encoding.UTF8.GetBytes(from.Parts.Name), asName, tar, null, CancellationToken.None);
        }

        tar.Finish();
        return counted.Position;
    }

    private static async Task SendAsync(DaemonClient client, string container, string directory, bool toUser, Action<Stream> write)
    {
        using var content = new WrittenContent(write);
        content.Headers.ContentType = new("application/x-tar");
        using var response = await client.SendAsync(HttpMethod.Put, Query(container, directory, ("noOverwriteDirNonDir", "true"), ("copyUIDGID", toUser ? "true" : null)), content);
    }

    private static string Query(string container, string path, params ReadOnlySpan<(string Name, string? Value)> more) =>
        $"containers/{DaemonClient.Escape(container)}/archive" + EachContainer.Query([("path", path), .. more]);

    /// <summary>What is at a path of a container; null when nothing is, or it cannot be seen: what is done next says why.</summary>
    private static async Task<RemotePath?> StatAsync(DaemonClient client, string container, string path)
    {
        try
        {
            using var response = await client.SendAsync(HttpMethod.Head, Query(container, path));
            return Read(response);
        }
        catch (EdgeHostException e) when (e.Kind is ErrorKind.NotFound or ErrorKind.Invalid)
        {
            // The answer has no words: one that says that there is no such container would be passed over.
            using var known = await client.GetAsync($"containers/{DaemonClient.Escape(container)}/json");
            return null;
        }
    }

    private static RemotePath Read(HttpResponseMessage response)
    {
        using var stat = JsonDocument.Parse(Convert.FromBase64String(response.Headers.GetValues(StatHeader).First()));
        return new RemotePath(stat.RootElement.Number("mode"), stat.RootElement.Text("linkTarget"));
    }

    /// <summary>What is at a path of a container: a mode of Go's, and where a symbolic link leads.</summary>
    private sealed class RemotePath(long mode, string target)
    {
        internal long Mode { get; } = mode;

        internal string Target { get; } = target;
    }

    /// <summary>A body that is written as it is sent.</summary>
    private sealed class WrittenContent(Action<Stream> write) : HttpContent
    {
        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
            Task.Factory.StartNew(() => write(stream), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }

    /// <summary>Counts what goes by.</summary>
    private sealed class CountingStream(Stream stream) : Stream
    {
        private long _count;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => _count;

        public override long Position
        {
            get => _count;
            set => throw new NotSupportedException();
        }

        public override void Flush() => stream.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count)
        {
            stream.Write(buffer, offset, count);
            _count += count;
        }
    }
}
