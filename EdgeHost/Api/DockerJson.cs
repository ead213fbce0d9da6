using System.Text.Json;
using System.Text.Json.Serialization;

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
}

/// <summary>What clients send.</summary>
[JsonSerializable(typeof(ContainerCreateBody))]
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
internal sealed partial class DockerResponses : JsonSerializerContext;

/// <summary>A failure.</summary>
internal sealed record ErrorView([property: JsonPropertyName("message")] string Message);
