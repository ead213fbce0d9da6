using Microsoft.Extensions.Logging;

namespace EdgeHost.Images;

/// <summary>What it says in the log.</summary>
/// <remarks>In one file: what is generated of them has a fixed order within a file only.</remarks>
public sealed partial class ImageStore
{
    [LoggerMessage(Level = LogLevel.Information, Message = "Removed {Directory}: there is no container {Id}")]
    private static partial void LogNoContainer(ILogger logger, string directory, string id);

    [LoggerMessage(Level = LogLevel.Information, Message = "Removed {What}, which belongs to no image")]
    private static partial void LogCollected(ILogger logger, string what);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Image {Image} is not used: {Problem}")]
    private static partial void LogUnusable(ILogger logger, string image, string problem);
}
