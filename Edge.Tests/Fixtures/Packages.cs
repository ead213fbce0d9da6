namespace Edge.Tests.Fixtures;

/// <summary>Debian packages that tests use as real counterparts; what is missing is installed once.</summary>
internal static class Packages
{
    private static readonly SemaphoreSlim OneAtATime = new(1);
    private static readonly HashSet<string> Installed = new(StringComparer.Ordinal);

    /// <summary>Makes sure that packages are installed; without root or apt-get the test is skipped.</summary>
    /// <param name="names">Their names in Debian.</param>
    internal static async Task NeedAsync(params string[] names)
    {
        await OneAtATime.WaitAsync();
        try
        {
            var missing = new List<string>();
            foreach (var name in names.Where(n => !Installed.Contains(n)))
            {
                if (!await IsInstalledAsync(name))
                {
                    missing.Add(name);
                }
            }

            if (missing.Count > 0)
            {
                await InstallAsync(missing);
            }

            Installed.UnionWith(names);
        }
        finally
        {
            _ = OneAtATime.Release();
        }
    }

    private static async Task<bool> IsInstalledAsync(string name)
    {
        if (!File.Exists("/usr/bin/dpkg-query"))
        {
            Needs.Missing($"the Debian package {name} is needed, and this is no Debian");
        }

        var query = await CommandRun.RunAsync("dpkg-query", ["-W", "-f", "${db:Status-Status}", name]);
        return query is { ExitCode: 0, Output: "installed" };
    }

    private static async Task InstallAsync(List<string> missing)
    {
        if (!Environment.IsPrivilegedProcess)
        {
            Needs.Missing($"apt-get install {string.Join(' ', missing)}");
        }

        // Other runs on this machine may be installing too: dpkg's lock is waited for.
        var patience = TimeSpan.FromMinutes(15);
        var quiet = new Dictionary<string, string?> { ["DEBIAN_FRONTEND"] = "noninteractive" };
        (await CommandRun.RunAsync("apt-get", ["-o", "DPkg::Lock::Timeout=600", "-qq", "update"], environment: quiet, patience: patience)).Succeeds();
        (await CommandRun.RunAsync(
            "apt-get", ["-o", "DPkg::Lock::Timeout=600", "-qq", "install", "--no-install-recommends", .. missing],
            environment: quiet, patience: patience)).Succeeds();
    }
}
