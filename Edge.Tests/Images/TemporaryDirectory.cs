using System.Diagnostics;

namespace Edge.Tests.Images;

/// <summary>A directory that is gone at the end, whatever names, modes and devices were made in it.</summary>
public sealed class TemporaryDirectory : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("edgehost-test-").FullName;

    public string Sub(string name) => System.IO.Path.Combine(Path, name);

    public void Dispose()
    {
        using var process = Process.Start("rm", ["-rf", "--one-file-system", Path]);
        process.WaitForExit();
    }
}
