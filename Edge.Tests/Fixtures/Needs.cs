using Xunit;

namespace Edge.Tests.Fixtures;

/// <summary>
/// What a test needs of the machine. Where it is missing the test is skipped with the reason; on a build server
/// (CI=true) it fails instead, since a test that never runs promises nothing.
/// </summary>
internal static class Needs
{
    /// <summary>Whether a skip counts as a failure.</summary>
    internal static bool OnBuildServer => Environment.GetEnvironmentVariable("CI") == "true";

    /// <summary>The test needs root.</summary>
    internal static void Root()
    {
        if (!Environment.IsPrivilegedProcess)
        {
            Missing("this test needs root");
        }
    }

    /// <summary>Ends the test because something that it needs is not here.</summary>
    [System.Diagnostics.CodeAnalysis.DoesNotReturn]
    internal static void Missing(string what)
    {
        if (OnBuildServer)
        {
            Assert.Fail($"{what} (skipped elsewhere, a failure where CI=true)");
        }

        Assert.Skip(what);
    }
}
