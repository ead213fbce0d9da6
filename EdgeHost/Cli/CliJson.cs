using System.Text.Json.Serialization;

namespace EdgeHost.Cli;

/// <summary>The JSON that commands print themselves; what the daemon answers they pass on as it is.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Serialization, WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ProductVersion))]
public sealed partial class CliJson : JsonSerializerContext;
