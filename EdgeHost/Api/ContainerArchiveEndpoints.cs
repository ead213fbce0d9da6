using System.Text.Json;
using EdgeHost.Engine;

namespace EdgeHost.Api;

/// <summary>
/// <c>HEAD</c>, <c>GET</c> and <c>PUT /containers/{id}/archive</c>: what is at a path of a container, as a tar to read and
/// from a tar to write. No container is paused for it, as Docker does on some systems: a path is resolved by the kernel
/// within the container at each step.
/// </summary>
internal sealed class ContainerArchiveEndpoints(IContainerEngine engine)
{
    private const string StatHeader = "X-Docker-Container-Path-Stat";

    internal void Map(ApiRouter router)
    {
        router.Map("HEAD", "/containers/*/archive", InspectAsync);
        router.Map("GET", "/containers/*/archive", ReadAsync);
        router.Map("PUT", "/containers/*/archive", WriteAsync);
    }

    private async Task InspectAsync(ApiExchange exchange)
    {
        var status = await engine.Archives.InspectAsync(exchange.Values[0], exchange.Query["path"] ?? string.Empty, exchange.Aborted);
        exchange.SetHeader(StatHeader, Encode(status));
        await exchange.EmptyAsync(200);
    }

    private async Task ReadAsync(ApiExchange exchange)
    {
        using var archive = await engine.Archives.OpenAsync(exchange.Values[0], exchange.Query["path"] ?? string.Empty, exchange.Aborted);
        exchange.SetHeader(StatHeader, Encode(archive.Status));
        await exchange.WrittenAsync("application/x-tar", archive.WriteTo);
    }

    private async Task WriteAsync(ApiExchange exchange)
    {
        await engine.Archives.ExtractAsync(
            exchange.Values[0],
            exchange.Query["path"] ?? string.Empty,
            exchange.BlockingRequestBody,
            exchange.Query.Flag("noOverwriteDirNonDir"),
            exchange.Query.Flag("copyUIDGID"),
            exchange.Aborted);
        await exchange.EmptyAsync(200);
    }

    private static string Encode(ContainerPathStatus status)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("name", status.Name);
            writer.WriteNumber("size", status.Facts.Size);
            writer.WriteNumber("mode", status.Facts.GoMode);
            writer.WriteString("mtime", DockerTime.Format(DateTimeOffset.UnixEpoch.AddTicks((status.Facts.ModifiedSeconds * TimeSpan.TicksPerSecond) + (status.Facts.ModifiedNanoseconds / 100))));
            writer.WriteString("linkTarget", status.LinkTarget);
            writer.WriteEndObject();
        }

        return Convert.ToBase64String(buffer.GetBuffer(), 0, (int)buffer.Length);
    }
}
