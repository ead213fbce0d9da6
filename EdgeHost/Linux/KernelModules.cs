using System.ComponentModel;
using System.Diagnostics;

namespace EdgeHost.Linux;

/// <summary>What a kernel keeps outside of itself until it is asked for.</summary>
public static class KernelModules
{
    // What it names is what the kernel runs for itself; a kernel without modules has no such file.
    private const string Loader = "/proc/sys/kernel/modprobe";
    private const int PatienceMilliseconds = 30_000;

    private static bool _asked;

    /// <summary>
    /// Has what networks need loaded by one program. The kernel would find it, too, but by a program for each name, and with
    /// each module that is missing in the middle of a transaction nftables asks again for all before it: some forty programs,
    /// with which the first network after a boot of a slow board takes four seconds more. It asks by the names by which the
    /// kernel does, so that what an administrator has forbidden stays away; whatever comes of it, the kernel asks after. So once
    /// is enough: what is in the kernel itself, or not to be had at all, looks as if it had not been loaded.
    /// </summary>
    public static void LoadForNetworks()
    {
        if (Interlocked.Exchange(ref _asked, true) || !File.Exists(Loader) || (Directory.Exists("/sys/module/nft_fib_inet") && Directory.Exists("/sys/module/veth")))
        {
            return;
        }

        try
        {
            using var process = Process.Start(new ProcessStartInfo(
                File.ReadAllText(Loader).Trim(),
                ["-a", "-q", "nfnetlink-subsys-10", "nft-expr-nat", "nft-chain-1-nat", "nft-expr-1-fib", "nft-expr-masq", "nft-expr-redir", "nft-expr-ct", "rtnl-link-bridge", "rtnl-link-veth"])
            { RedirectStandardError = true })!;
            if (!process.WaitForExit(PatienceMilliseconds))
            {
                process.Kill();
            }
        }
        catch (Exception e) when (e is Win32Exception or IOException or InvalidOperationException)
        {
            // None is there, or this process may not.
        }
    }
}
