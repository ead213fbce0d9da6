using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Edge.Tests.Images;

/// <summary>What a registry is asked.</summary>
internal sealed record Request(string Method, string Target, Dictionary<string, string> Headers, string Body)
{
    internal string? Header(string name) => Headers.GetValueOrDefault(name);
}

/// <summary>What it answers.</summary>
internal sealed record Answer(int Status, byte[] Body, params (string Name, string Value)[] Headers)
{
    internal Answer(int status, string body = "", params (string Name, string Value)[] headers)
        : this(status, Encoding.UTF8.GetBytes(body), headers)
    {
    }
}

/// <summary>A registry that does what docker-registry never would: a small HTTP/1.1 server with a script.</summary>
internal sealed class ScriptedRegistry : LoopbackServer
{
    private readonly Func<Request, Answer> _script;
    private readonly List<Request> _seen = [];

    internal ScriptedRegistry(Func<Request, Answer> script)
        : base(IPAddress.Loopback)
    {
        _script = script;
        Start();
    }

    internal IReadOnlyList<Request> Seen
    {
        get
        {
            lock (_seen)
            {
                return [.. _seen];
            }
        }
    }

    /// <summary>Serves the image of a layout under any repository and the tag <c>1</c>.</summary>
    internal static Answer Serve(OciLayout layout, string manifest, Request request)
    {
        var reference = request.Target.Split('/')[^1];
        var digest = reference == "1" ? manifest : reference;
        var path = layout.BlobPath(digest);
        if (!File.Exists(path))
        {
            return new Answer(404);
        }

        return new Answer(200, File.ReadAllBytes(path), ("Docker-Content-Digest", digest), ("Content-Type", request.Target.Contains("/manifests/") ? "application/vnd.oci.image.manifest.v1+json" : "application/octet-stream"));
    }

    private protected override async Task ServeAsync(Socket client)
    {
        using (client)
        {
            try
            {
                await using var stream = new NetworkStream(client);
                while (await ReadAsync(stream) is { } request)
                {
                    lock (_seen)
                    {
                        _seen.Add(request);
                    }

                    var answer = _script(request);
                    var head = new StringBuilder($"HTTP/1.1 {answer.Status} X\r\nContent-Length: {answer.Body.Length}\r\n");
                    foreach (var (name, value) in answer.Headers)
                    {
                        head.Append($"{name}: {value}\r\n");
                    }

                    await stream.WriteAsync(Encoding.ASCII.GetBytes(head.Append("\r\n").ToString()), Stopped);
                    if (request.Method != "HEAD")
                    {
                        await stream.WriteAsync(answer.Body, Stopped);
                    }
                }
            }
            catch (Exception e) when (e is IOException or OperationCanceledException)
            {
                // The client is gone, or the test is over.
            }
        }
    }

    private async Task<Request?> ReadAsync(NetworkStream stream)
    {
        var head = new List<byte>();
        var one = new byte[1];
        while (head.Count < 4 || !head[^4..].SequenceEqual("\r\n\r\n"u8.ToArray()))
        {
            if (await stream.ReadAsync(one, Stopped) == 0)
            {
                return null;
            }

            head.Add(one[0]);
            if (head.Count == 1 && one[0] == 0x16)
            {
                // A TLS hello: this one speaks plain HTTP.
                return null;
            }
        }

        var lines = Encoding.ASCII.GetString([.. head]).Split("\r\n");
        var headers = lines[1..].Where(line => line.Contains(':')).ToDictionary(
            line => line[..line.IndexOf(':')], line => line[(line.IndexOf(':') + 1)..].Trim(), StringComparer.OrdinalIgnoreCase);
        var body = new byte[int.Parse(headers.GetValueOrDefault("Content-Length", "0"))];
        await stream.ReadExactlyAsync(body, Stopped);
        var first = lines[0].Split(' ');
        return new Request(first[0], first[1], headers, Encoding.UTF8.GetString(body));
    }
}
