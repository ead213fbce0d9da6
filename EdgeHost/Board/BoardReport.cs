using System.Text.Json.Serialization;

namespace EdgeHost.Board;

/// <summary>Whether a board can be an EdgeHost.</summary>
public enum BoardVerdict
{
    /// <summary>Everything required is there.</summary>
    Ok,

    /// <summary>Something required is missing.</summary>
    Lacking,

    /// <summary>The memory controller is off: the usual state of a fresh Raspberry Pi, mended by one edit and a reboot.</summary>
    MemoryControllerOff,
}

/// <summary>What was found on a board.</summary>
/// <param name="verdict">Whether it will do.</param>
/// <param name="board">What it is.</param>
/// <param name="cgroups">Which cgroup hierarchies are mounted, in words.</param>
/// <param name="features">What it has and lacks, in the order in which they are worth reading.</param>
/// <param name="neighbours">Other programs that have to do with networks; one that is "missing" something has a remedy.</param>
public sealed class BoardReport(BoardVerdict verdict, BoardFacts board, string cgroups, IReadOnlyList<FeatureStatus> features, IReadOnlyList<FeatureStatus> neighbours)
{
    /// <summary>Whether it will do.</summary>
    [JsonPropertyName("verdict")]
    public string VerdictWord => verdict switch
    {
        BoardVerdict.Ok => "ok",
        BoardVerdict.Lacking => "lacking",
        _ => "memory-controller-off",
    };

    /// <summary>What it is.</summary>
    public BoardFacts Board => board;

    /// <summary>Which cgroup hierarchies are mounted, in words.</summary>
    public string Cgroups => cgroups;

    /// <summary>What it has and lacks, in the order in which they are worth reading.</summary>
    public IReadOnlyList<FeatureStatus> Features => features;

    /// <summary>Other programs that have to do with networks; one that is "missing" something has a remedy.</summary>
    public IReadOnlyList<FeatureStatus> Neighbours => neighbours;

    internal BoardVerdict Verdict => verdict;
}

/// <summary>The JSON of this room.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Serialization, WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(BoardReport))]
public sealed partial class BoardJson : JsonSerializerContext;
