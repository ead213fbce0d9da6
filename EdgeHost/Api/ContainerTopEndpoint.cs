using System.Globalization;
using EdgeHost.Engine;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary><c>GET /containers/{id}/top</c>, as <c>ps -ef</c> shows processes. Nothing is started to find out.</summary>
internal sealed class ContainerTopEndpoint(IContainerEngine engine)
{
    private static readonly List<string> Titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

    internal void Map(ApiRouter router) => router.Map("GET", "/containers/*/top", TopAsync);

    private Task TopAsync(ApiExchange exchange)
    {
        if (exchange.Query["ps_args"] is { } other && other.Trim() is not ("-ef" or "ef" or ""))
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"ps_args={other}: the columns of -ef are what is in this version");
        }

        var now = DateTimeOffset.Now;
        return exchange.JsonAsync(200, new TopView(Titles, [.. engine.ListProcesses(exchange.Values[0]).Select(process => Row(process, now))]), DockerJson.Out.TopView);
    }

    private static List<string> Row(ContainerProcess process, DateTimeOffset now)
    {
        var started = process.Started.ToLocalTime();
        var ran = (now - process.Started).TotalSeconds;
        return
        [
            process.Uid.ToString(CultureInfo.InvariantCulture),
            process.Pid.ToString(CultureInfo.InvariantCulture),
            process.ParentPid.ToString(CultureInfo.InvariantCulture),
            (ran > 0 ? Math.Min((int)(process.CpuTime.TotalSeconds * 100 / ran), 99) : 0).ToString(CultureInfo.InvariantCulture),
            started.ToString(started.Date == now.Date ? "HH:mm" : started.Year == now.Year ? "MMMdd" : "yyyy", CultureInfo.InvariantCulture),
            "?",
            string.Create(CultureInfo.InvariantCulture, $"{(long)process.CpuTime.TotalHours:00}:{process.CpuTime.Minutes:00}:{process.CpuTime.Seconds:00}"),
            process.CommandLine,
        ];
    }
}

/// <summary>The answer to top.</summary>
internal sealed record TopView(List<string> Titles, List<List<string>> Processes);
