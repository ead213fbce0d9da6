using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using EdgeHost.Errors;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;

namespace EdgeHost.Api;

/// <summary>One request and its response, over the server's features directly: no HttpContext is made for it.</summary>
internal sealed class ApiExchange
{
    /// <summary>A JSON body is at most this long; a longer one is refused before it is parsed.</summary>
    internal const int LongestJsonBody = 1024 * 1024;

    private readonly IFeatureCollection _features;
    private readonly IHttpRequestFeature _request;
    private readonly IHttpResponseFeature _response;
    private QueryValues? _query;

    internal ApiExchange(IFeatureCollection features)
    {
        _features = features;
        _request = features.GetRequiredFeature<IHttpRequestFeature>();
        _response = features.GetRequiredFeature<IHttpResponseFeature>();
    }

    internal string Method => _request.Method;

    /// <summary>The path as it was sent, percent-decoded, the version still in front.</summary>
    internal string FullPath => _request.Path;

    /// <summary>The variable parts of the path, in the order of the route.</summary>
    internal IReadOnlyList<string> Values { get; set; } = [];

    internal QueryValues Query => _query ??= new QueryValues(_request.QueryString);

    internal CancellationToken Aborted => _features.GetRequiredFeature<IHttpRequestLifetimeFeature>().RequestAborted;

    /// <summary>Whether something was sent, after which no status can follow.</summary>
    internal bool HasStarted => _response.HasStarted || _features.Get<ConnectionClaim>() is { Taken: true };

    internal Stream RequestBody => _request.Body;

    /// <summary>The body for who unpacks it on a thread of its own and reads without await.</summary>
    internal Stream BlockingRequestBody
    {
        get
        {
            _features.GetRequiredFeature<IHttpBodyControlFeature>().AllowSynchronousIO = true;
            return _request.Body;
        }
    }

    internal bool AsksForUpgrade => _request.Headers.Connection.ToString().Contains("upgrade", StringComparison.OrdinalIgnoreCase);

    internal string RequestHeader(string name) => _request.Headers[name].ToString();

    internal void SetHeader(string name, string value) => _response.Headers[name] = value;

    internal void Abort() => _features.GetRequiredFeature<IHttpRequestLifetimeFeature>().Abort();

    /// <summary>Reads a JSON body whole and parses it.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: none, too long, too deep, or not what it should be.</exception>
    internal async Task<T> ReadJsonAsync<T>(JsonTypeInfo<T> type)
    {
        var body = await ReadBodyAsync();
        return body.Length > 0 ? ParseJson(body, type) : throw new EdgeHostException(ErrorKind.Invalid, $"{Method} {FullPath} needs a JSON body");
    }

    /// <summary>Parses a JSON body that was read.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: too deep, or not what it should be.</exception>
    internal T ParseJson<T>(ReadOnlyMemory<byte> body, JsonTypeInfo<T> type)
    {
        try
        {
            return JsonSerializer.Deserialize(body.Span, type)
                ?? throw new EdgeHostException(ErrorKind.Invalid, $"the body of {Method} {FullPath} is null");
        }
        catch (JsonException e)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the body of {Method} {FullPath} is not valid: {e.Message}", e);
        }
    }

    /// <summary>Reads a body whole, within <see cref="LongestJsonBody"/>.</summary>
    internal async Task<ReadOnlyMemory<byte>> ReadBodyAsync()
    {
        var buffer = new ArrayBufferWriter<byte>(4096);
        while (true)
        {
            var read = await _request.Body.ReadAsync(buffer.GetMemory(4096), Aborted);
            if (read == 0)
            {
                return buffer.WrittenMemory;
            }

            buffer.Advance(read);
            if (buffer.WrittenCount > LongestJsonBody)
            {
                throw new EdgeHostException(
                    ErrorKind.Invalid,
                    $"the body of {Method} {FullPath} is longer than {LongestJsonBody} bytes");
            }
        }
    }

    internal Task EmptyAsync(int status)
    {
        _response.StatusCode = status;
        return Task.CompletedTask;
    }

    internal Task JsonAsync<T>(int status, T value, JsonTypeInfo<T> type) =>
        BytesAsync(status, "application/json", JsonSerializer.SerializeToUtf8Bytes(value, type));

    internal async Task BytesAsync(int status, string contentType, ReadOnlyMemory<byte> body)
    {
        _response.StatusCode = status;
        SetHeader("Content-Type", contentType);
        SetHeader("Content-Length", body.Length.ToString(CultureInfo.InvariantCulture));
        if (Method != "HEAD")
        {
            await _features.GetRequiredFeature<IHttpResponseBodyFeature>().Writer.WriteAsync(body, Aborted);
        }
    }

    /// <summary>Sends the headers at once, for a response that goes on; what is written to the result is sent in chunks.</summary>
    internal async Task<PipeWriter> StreamAsync(int status, string contentType)
    {
        _response.StatusCode = status;
        SetHeader("Content-Type", contentType);
        var body = _features.GetRequiredFeature<IHttpResponseBodyFeature>();
        await body.StartAsync(Aborted);
        await body.Writer.FlushAsync(Aborted);
        return body.Writer;
    }

    /// <summary>Sends what is written without async, by a thread that nobody else waits for.</summary>
    internal async Task WrittenAsync(string contentType, Action<Stream, CancellationToken> write)
    {
        var body = await StreamAsync(200, contentType);
        await Task.Factory.StartNew(
            () =>
            {
                using var stream = body.AsStream(leaveOpen: true);
                try
                {
                    write(stream, Aborted);
                }
                catch (EdgeHostException e)
                {
                    // Too late for an answer: the log is where it can be read.
                    throw new EdgeHostException(ErrorKind.Internal, e.Message, e);
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
    }

    /// <summary>
    /// Takes the connection out of HTTP, as Docker's attach and exec do: both sides write raw bytes afterwards. Kestrel
    /// itself refuses this for a request with a body, which is what Docker's clients send, so the 101 is written here.
    /// </summary>
    internal async Task<HijackedConnection> HijackAsync(string contentType)
    {
        _ = await ReadBodyAsync();
        var claim = _features.GetRequiredFeature<ConnectionClaim>();
        claim.Taken = true;
        var transport = _features.GetRequiredFeature<IConnectionTransportFeature>().Transport;
        var socket = _features.GetRequiredFeature<IConnectionSocketFeature>().Socket;
        var connection = new HijackedConnection(transport, socket);
        connection.Send(System.Text.Encoding.ASCII.GetBytes(AsksForUpgrade
            ? $"HTTP/1.1 101 UPGRADED\r\nContent-Type: {contentType}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            : $"HTTP/1.1 200 OK\r\nContent-Type: {contentType}\r\n\r\n"));
        return connection;
    }
}
