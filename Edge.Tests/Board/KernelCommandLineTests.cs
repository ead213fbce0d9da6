using EdgeHost.Board;
using Xunit;

namespace Edge.Tests.Board;

public sealed class KernelCommandLineTests
{
    [Theory]
    [InlineData("boot/firmware/cmdline.txt")]
    [InlineData("boot/cmdline.txt")]
    [InlineData("boot/armbianEnv.txt")]
    [InlineData("boot/extlinux/extlinux.conf")]
    [InlineData("etc/default/grub")]
    public void The_remedy_names_the_file_that_this_boot_loader_reads(string file)
    {
        var root = Directory.CreateTempSubdirectory("edgehost-test-").FullName;
        try
        {
            _ = Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(root, file))!);
            File.WriteAllText(Path.Combine(root, file), "console=tty1\n");

            var remedy = KernelCommandLine.HowToAdd("cgroup_enable=memory", root);

            Assert.Contains($"/{file}", remedy, StringComparison.Ordinal);
            Assert.Contains("\"cgroup_enable=memory\"", remedy, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', remedy);
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }
}
