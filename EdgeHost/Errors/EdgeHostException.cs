namespace EdgeHost.Errors;

/// <summary>
/// A failure that a user is meant to read: one line that says what failed, on what, why, and what to do.
/// Nothing else reaches a user; every other exception is a defect and goes to the log with its trace.
/// </summary>
public class EdgeHostException : Exception
{
    /// <summary>Makes a failure.</summary>
    /// <param name="kind">What decides status, exit code and reason.</param>
    /// <param name="message">One line, without a full stop at its end.</param>
    /// <param name="inner">The cause, for the log only.</param>
    public EdgeHostException(ErrorKind kind, string message, Exception? inner = null)
        : base(message, inner) => Kind = kind;

    /// <summary>What decides status, exit code and reason.</summary>
    public ErrorKind Kind { get; }
}
