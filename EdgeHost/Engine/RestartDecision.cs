namespace EdgeHost.Engine;

/// <summary>Whether a container that does not run is to be started. Pure.</summary>
internal static class RestartDecision
{
    /// <summary>After an end that the engine saw.</summary>
    /// <param name="record">The container with the end in it.</param>
    internal static bool AfterExit(ContainerRecord record) => !record.StoppedByHand && record.Spec.Restart.Kind switch
    {
        RestartKind.Always or RestartKind.UnlessStopped => true,
        RestartKind.OnFailure => record.ExitCode != 0
            && (record.Spec.Restart.MaximumRetryCount == 0 || record.RestartCount < record.Spec.Restart.MaximumRetryCount),
        _ => false,
    };

    /// <summary>When the daemon comes up and finds that it does not run.</summary>
    /// <param name="record">The container.</param>
    /// <param name="wasRunning">Whether it ran, or waited for a restart, when it was last seen.</param>
    /// <param name="newBoot">Whether the board was booted since.</param>
    internal static bool AtStart(ContainerRecord record, bool wasRunning, bool newBoot) => record.Spec.Restart.Kind switch
    {
        // After a boot also when a person had stopped it: that is what "always" means.
        RestartKind.Always when newBoot => record.State != ContainerState.Created,
        _ => wasRunning && AfterExit(record),
    };
}
