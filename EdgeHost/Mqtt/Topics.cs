namespace EdgeHost.Mqtt;

/// <summary>The topics of contract 1 for one device.</summary>
public sealed class Topics
{
    /// <summary>Beneath it lives everything of version 1 of the contract.</summary>
    public const string Root = "edgehost/v1/";

    /// <summary>Makes the topics.</summary>
    /// <param name="device">See <see cref="DeviceId"/>.</param>
    public Topics(string device)
    {
        Device = Root + device + "/";
        Status = Device + "status";
        Desired = Device + "desired";
        Reported = Device + "reported";
        Progress = Device + "progress";
        Events = Device + "events";
        Commands = Device + "commands/";
        Responses = Device + "responses/";
        Telemetry = Device + "telemetry/";
    }

    /// <summary><c>edgehost/v1/{device}/</c>.</summary>
    public string Device { get; }

    /// <summary>Whether the device is there; retained.</summary>
    public string Status { get; }

    /// <summary>What it is to run; retained.</summary>
    public string Desired { get; }

    /// <summary>What it runs; retained.</summary>
    public string Reported { get; }

    /// <summary>How far a pull is.</summary>
    public string Progress { get; }

    /// <summary>What happens.</summary>
    public string Events { get; }

    /// <summary>Requests: the name of the command follows.</summary>
    public string Commands { get; }

    /// <summary>Where answers may go within our own root.</summary>
    public string Responses { get; }

    /// <summary>Workloads' data: the name of the workload follows.</summary>
    public string Telemetry { get; }

    /// <summary>
    /// Whether an answer may be published there. The requester chooses the topic, and the device may be allowed more
    /// than the requester: within our root only the device's own responses, never somebody's <c>desired</c>.
    /// </summary>
    public bool IsResponseTopic(string topic) =>
        topic.Length is > 0 and <= 1024
        && !topic.AsSpan().ContainsAny('+', '#', '\0')
        && topic[0] != '$'
        && (!topic.StartsWith("edgehost/", StringComparison.Ordinal) || (topic.StartsWith(Responses, StringComparison.Ordinal) && topic.Length > Responses.Length));
}
