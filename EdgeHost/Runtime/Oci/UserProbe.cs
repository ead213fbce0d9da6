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
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    /// <summary>Tries it.</summary>
    /// <param name="directory">A directory that is there, on the file system of the containers' layers.</param>
    /// <param name="firstUser">The first of 65,536 users and groups that are nobody's.</param>
    /// <param name="cancel">Ends the waiting.</param>
    /// <returns>Null when it works, else what the kernel refused.</returns>
    public static async Task<string?> TryAsync(string directory, uint firstUser, CancellationToken cancel)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath ?? "/proc/self/exe") { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in (string[])["oci", "probe", directory, firstUser.ToString(CultureInfo.InvariantCulture)])
        {
            start.ArgumentList.Add(argument);
        }

        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return $"{start.FileName} cannot be run: {e.Message}";
        }

        using var owned = process;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(Patience);
        try
        {
            var error = process.StandardError.ReadToEndAsync(limit.Token);
            var said = (await process.StandardOutput.ReadToEndAsync(limit.Token).ConfigureAwait(false)).Trim();
            await process.WaitForExitAsync(limit.Token).ConfigureAwait(false);
            return said == "ok" ? null
                : said.Length > 0 ? said
                : (await error.ConfigureAwait(false)).Trim() is { Length: > 0 } why ? why : $"the attempt ended with {process.ExitCode}";
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            process.Kill();
            return $"the attempt did not end within {Patience.TotalSeconds:0} s";
        }
    }
}
