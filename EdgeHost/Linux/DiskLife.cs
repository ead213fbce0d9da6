namespace EdgeHost.Linux;

/// <summary>What a disk says of the life that it has left.</summary>
public sealed class DiskLife
{
    /// <summary>How much of the life that its maker gives it is used, in percent; null where it does not say.</summary>
    public int? PercentUsed { get; init; }

    /// <summary>Whether it says that it fails; null where it does not say.</summary>
    public bool? Failing { get; init; }
}
