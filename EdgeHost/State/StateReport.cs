namespace EdgeHost.State;

/// <summary>How a database was found.</summary>
public enum StateOutcome
{
    /// <summary>It was there and could be read whole.</summary>
    Opened,

    /// <summary>There was none; a new one was made.</summary>
    Created,

    /// <summary>It was damaged; it was put aside and a new one made of the rows before the damage, to be completed from the facts on disk.</summary>
    Damaged,

    /// <summary>A newer version wrote it; it was put aside and a new one made, to be filled again from the facts on disk.</summary>
    Newer,
}

/// <summary>What was found when a database was opened.</summary>
/// <param name="Outcome">How it was found.</param>
/// <param name="KeptAside">Where the file that could not be used lies now; null when there is none.</param>
/// <param name="Reason">Why it could not be used, or what was cut off its end, in one line; null when it was whole.</param>
public sealed record StateReport(StateOutcome Outcome, string? KeptAside = null, string? Reason = null);
