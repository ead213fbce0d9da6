using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Oci;

/// <summary>
/// Whether containers whose files are in a directory can have user namespaces. <c>edgehost oci probe</c> tries it: this
/// process has threads, and cannot clone.
/// </summary>
public static class UserProbe
{
    // It takes some milliseconds; a disk may have to wake up first.
    private const int PatienceMilliseconds = 20_000;

    // What an overlay wants for itself besides the few files of the attempt; without it the kernel mounts it read-only.
    private const long LeastBytes = 1 << 20;
    private const long LeastFiles = 64;

    /// <summary>Tries it, and waits for the outcome.</summary>
    /// <param name="directory">A directory that is there, on the file system of the containers' layers.</param>
    /// <param name="firstUser">The first of 65,536 users and groups that are nobody's.</param>
    /// <param name="isAnswer">Whether what failed is an answer: not for want of room on the disk or of time, which say
    /// nothing about the kernel.</param>
    /// <returns>Null when it works, else what the kernel refused.</returns>
    public static string? Try(string directory, uint firstUser, out bool isAnswer)
    {
        isAnswer = true;
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
                isAnswer = false;
                return $"the attempt did not end within {PatienceMilliseconds / 1000} s";
            }

            // A line at most: it fits into the pipe.
            var said = process.StandardOutput.ReadToEnd().TrimEnd();
            if (said == OciProbe.Works)
            {
                return null;
            }

            using var opened = Files.OpenDirectory(directory);
            var space = DiskSpace.Of(opened);
            isAnswer = (space.FreeBytes >= LeastBytes || space.TotalBytes == 0) && space.FreeFiles >= LeastFiles;
            return (isAnswer ? string.Empty : $"there is no room for the attempt in {directory}: ") + (said.Length > 0 ? said : $"the attempt ended with {process.ExitCode}");
        }
        catch (Win32Exception e)
        {
            return $"{program} cannot be run: {e.Message}";
        }
    }
}
