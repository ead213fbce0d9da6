using System.Text.Json.Serialization;

namespace EdgeHost.Board;

/// <summary>Whether a board can be an EdgeHost.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<BoardVerdict>))]
public enum BoardVerdict
{
    /// <summary>Everything required is there.</summary>
    [JsonStringEnumMemberName("ok")]
    Ok,

    /// <summary>Something required is missing.</summary>
    [JsonStringEnumMemberName("lacking")]
    Lacking,

    /// <summary>The memory controller is off: the usual state of a fresh Raspberry Pi, mended by one edit and a reboot.</summary>
    [JsonStringEnumMemberName("memory-controller-off")]
    MemoryControllerOff,
}

/// <summary>What was found on a board.</summary>
/// <param name="Verdict">Whether it will do.</param>
/// <param name="Board">What it is.</param>
/// <param name="Cgroups">Which cgroup hierarchies are mounted, in words.</param>
/// <param name="Features">What it has and lacks, in the order in which they are worth reading.</param>
/// <param name="Neighbours">Other programs that have to do with networks; one that is "missing" something has a remedy.</param>
public sealed record BoardReport(BoardVerdict Verdict, BoardFacts Board, string Cgroups, IReadOnlyList<FeatureStatus> Features, IReadOnlyList<FeatureStatus> Neighbours);

/// <summary>The JSON of this room.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Serialization, WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(BoardReport))]
public sealed partial class BoardJson : JsonSerializerContext;
