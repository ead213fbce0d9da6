using EdgeHost.Linux;
using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Runtime.Oci;

/// <summary><c>oci plan</c>: prints what a start would do, and does nothing.</summary>
internal static class OciPlan
{
    internal static int Execute(OciArguments line)
    {
        var path = line.TakeOption("-b", "--bundle");
        var id = line.TakeOperands(1, 1, "one container id")[0];
        var (bundle, spec) = OciBundle.Load(path);
        var mounts = CgroupMounts.Read();
        SingleThread.Print(OciLaunch.Compile(line.State, id, bundle, spec, waitForStart: false, mounts, OciLaunch.CgroupFor(mounts, id, spec)).ToString());
        return 0;
    }
}
