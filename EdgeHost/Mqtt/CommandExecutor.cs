using System.Text;
using EdgeHost.Deployments;
using EdgeHost.Engine;
using EdgeHost.Errors;

namespace EdgeHost.Mqtt;

/// <summary>Carries out commands on the workloads of the deployment; containers of others are out of its reach.</summary>
internal sealed class CommandExecutor(IContainerEngine engine, StateReporter reporter, TimeProvider time)
{
    internal static readonly string[] Names = ["start", "stop", "restart", "logs", "stats"];

    private const int DefaultTail = 100;
    private const int MaximumTail = 1000;
    private const int MaximumLogBytes = 256 * 1024;

    /// <summary>Whether a command changes something, and so must keep its place among others.</summary>
    internal static bool Changes(string command) => command is "start" or "stop" or "restart";

    /// <summary>Carries out a command.</summary>
    /// <exception cref="EdgeHostException">It cannot be done; the kind says why.</exception>
    internal async Task<CommandResponse> ExecuteAsync(string command, CommandRequest request, CancellationToken cancel)
    {
        if (request.ExpiresAt < time.GetUtcNow())
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"{command}: the request expired at {request.ExpiresAt:O}, before it could be carried out");
        }

        var response = new CommandResponse { Command = command, Workload = request.Workload, Correlation = request.Correlation, Ok = true };
        switch (command)
        {
            case "start":
                await engine.StartAsync(Find(request).Id, cancel).ConfigureAwait(false);
                return response with { State = Describe(request) };
            case "stop":
                await engine.StopAsync(Find(request).Id, Grace(request), cancel).ConfigureAwait(false);
                return response with { State = Describe(request) };
            case "restart":
                await engine.RestartAsync(Find(request).Id, Grace(request), cancel).ConfigureAwait(false);
                return response with { State = Describe(request) };
            case "logs":
                return await ReadLogsAsync(Find(request), request, response, cancel).ConfigureAwait(false);
            case "stats":
                var workloads = reporter.Read(time.GetUtcNow(), withUse: true).Workloads;
                if (request.Workload is { } only)
                {
                    workloads = new SortedDictionary<string, ReportedWorkload>(StringComparer.Ordinal)
                    {
                        [only] = workloads.GetValueOrDefault(only) ?? throw NoWorkload(only),
                    };
                }

                return response with { Stats = workloads };
            default:
                throw new EdgeHostException(ErrorKind.Unsupported, $"command \"{command}\" is not one of {string.Join(", ", Names)}");
        }
    }

    private async Task<CommandResponse> ReadLogsAsync(ContainerStatus container, CommandRequest request, CommandResponse response, CancellationToken cancel)
    {
        var tail = request.Tail ?? DefaultTail;
        if (tail is < 1 or > MaximumTail)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"tail {tail} is not within 1 and {MaximumTail}");
        }

        // Oldest first, and the newest are what is wanted: the window slides, and is bounded in bytes.
        var window = new Queue<LogLine>();
        var bytes = 0;
        var truncated = false;
        await foreach (var record in engine.ReadLogsAsync(container.Id, new LogQuery(Tail: tail), cancel).ConfigureAwait(false))
        {
            var line = new LogLine(record.Time, record.IsError ? "stderr" : "stdout", Encoding.UTF8.GetString(record.Bytes.Span).TrimEnd('\n'));
            window.Enqueue(line);
            bytes += line.Text.Length;
            while (bytes > MaximumLogBytes && window.Count > 1)
            {
                bytes -= window.Dequeue().Text.Length;
                truncated = true;
            }
        }

        return response with { Lines = [.. window], Truncated = truncated };
    }

    private ContainerStatus Find(CommandRequest request)
    {
        var name = request.Workload ?? throw new EdgeHostException(ErrorKind.Invalid, "workload is missing in the request");
        ContainerStatus? found = null;
        foreach (var container in engine.List())
        {
            if (PlannedWorkload.Read(container)?.Workload == name
                && (found is null || container.State is ContainerState.Running or ContainerState.Restarting))
            {
                found = container;
            }
        }

        return found ?? throw NoWorkload(name);
    }

    private ReportedWorkload? Describe(CommandRequest request) =>
        reporter.Read(time.GetUtcNow(), withUse: false).Workloads.GetValueOrDefault(request.Workload!);

    private static TimeSpan? Grace(CommandRequest request)
    {
        if (request.Grace is not { } text)
        {
            return null;
        }

        return ComposeUnits.TryParseDuration(text, out var grace) && grace <= TimeSpan.FromHours(1)
            ? grace
            : throw new EdgeHostException(ErrorKind.Invalid, $"grace \"{text}\" is not a duration of at most 1h, as in 10s");
    }

    private static EdgeHostException NoWorkload(string name) => new(ErrorKind.NotFound, $"there is no workload {name} in the deployment");
}
