using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using EdgeHost.Linux.Launch;
using Xunit;

namespace Edge.Tests.Runtime;

/// <summary>The first process of a container that was asked for one.</summary>
public sealed class LaunchInitTests
{
    [Theory]
    [InlineData("x64", "x86_64")]
    [InlineData("arm64", "aarch64")]
    public async Task Its_bytes_are_what_its_source_says(string name, string machine)
    {
        await Packages.NeedAsync("clang", "binutils");
        using var directory = new TemporaryDirectory();
        var source = Repository.PathOf("EdgeHost", "Linux", "Launch", "Init", $"init-{name}.S");
        (await CommandRun.RunAsync("clang", [$"--target={machine}-linux-gnu", "-c", source, "-o", directory.Sub("object")])).Succeeds();
        (await CommandRun.RunAsync("objcopy", ["-I", "elf64-little", "-O", "binary", "-j", ".text", directory.Sub("object"), directory.Sub("program")])).Succeeds();
        Assert.Equal(await File.ReadAllBytesAsync(directory.Sub("program"), TestContext.Current.CancellationToken), (name == "x64" ? LaunchInit.X64 : LaunchInit.Arm64).ToArray());
    }
}
