using Microsoft.Extensions.Logging;

namespace EdgeHost.Engine;

/// <summary>What it says in the log.</summary>
/// <remarks>In one file: what is generated of them has a fixed order within a file only.</remarks>
internal sealed partial class VolumeStore
{
    [LoggerMessage(Level = LogLevel.Error, Message = "volume {Name} was not filled whole from its image: {Why}; the next start goes on")]
    private static partial void LogNotFilled(ILogger log, string name, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "volume {Name}: {File} was written anew from what is there ({Why}); labels are lost")]
    private static partial void LogRebuilt(ILogger log, string name, string file, string why);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Why}")]
    private static partial void LogUnusable(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Path} cannot be removed: {Why}; the next start tries again")]
    private static partial void LogStuck(ILogger log, string path, string why);
}
