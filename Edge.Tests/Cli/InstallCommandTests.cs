using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.Cli;

/// <summary>Installing into an image that is being built; on a running systemd it is tried by the board's tests.</summary>
public sealed class InstallCommandTests : IDisposable
{
    private readonly TemporaryDirectory _image = new();

    public void Dispose() => _image.Dispose();

    [Fact]
    public async Task An_image_gets_group_configuration_and_enabled_units_for_the_program_where_it_will_be_and_loses_just_these_again()
    {
        Needs.Root();
        await Packages.NeedAsync("passwd");
        Write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        Write("etc/group", "root:x:0:\n");
        Write("etc/systemd/system/edgehost-own.service", "[Service]\nExecStart=/bin/true\n");

        var first = await RunAsync("install", "--prefix", "/usr");
        Assert.Contains("made the system group edgehost", first, StringComparison.Ordinal);
        Assert.Contains("\nedgehost:x:", Read("etc/group"), StringComparison.Ordinal);
        Assert.Contains("\nExecStart=/usr/bin/edgehost daemon --external-shepherd\n", Read("etc/systemd/system/edgehost.service"), StringComparison.Ordinal);
        Assert.Contains("\nExecStart=/usr/bin/edgehost shepherd --stop-within 80\n", Read("etc/systemd/system/edgehost-shepherd.service"), StringComparison.Ordinal);
        Assert.Equal("/etc/systemd/system/edgehost.service", new FileInfo(_image.Sub("etc/systemd/system/multi-user.target.wants/edgehost.service")).LinkTarget);
        Assert.Equal("edgehost.service starts when the image is booted\n", await RunAsync("install", "--prefix", "/usr"));

        // A configuration that somebody has changed is his, and so is a unit of the same beginning.
        Write("etc/edgehost/edgehost.json", "{ \"logLevel\": \"debug\" }\n");
        Assert.DoesNotContain("edgehost.json", await RunAsync("install", "--prefix", "/usr"), StringComparison.Ordinal);
        await RunAsync("uninstall");
        Assert.Equal(["edgehost-own.service"], Directory.EnumerateFileSystemEntries(_image.Sub("etc/systemd/system")).Select(Path.GetFileName));
        Assert.Equal("{ \"logLevel\": \"debug\" }\n", Read("etc/edgehost/edgehost.json"));
        Assert.Contains("\nedgehost:x:", Read("etc/group"), StringComparison.Ordinal);

        await RunAsync("uninstall", "--purge");
        Assert.False(Directory.Exists(_image.Sub("etc/edgehost")));
        Assert.Equal("root:x:0:\n", Read("etc/group"));
    }

    [Fact]
    public async Task Programs_that_manage_the_network_are_told_to_leave_our_interfaces_alone_and_their_files_are_as_before_afterwards()
    {
        Needs.Root();
        await Packages.NeedAsync("passwd");
        Write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        Write("etc/group", "root:x:0:\n");
        Write("etc/systemd/network/10-own.network", "[Match]\nName=eth0\n");
        Write("etc/NetworkManager/NetworkManager.conf", "[main]\n");
        byte[] dhcpcd = [.. "hostname\n# caf"u8, 0xE9, .. "\ninterface eth0\nstatic ip_address=192.0.2.7/24\n"u8];
        File.WriteAllBytes(_image.Sub("etc/dhcpcd.conf"), dhcpcd);
        File.SetUnixFileMode(_image.Sub("etc/dhcpcd.conf"), UnixFileMode.UserRead | UnixFileMode.UserWrite);

        await RunAsync("install");
        Assert.Contains("\nUnmanaged=yes\n", Read("etc/systemd/network/10-edgehost.network"), StringComparison.Ordinal);
        Assert.Contains("\nMACAddressPolicy=none\n", Read("etc/systemd/network/10-edgehost.link"), StringComparison.Ordinal);
        Assert.Contains("\nunmanaged-devices+=interface-name:ehv*;interface-name:eh-*;interface-name:edgehost*\n", Read("etc/NetworkManager/conf.d/edgehost.conf"), StringComparison.Ordinal);
        Assert.Contains("\ndenyinterfaces ehv* eh-* edgehost*\n", Read("etc/dhcpcd.conf").Split("interface eth0")[0], StringComparison.Ordinal);
        Assert.DoesNotContain("dhcpcd", await RunAsync("install"), StringComparison.Ordinal);

        await RunAsync("uninstall");
        Assert.Equal(dhcpcd, File.ReadAllBytes(_image.Sub("etc/dhcpcd.conf")));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_image.Sub("etc/dhcpcd.conf")));
        Assert.Equal(["10-own.network"], Directory.EnumerateFileSystemEntries(_image.Sub("etc/systemd/network")).Select(Path.GetFileName));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_image.Sub("etc/NetworkManager/conf.d")));
    }

    [Fact]
    public async Task Where_the_package_is_installed_its_units_count_and_those_of_before_are_removed()
    {
        Needs.Root();
        await Packages.NeedAsync("passwd");
        Write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        Write("etc/group", "root:x:0:\nedgehost:x:400:\n");
        await RunAsync("install");
        Write("usr/lib/systemd/system/edgehost.service", "# Part of the package edgehost\n");

        var other = (await PublishedBinary.RunAsync("install", "--root", _image.Path, "--prefix", "/usr/local")).Exits(1).Error;
        Assert.Contains("the package edgehost is installed here, whose program is /usr/bin/edgehost, and this one would be /usr/local/bin/edgehost", other, StringComparison.Ordinal);
        Assert.Contains("apt remove edgehost removes it", (await PublishedBinary.RunAsync("uninstall", "--root", _image.Path)).Exits(1).Error, StringComparison.Ordinal);
        Assert.True(File.Exists(_image.Sub("etc/systemd/system/edgehost.service")));

        Assert.Contains("removed /etc/systemd/system/edgehost-shepherd.service\n", await RunAsync("install", "--prefix", "/usr"), StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFiles(_image.Sub("etc/systemd/system")));
        Assert.Empty(Directory.EnumerateFiles(_image.Sub("etc/systemd/network")));
    }

    [Fact]
    public async Task A_configuration_that_is_a_link_is_not_written_through()
    {
        Needs.Root();
        await Packages.NeedAsync("passwd");
        Write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        Write("etc/group", "root:x:0:\n");
        Write("elsewhere", "hostname\n");
        File.CreateSymbolicLink(_image.Sub("etc/dhcpcd.conf"), _image.Sub("elsewhere"));

        Assert.Contains("/etc/dhcpcd.conf is a link, and left alone", await RunAsync("install"), StringComparison.Ordinal);
        await RunAsync("uninstall");
        Assert.Equal("hostname\n", Read("elsewhere"));
    }

    [Fact]
    public async Task The_first_configuration_is_one_that_the_daemon_reads()
    {
        Needs.Root();
        await Packages.NeedAsync("passwd");
        Write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        Write("etc/group", "root:x:0:\nedgehost:x:400:someone\n");

        await RunAsync("install");
        var paths = EdgeHost.DaemonPaths.From(_image.Sub("etc/edgehost/edgehost.json"), null, null, _ => null);
        var log = Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance;
        Assert.Null(new EdgeHost.ConfigurationSource(paths, _ => null, log).Current.Mqtt);

        // The group was there before: it stays.
        await RunAsync("uninstall", "--purge");
        Assert.Contains("edgehost:x:400:someone", Read("etc/group"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_system_without_systemd_is_refused_before_anything_is_changed()
    {
        Needs.Root();
        if (Directory.Exists("/run/systemd/system"))
        {
            Needs.Missing("a machine without systemd");
        }

        var run = (await PublishedBinary.RunAsync("install")).Exits(1);

        Assert.StartsWith("edgehost: this system does not run under systemd", run.Error, StringComparison.Ordinal);
        Assert.Empty(run.Output);
    }

    private async Task<string> RunAsync(string verb, params string[] options) =>
        (await PublishedBinary.RunAsync([verb, "--root", _image.Path, .. options])).Succeeds().Output;

    private void Write(string path, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_image.Sub(path))!);
        File.WriteAllText(_image.Sub(path), text);
    }

    private string Read(string path) => File.ReadAllText(_image.Sub(path));
}
