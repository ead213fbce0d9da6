namespace EdgeHost.Errors;

/// <summary>
/// The closed set of ways in which a request can fail. It alone decides the HTTP status, the exit code and the reason
/// that is reported over MQTT; the message is for people.
/// </summary>
public enum ErrorKind
{
    /// <summary>A defect of EdgeHost itself or of the system beneath it. HTTP 500.</summary>
    Internal,

    /// <summary>The request cannot be understood or contradicts itself. HTTP 400.</summary>
    Invalid,

    /// <summary>The named object does not exist. HTTP 404.</summary>
    NotFound,

    /// <summary>The object exists but its state does not allow this. HTTP 409.</summary>
    Conflict,

    /// <summary>Understood, but this board cannot hold it (memory, CPUs, kernel, architecture). HTTP 400.</summary>
    Infeasible,

    /// <summary>Credentials are missing or do not suffice. HTTP 403.</summary>
    Denied,

    /// <summary>Somebody else's service (registry, broker, daemon) cannot be reached or fails; trying again may help. HTTP 503.</summary>
    Unavailable,

    /// <summary>Bytes are not what their digest, length or format promised. HTTP 500.</summary>
    Corrupt,

    /// <summary>No space, no inode, or a budget is used up. HTTP 507.</summary>
    Full,

    /// <summary>The program of the container cannot be executed. HTTP 400; exit code 126 or 127.</summary>
    CannotExecute,

    /// <summary>Known to the interface that we speak, but not in this version. HTTP 501.</summary>
    Unsupported,
}
