using System.ComponentModel;
using System.Diagnostics;

namespace EdgeHost.Linux;

/// <summary>AppArmor (apparmor(7)), by which a kernel confines a program to what a profile names, whatever rights it has.</summary>
public static class AppArmor
{
    /// <summary>The name that stands for no profile.</summary>
    public const string Unconfined = "unconfined";

    /// <summary>Where a process says which profile it is to have from its next exec on; Linux 5.8.</summary>
    public const string OnExec = "/proc/self/attr/apparmor/exec";

    private const string Enabled = "/sys/module/apparmor/parameters/enabled";
    private const string Loaded = "/sys/kernel/security/apparmor/profiles";

    // It takes some ten milliseconds, on a slow board a second.
    private const int PatienceMilliseconds = 30_000;

    /// <summary>Why no profile of ours can be loaded here; null when one can, as far as that is known without trying.</summary>
    public static string? WhyNot =>
        !File.Exists(Enabled) || !File.ReadAllText(Enabled).StartsWith('Y') ? "this kernel has no AppArmor, or it is off"
        : !File.Exists(Loaded) ? "securityfs is not mounted at /sys/kernel/security"
        : Parser is null ? "apparmor_parser is not installed, which Debian has in the package apparmor"
        : null;

    private static string? Parser => Array.Find(["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser", "/usr/bin/apparmor_parser"], File.Exists);

    /// <summary>Whether the kernel has a profile; only root may ask.</summary>
    public static bool Has(string name) => File.ReadLines(Loaded).Any(line => line.StartsWith(name + " (", StringComparison.Ordinal));

    /// <summary>Hands a profile to the kernel, in the place of one of the same name.</summary>
    /// <param name="profile">Its text (apparmor.d(5)).</param>
    /// <returns>Null, or why it was not loaded.</returns>
    public static string? Load(string profile)
    {
        if (WhyNot is { } why)
        {
            return why;
        }

        try
        {
            using var process = Process.Start(new ProcessStartInfo(Parser!, ["--replace", "--skip-cache"]) { RedirectStandardInput = true, RedirectStandardError = true })!;
            process.StandardInput.Write(profile);
            process.StandardInput.Close();
            if (!process.WaitForExit(PatienceMilliseconds))
            {
                process.Kill();
                return $"{Parser} did not end within {PatienceMilliseconds / 1000} s";
            }

            // Some lines at most: they fit into the pipe.
            return process.ExitCode == 0 ? null : $"{Parser} ended with {process.ExitCode}: {process.StandardError.ReadToEnd().Trim().ReplaceLineEndings("; ")}";
        }
        catch (Exception e) when (e is Win32Exception or IOException)
        {
            return $"{Parser}: {e.Message}";
        }
    }
}
