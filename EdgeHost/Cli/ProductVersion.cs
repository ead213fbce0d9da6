using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json.Serialization;

namespace EdgeHost.Cli;

/// <summary>What this binary is.</summary>
/// <param name="Version">The version, as in <c>0.1.0</c>.</param>
/// <param name="Commit">The git commit that it was built from; null when it was built without git.</param>
/// <param name="Rid">What it was built for, as in <c>linux-arm64</c>.</param>
/// <param name="Runtime">The .NET that it was built with.</param>
/// <param name="Kernel">The kernel that it runs on.</param>
public sealed record ProductVersion(string Version, string? Commit, string Rid, string Runtime, string Kernel)
{
    private const string Release = "/proc/sys/kernel/osrelease";

    /// <summary>As one line, in the manner of docker's <c>--version</c>.</summary>
    [JsonIgnore]
    public string OneLine => Commit is null ? $"EdgeHost version {Version}" : $"EdgeHost version {Version}, build {Commit[..Math.Min(7, Commit.Length)]}";

    /// <summary>Reads it from the binary and the kernel.</summary>
    public static ProductVersion Read()
    {
        // The SDK writes version+commit.
        var whole = typeof(ProductVersion).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;
        var plus = whole.IndexOf('+', StringComparison.Ordinal);
        return new ProductVersion(
            plus < 0 ? whole : whole[..plus],
            plus < 0 ? null : whole[(plus + 1)..],
            RuntimeInformation.RuntimeIdentifier,
            RuntimeInformation.FrameworkDescription,
            File.Exists(Release) ? File.ReadAllText(Release).TrimEnd() : "unknown (no /proc)");
    }
}
