namespace EdgeHost.Engine;

/// <summary>Labels that mean something to the engine.</summary>
public static class ContainerLabels
{
    /// <summary>The workload that a container is.</summary>
    public const string Workload = "io.edgehost.workload";

    /// <summary>The workloads that it needs, with commas between them: with a boot they are started before it.</summary>
    public const string DependsOn = "io.edgehost.depends_on";
}
