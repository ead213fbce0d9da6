using System.CommandLine;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>
/// Docker's API over the daemon's unix socket, as far as the commands need it. Whatever speaks that API will do at the
/// other end. Failures are <see cref="EdgeHostException"/> with the daemon's own words.
/// </summary>
internal sealed class DaemonClient : IDisposable
{
    /// <summary>The version of Docker's API that is spoken: old enough for Docker 20.10, new enough for all that is used.</summary>
    internal const string ApiVersion = "1.41";

    private const string HostOptionName = "--host";
    private const string DefaultSocket = "/run/edgehost/edgehost.sock";

    private const string Base = $"http://edgehost/v{ApiVersion}/";

    private readonly string _socket;
    private readonly HttpClient _http;

    private DaemonClient(string socket)
    {
        _socket = socket;
        _http = new HttpClient(new SocketsHttpHandler
        {
            UseProxy = false,
            UseCookies = false,
            AllowAutoRedirect = false,
            ActivityHeadersPropagator = null,
            ConnectCallback = ConnectAsync,
        })
        {
            // A wait for a container's end may take a year.
            Timeout = Timeout.InfiniteTimeSpan,
        };
    }

    /// <summary>Makes the option of all commands that names the daemon's socket.</summary>
    internal static Option<string?> HostOption() => new(HostOptionName, "-H")
    {
        Description = $"Daemon socket to connect to (default \"unix://{DefaultSocket}\", variable EDGEHOST_HOST)",
        HelpName = "socket",
        Recursive = true,
    };

    /// <summary>Makes a client for the socket that the command line, EDGEHOST_HOST or the default names; connects with the first request.</summary>
    internal static DaemonClient For(ParseResult parsed) => new(SocketOf(parsed));

    /// <summary>The socket that the command line, EDGEHOST_HOST or the default names.</summary>
    internal static string SocketOf(ParseResult parsed)
    {
        var host = parsed.GetValue<string?>(HostOptionName) ?? Environment.GetEnvironmentVariable("EDGEHOST_HOST");
        host = string.IsNullOrEmpty(host) ? DefaultSocket : host;
        var socket = host.StartsWith("unix://", StringComparison.Ordinal) ? host["unix://".Length..] : host;
        return socket.StartsWith('/')
            ? socket
            : throw new EdgeHostException(ErrorKind.Invalid, $"host {host} is not unix:///PATH; the daemon is reached by its unix socket only");
    }

    /// <summary>A container's or image's name as a part of a path; slashes stay, as Docker's API wants them.</summary>
    internal static string Escape(string name) => string.Join('/', name.Split('/').Select(Uri.EscapeDataString));

    /// <summary>Asks and reads the answer whole.</summary>
    internal async Task<JsonDocument> GetAsync(string path)
    {
        using var response = await SendAsync(HttpMethod.Get, path);
        await using var body = await response.Content.ReadAsStreamAsync();
        return await JsonDocument.ParseAsync(body);
    }

    /// <summary>Sends a request whose answer does not matter.</summary>
    internal async Task PostAsync(string path)
    {
        using var response = await SendAsync(HttpMethod.Post, path);
    }

    /// <summary>Sends JSON; the answer does not matter.</summary>
    internal async Task TellAsync(string path, ReadOnlyMemory<byte> json)
    {
        using var content = Json(json);
        using var response = await SendAsync(HttpMethod.Post, path, content);
    }

    /// <summary>Sends JSON and reads the answer whole.</summary>
    internal async Task<JsonDocument> PostAsync(string path, ReadOnlyMemory<byte> json)
    {
        using var content = Json(json);
        using var response = await SendAsync(HttpMethod.Post, path, content);
        await using var body = await response.Content.ReadAsStreamAsync();
        return await JsonDocument.ParseAsync(body);
    }

    /// <summary>Takes the connection over for raw bytes, as docker's attach does.</summary>
    internal async Task<HttpResponseMessage> UpgradeAsync(string path)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, Base + path);
        request.Headers.Connection.Add("Upgrade");
        request.Headers.Upgrade.Add(new ProductHeaderValue("tcp"));
        return await SendAsync(request);
    }

    /// <summary>Sends a request; returns as soon as the headers of the answer are here.</summary>
    /// <exception cref="EdgeHostException">Nobody answers, or the answer is a failure.</exception>
    internal async Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, HttpContent? content = null, string? registryAuth = null)
    {
        using var request = new HttpRequestMessage(method, Base + path) { Content = content };
        if (registryAuth is not null)
        {
            request.Headers.Add(RegistryAuth.Header, registryAuth);
        }

        return await SendAsync(request);
    }

    /// <summary>Passes an answer on as it comes.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unavailable"/>: it ended in the middle.</exception>
    internal static async Task CopyAsync(Stream content, Stream output)
    {
        try
        {
            await content.CopyToAsync(output);
        }
        catch (HttpIOException e)
        {
            throw BrokeOff(e);
        }
    }

    /// <summary>What is said of an archive that ends in the middle.</summary>
    internal static EdgeHostException BrokeOff(IOException e) =>
        new(ErrorKind.Unavailable, "the daemon broke off in the middle: something could not be read, or changed under the copying; its log says more", e);

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

    private static ReadOnlyMemoryContent Json(ReadOnlyMemory<byte> json)
    {
        var content = new ReadOnlyMemoryContent(json);
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        return content;
    }

    private async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request)
    {
        HttpResponseMessage response;
        try
        {
            response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        }
        catch (HttpRequestException e) when (e.InnerException is EdgeHostException cause)
        {
            throw new EdgeHostException(cause.Kind, cause.Message, e);
        }
        catch (HttpRequestException e)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"the daemon at {_socket} broke off: {e.InnerException?.Message ?? e.Message}", e);
        }

        if ((int)response.StatusCode < 400)
        {
            return response;
        }

        using (response)
        {
            throw Failure(response.StatusCode, await response.Content.ReadAsStringAsync());
        }
    }

    /// <summary>What an answer that is a failure says.</summary>
    internal static EdgeHostException Failure(HttpStatusCode status, string text)
    {
        string message;
        try
        {
            using var document = JsonDocument.Parse(text);
            message = document.RootElement.GetProperty("message").GetString() ?? text;
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            message = $"the daemon answered {(int)status}: {text.Trim()}";
        }

        return new EdgeHostException(KindOf(status), message);
    }

    private static ErrorKind KindOf(HttpStatusCode status) => status switch
    {
        HttpStatusCode.BadRequest => ErrorKind.Invalid,
        HttpStatusCode.Forbidden or HttpStatusCode.Unauthorized => ErrorKind.Denied,
        HttpStatusCode.NotFound => ErrorKind.NotFound,
        HttpStatusCode.Conflict => ErrorKind.Conflict,
        HttpStatusCode.NotImplemented => ErrorKind.Unsupported,
        HttpStatusCode.ServiceUnavailable => ErrorKind.Unavailable,
        HttpStatusCode.InsufficientStorage => ErrorKind.Full,
        _ => ErrorKind.Internal,
    };

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancel)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(_socket), cancel);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw NotReached(_socket, e);
        }
    }

    /// <summary>What is said of a socket that cannot be connected to.</summary>
    internal static EdgeHostException NotReached(string path, SocketException e) => e.SocketErrorCode == SocketError.AccessDenied
        ? new EdgeHostException(ErrorKind.Denied, $"permission denied on the daemon's socket {path}; be root, or a member of the group edgehost (usermod -aG edgehost USER, then log in again)", e)
        : new EdgeHostException(ErrorKind.Unavailable, $"cannot reach the daemon at {path} ({(Path.Exists(path) ? "nobody listens" : "no such socket")}); start it (systemctl start edgehost, or edgehost daemon), or name its socket with --host", e);
}

/// <summary>JSON that came from the daemon, read and printed.</summary>
internal static class DaemonJson
{
    /// <summary>The text of a member, or nothing.</summary>
    internal static string Text(this JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String
            ? value.GetString()!
            : string.Empty;

    /// <summary>The number of a member, or 0.</summary>
    internal static long Number(this JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var number)
            ? number
            : 0;

    /// <summary>A member, or nothing.</summary>
    internal static JsonElement Member(this JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) ? value : default;

    /// <summary>The texts of an array; none when it is not there.</summary>
    internal static IEnumerable<string> Texts(this JsonElement element, string name) =>
        element.Member(name) is { ValueKind: JsonValueKind.Array } array
            ? array.EnumerateArray().Where(i => i.ValueKind == JsonValueKind.String).Select(i => i.GetString()!)
            : [];

    /// <summary>A list as text with indentation.</summary>
    internal static string Indented(params IEnumerable<JsonElement> elements) => Indented(writer =>
    {
        writer.WriteStartArray();
        foreach (var element in elements)
        {
            element.WriteTo(writer);
        }

        writer.WriteEndArray();
    });

    /// <summary>One element as text with indentation.</summary>
    internal static string IndentedOne(JsonElement element) => Indented(element.WriteTo);

    /// <summary>An object of our own, for what prints objects.</summary>
    internal static JsonElement Made(Action<Utf8JsonWriter> members)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            members(writer);
            writer.WriteEndObject();
        }

        var reader = new Utf8JsonReader(buffer.GetBuffer().AsSpan(0, (int)buffer.Length));
        return JsonElement.ParseValue(ref reader);
    }

    private static string Indented(Action<Utf8JsonWriter> write)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, IndentSize = 4, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            write(writer);
        }

        return Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length);
    }
}
