using System.Globalization;
using System.Text;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Oci;

/// <summary><c>oci create</c>: everything but the program.</summary>
internal static class OciCreate
{
    internal static int Execute(OciArguments line)
    {
        var bundle = line.TakeOption("-b", "--bundle");
        var pidFile = line.TakeOption("--pid-file");
        var id = line.TakeOperands(1, 1, "one container id")[0];
        using var launch = OciLaunch.Start(line, id, bundle, waitForStart: true);
        if (pidFile is not null)
        {
            WritePid(pidFile, launch.Process.Pid);
        }

        return 0;
    }

    internal static void WritePid(string file, int pid) =>
        DurableFile.WriteVolatile(Path.GetFullPath(file), Encoding.ASCII.GetBytes(pid.ToString(CultureInfo.InvariantCulture)));
}
