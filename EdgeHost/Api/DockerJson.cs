using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace EdgeHost.Api;

/// <summary>Docker's JSON, without reflection: what comes in, and what goes out.</summary>
internal static class DockerJson
{
    /// <summary>Deeper nesting than this is refused. Docker's own documents have at most 8 levels.</summary>
    internal const int DeepestJson = 32;

    internal static DockerRequests In { get; } = new(new JsonSerializerOptions
    {
        // As Go's decoder reads.
        PropertyNameCaseInsensitive = true,
        MaxDepth = DeepestJson,
    });

    internal static DockerResponses Out => DockerResponses.Default;

    /// <summary>
    /// Sends one document of a stream of them. It is made whole first: between GetSpan and Advance of the server's own
    /// buffer the connection may go, and it throws.
    /// </summary>
    /// <returns>False when nobody reads any more.</returns>
    internal static async Task<bool> WriteLineAsync<T>(PipeWriter body, T document, JsonTypeInfo<T> type, ReadOnlyMemory<byte> end, CancellationToken cancel)
    {
        byte[] line = [.. JsonSerializer.SerializeToUtf8Bytes(document, type), .. end.Span];
        return !(await body.WriteAsync(line, cancel)).IsCompleted;
    }
}

/// <summary>What clients send. Only read.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(ContainerCreateBody))]
[JsonSerializable(typeof(HostConfigBody))]
[JsonSerializable(typeof(VolumeCreateBody))]
[JsonSerializable(typeof(NetworkConnectBody))]
[JsonSerializable(typeof(NetworkCreateBody))]
[JsonSerializable(typeof(Dictionary<string, JsonElement>))]
internal sealed partial class DockerRequests : JsonSerializerContext;

/// <summary>What clients get. Only written, so no code to read it is generated.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Serialization)]
[JsonSerializable(typeof(ErrorView))]
[JsonSerializable(typeof(VersionView))]
[JsonSerializable(typeof(InfoView))]
[JsonSerializable(typeof(ContainerCreatedView))]
[JsonSerializable(typeof(List<ContainerListView>))]
[JsonSerializable(typeof(ContainerView))]
[JsonSerializable(typeof(ContainerExitView))]
[JsonSerializable(typeof(StatsView))]
[JsonSerializable(typeof(EventView))]
[JsonSerializable(typeof(List<ImageListView>))]
[JsonSerializable(typeof(ImageView))]
[JsonSerializable(typeof(List<ImageHistoryView>))]
[JsonSerializable(typeof(List<Dictionary<string, string>>))]
[JsonSerializable(typeof(ProgressView))]
[JsonSerializable(typeof(TopView))]
[JsonSerializable(typeof(ContainerUpdatedView))]
[JsonSerializable(typeof(VolumeView))]
[JsonSerializable(typeof(VolumeListView))]
[JsonSerializable(typeof(VolumePruningView))]
[JsonSerializable(typeof(NetworkView))]
[JsonSerializable(typeof(List<NetworkView>))]
[JsonSerializable(typeof(NetworkCreatedView))]
[JsonSerializable(typeof(NetworksPrunedView))]
internal sealed partial class DockerResponses : JsonSerializerContext;

/// <summary>A failure.</summary>
internal sealed record ErrorView([property: JsonPropertyName("message")] string Message);
