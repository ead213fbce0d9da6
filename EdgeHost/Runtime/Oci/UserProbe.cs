using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;

namespace EdgeHost.Runtime.Oci;

/// <summary>
/// Whether containers whose files are in a directory can have user namespaces. <c>edgehost oci probe</c> tries it: this
/// process has threads, and cannot clone.
/// </summary>
public static class UserProbe
{
    // It takes some milliseconds; a disk may have to wake up first.
    private const int PatienceMilliseconds = 20_000;

    /// <summary>Tries it, and waits for the outcome.</summary>
    /// <param name="directory">A directory that is there, on the file system of the containers' layers.</param>
    /// <param name="firstUser">The first of 65,536 users and groups that are nobody's.</param>
    /// <returns>Null when it works, else what the kernel refused.</returns>
    public static string? Try(string directory, uint firstUser)
    {
        var program = Environment.ProcessPath ?? "/proc/self/exe";
        var start = new ProcessStartInfo(program) { UseShellExecute = false, RedirectStandardOutput = true };
        foreach (var argument in (string[])["oci", "probe", directory, firstUser.ToString(CultureInfo.InvariantCulture)])
        {
            start.ArgumentList.Add(argument);
        }

        try
        {
            using var process = Process.Start(start)!;
            if (!process.WaitForExit(PatienceMilliseconds))
            {
                process.Kill();
                return $"the attempt did not end within {PatienceMilliseconds / 1000} s";
            }

            // A line at most: it fits into the pipe.
            return process.StandardOutput.ReadToEnd().TrimEnd() switch
            {
                OciProbe.Works => null,
                "" => $"the attempt ended with {process.ExitCode}",
                var why => why,
            };
        }
        catch (Win32Exception e)
        {
            return $"{program} cannot be run: {e.Message}";
        }
    }
}
