using System.Globalization;
using System.IO.Pipelines;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Api;

/// <summary>
/// <c>GET /containers/{id}/logs</c> and <c>POST /containers/{id}/attach</c>. Both send Docker's frames: one byte for the
/// stream (1 output, 2 error), three of zero, the length in four bytes big-endian, the bytes.
/// </summary>
internal sealed class ContainerOutputEndpoints(IContainerEngine engine)
{
    internal const string Framed = "application/vnd.docker.multiplexed-stream";
    internal const string Raw = "application/vnd.docker.raw-stream";

    // What is written between two flushes at most; a reader that is slower than the container waits here, in the follower.
    private const int FlushAfter = 64 * 1024;

    internal void Map(ApiRouter router)
    {
        router.Map("GET", "/containers/*/logs", LogsAsync);
        router.Map("POST", "/containers/*/attach", AttachAsync);
        router.Map("POST", "/containers/*/resize", ResizeAsync);
    }

    private async Task LogsAsync(ApiExchange exchange)
    {
        var (output, error) = Streams(exchange);
        if (!output && !error)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "Bad parameters: you must choose at least one stream");
        }

        var container = engine.Inspect(exchange.Values[0]);
        var now = DateTimeOffset.UtcNow;
        var query = new LogQuery(
            exchange.Query.Flag("follow"),
            Tail(exchange.Query["tail"]),
            DockerTime.Parse("since", exchange.Query["since"], now),
            DockerTime.Parse("until", exchange.Query["until"], now),
            output,
            error,
            Raw: exchange.Query["tail"] is null or "all");
        await using var records = new StepAhead<LogRecord>(cancel => engine.ReadLogsAsync(container.Id, query, cancel), exchange.Aborted);
        var body = await exchange.StreamAsync(200, container.Spec.Terminal ? Raw : Framed);
        await CopyAsync(records, body, new LineFrames(framed: !container.Spec.Terminal, exchange.Query.Flag("timestamps")));
    }

    private async Task AttachAsync(ApiExchange exchange)
    {
        var container = engine.Inspect(exchange.Values[0]);
        var (output, error) = Streams(exchange);
        var keys = DetachKeys.Parse(exchange.Query["detachKeys"]);
        if (container.Paused && exchange.Query.Flag("stream"))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {container.Name} is paused, unpause the container before attach");
        }

        // The engine has this reader from here on. Docker's client starts the container as soon as it sees the answer.
        using var streams = engine.Attach(container.Id, new AttachQuery
        {
            Input = exchange.Query.Flag("stdin"),
            Output = output,
            Error = error,
            Follow = exchange.Query.Flag("stream"),
            Past = exchange.Query.Flag("logs"),
        });
        await using var connection = await exchange.HijackAsync(exchange.AsksForUpgrade && !streams.IsTerminal ? Framed : Raw);
        await StreamSession.RunAsync(connection, streams, keys);
    }

    private async Task ResizeAsync(ApiExchange exchange)
    {
        if (ExecEndpoints.SizeIn(exchange.Query) is { } size)
        {
            await engine.ResizeAsync(exchange.Values[0], size);
        }

        await exchange.EmptyAsync(200);
    }

    /// <summary>Writes records until they end; flushes whenever the next one is not there yet.</summary>
    private static async Task CopyAsync(StepAhead<LogRecord> records, PipeWriter body, LineFrames lines)
    {
        while (true)
        {
            if (lines.Written.Length > 0 && (!records.Next.IsCompleted || lines.Written.Length >= FlushAfter))
            {
                if ((await body.WriteAsync(lines.Written, records.Ended)).IsCompleted)
                {
                    return;
                }

                lines.Clear();
            }

            if (!await records.Next)
            {
                break;
            }

            lines.Add(records.Take());
        }

        lines.Flush();
        await body.WriteAsync(lines.Written, records.Ended);
    }

    private static (bool Output, bool Error) Streams(ApiExchange exchange) =>
        (exchange.Query.Flag("stdout"), exchange.Query.Flag("stderr"));

    private static int? Tail(string? text) => text switch
    {
        null or "all" => null,
        _ when int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var lines) => lines < 0 ? null : lines,
        // As Docker: what is no number means all.
        _ => null,
    };
}
