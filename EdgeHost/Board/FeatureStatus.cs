using System.Text.Json.Serialization;

namespace EdgeHost.Board;

/// <summary>How much EdgeHost depends on a feature.</summary>
public enum FeatureNeed
{
    /// <summary>Containers cannot be run, or their limits cannot be held, without it.</summary>
    Required,

    /// <summary>Some deployments need it, or it makes failures rarer.</summary>
    Recommended,
}

/// <summary>What was found of a feature.</summary>
public enum FeatureState
{
    /// <summary>It is there.</summary>
    Present,

    /// <summary>It is not there, or not enough of it.</summary>
    Missing,

    /// <summary>This process could not find out; what was found says why.</summary>
    Unknown,
}

/// <summary>A feature of the board as it was observed.</summary>
/// <remarks>Its JSON has words in the place of enumerations: the converter of each would be 20 KB of the program.</remarks>
/// <param name="name">What users know it by, as in <c>memory controller</c>.</param>
/// <param name="need">How much depends on it.</param>
/// <param name="state">Whether it is there.</param>
/// <param name="found">What was seen, in words.</param>
/// <param name="remedy">One line on how to mend the lack; null when there is none.</param>
public sealed class FeatureStatus(string name, FeatureNeed need, FeatureState state, string found, string? remedy = null)
{
    /// <summary>What users know it by.</summary>
    public string Name => name;

    /// <summary>How much depends on it.</summary>
    [JsonPropertyName("need")]
    public string NeedWord => need == FeatureNeed.Required ? "required" : "recommended";

    /// <summary>Whether it is there.</summary>
    [JsonPropertyName("state")]
    public string StateWord => state switch
    {
        FeatureState.Present => "present",
        FeatureState.Missing => "missing",
        _ => "unknown",
    };

    /// <summary>What was seen, in words.</summary>
    public string Found => found;

    /// <summary>One line on how to mend the lack; null when there is none.</summary>
    public string? Remedy => remedy;

    internal FeatureNeed Need => need;

    internal FeatureState State => state;
}
