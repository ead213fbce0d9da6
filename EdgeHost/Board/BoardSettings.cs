namespace EdgeHost.Board;

/// <summary>What the configuration says of the board.</summary>
public sealed class BoardSettings
{
    /// <summary>The profile that is used; null for none.</summary>
    public string? Profile { get; init; }

    /// <summary>The devices that workloads may ask for, with commas between them.</summary>
    public string? Devices { get; init; }

    /// <summary>The driver of the watchdog that the board has, as in <c>bcm2835-wdt</c>; null where none is known of.</summary>
    public string? WatchdogDriver { get; init; }

    /// <summary>The longest time that the watchdog's hardware can count, in seconds; null where it is not known.</summary>
    public int? WatchdogMaxTimeout { get; init; }

    /// <summary>Why the configuration cannot be read; null when it can.</summary>
    public string? Error { get; init; }
}
