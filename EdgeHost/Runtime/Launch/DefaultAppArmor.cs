namespace EdgeHost.Runtime.Launch;

/// <summary>
/// The profile of containers, where the kernel has AppArmor: what the launch has made read-only or hidden stays so for a
/// process that has got round that, and whatever rights it was given it mounts nothing and looks into nobody outside.
/// </summary>
internal static class DefaultAppArmor
{
    /// <summary>What it is called.</summary>
    internal const string Name = "edgehost-default";

    /// <summary>
    /// Its text. A path that leads to no mount of the container is one beneath its root: its init is in memory. Signals
    /// come from the shepherd, which no profile confines.
    /// </summary>
    internal const string Text = $$"""
        profile {{Name}} flags=(attach_disconnected, mediate_deleted) {
          network,
          capability,
          file,
          umount,
          signal receive peer=unconfined,
          signal peer={{Name}},
          ptrace peer={{Name}},
          deny mount,
          deny /proc/{acpi,bus,fs,irq,scsi,sys}/** wkl,
          deny /proc/{kcore,kmem,mem,sysrq-trigger} rwkl,
          deny /sys/** wkl,
          deny /sys/firmware/** r,
          deny /sys/devices/virtual/powercap/** r,
          deny /sys/kernel/security/** r,
        }

        """;
}
