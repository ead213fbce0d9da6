using Edge.Tests.Images;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Linux;
using Xunit;

namespace Edge.Tests.Engine;

/// <summary>A device is found by a name that stays, whatever number the kernel gave its node.</summary>
public sealed class DeviceNamesTests : IDisposable
{
    private readonly TemporaryDirectory _root = new();

    public DeviceNamesTests()
    {
        // As sysfs of a Raspberry Pi with an adapter, and a modem and a hub at its ports.
        Write("sys/class/i2c-dev/i2c-20/name", "bcm2835 (i2c@7e804000)\n");
        Write("sys/class/i2c-dev/i2c-20/device/uevent", "OF_NAME=i2c\nOF_FULLNAME=/soc/i2c@7e804000\nOF_ALIAS_0=i2c1\n");
        Write("sys/class/i2c-dev/i2c-21/name", "fef04500.i2c\n");
        Write("sys/class/i2c-dev/i2c-21/device/uevent", "OF_NAME=i2c\nOF_FULLNAME=/soc/i2c@7ef04500\nOF_ALIAS_0=i2c20\n");
        Spi("spidev0.0", "fe204000.spi", "OF_NAME=spi\nOF_ALIAS_0=spi0\n");
        Spi("spidev0.1", "fe204000.spi", "OF_NAME=spi\nOF_ALIAS_0=spi0\n");
        Spi("spidev10.1", "1-1.2:1.0", "DEVTYPE=usb_interface\n");
        Write("sys/bus/gpio/devices/gpiochip3/uevent", "MAJOR=254\nOF_ALIAS_0=gpio0\n");
        Write("sys/bus/usb/devices/1-1.3/idVendor", "0403\n");
        Write("sys/bus/usb/devices/1-1.3/idProduct", "6001\n");
        Write("sys/bus/usb/devices/1-1.3/serial", "A9A5YNLT\n");
        Write("sys/bus/usb/devices/1-1.3/busnum", "1\n");
        Write("sys/bus/usb/devices/1-1.3/devnum", "14\n");
        Write("sys/bus/usb/devices/1-1.3:1.0/uevent", "DEVTYPE=usb_interface\n");
        Tty("ttyUSB1", "pci0000:00/usb1/1-1/1-1.3/1-1.3:1.0/ttyUSB1");
        Tty("ttyAMA0", "platform/soc/fe201000.serial");
        Write("sys/devices/platform/soc/fe201000.serial/uevent", "OF_NAME=serial\nOF_ALIAS_0=serial0\n");
        Write("sys/devices/virtual/tty/tty0/dev", "4:0\n");
        _ = File.CreateSymbolicLink(Path.Combine(_root.Path, "sys/class/tty/tty0"), "../../devices/virtual/tty/tty0");
        Array.ForEach(["serial", "idVendor", "idProduct", "devnum"], file => Write("sys/devices/pci0000:00/usb1/1-1/1-1.3/" + file, File.ReadAllText(_root.Path + "/sys/bus/usb/devices/1-1.3/" + file)));
        Array.ForEach(["dev/tty0", "dev/i2c-20", "dev/i2c-21", "dev/gpiochip3", "dev/bus/usb/001/014"], node => Write(node, string.Empty));
    }

    [Theory]
    [InlineData("i2c=bcm2835 (i2c@7e804000)", "/dev/i2c-20")]
    [InlineData("i2c=i2c1", "/dev/i2c-20")]
    [InlineData("i2c=i2c20", "/dev/i2c-21")]
    [InlineData("spi=spi0.0", "/dev/spidev0.0")]
    [InlineData("spi=fe204000.spi.1", "/dev/spidev0.1")]
    [InlineData("spi=1-1.2:1.0.1", "/dev/spidev10.1")]
    [InlineData("gpiochip=gpio0", "/dev/gpiochip3")]
    [InlineData("usb=1-1.3", "/dev/bus/usb/001/014")]
    [InlineData("usb=0403:6001", "/dev/bus/usb/001/014")]
    [InlineData("usb=A9A5YNLT", "/dev/bus/usb/001/014")]
    [InlineData("tty=1-1.3", "/dev/ttyUSB1")]
    [InlineData("tty=1-1.3:1.0", "/dev/ttyUSB1")]
    [InlineData("tty=0403:6001", "/dev/ttyUSB1")]
    [InlineData("tty=A9A5YNLT", "/dev/ttyUSB1")]
    [InlineData("tty=serial0", "/dev/ttyAMA0")]
    [InlineData("tty=fe201000.serial", "/dev/ttyAMA0")]
    public void A_name_leads_to_the_node_that_the_device_has_now(string name, string node) => Assert.Equal(_root.Path + node, DeviceNames.Find(name, _root.Path));

    [Theory]
    [InlineData("i2c=i2c2")]
    [InlineData("i2c=bcm2835")]
    [InlineData("spi=spi0.2")]
    [InlineData("spi=spi10.1")]
    [InlineData("spi=fe204000.spi")]
    [InlineData("spi=spi0")]
    [InlineData("spi=.0")]
    [InlineData("gpiochip=gpio1")]
    [InlineData("gpioline=")]
    [InlineData("usb=0403:6010")]
    [InlineData("usb=1-1.3:1.0")]
    [InlineData("tty=1-1")]
    [InlineData("tty=1-1.3:1.1")]
    [InlineData("tty=virtual")]
    [InlineData("tty=serial1")]
    [InlineData("/dev/serial/by-id/usb-no-such-thing-if00-port0")]
    public void What_nothing_is_called_leads_nowhere(string name) => Assert.Null(DeviceNames.Find(name, _root.Path));

    [Fact]
    public void A_device_without_its_node_yet_is_not_there()
    {
        File.Delete(_root.Path + "/dev/i2c-20");
        Assert.Null(DeviceNames.Find("i2c=i2c1", _root.Path));
    }

    [Fact]
    public void A_name_that_two_devices_have_is_refused_with_both_nodes()
    {
        Write("sys/bus/usb/devices/1-1.4/idVendor", "0403\n");
        Write("sys/bus/usb/devices/1-1.4/idProduct", "6001\n");
        Write("sys/bus/usb/devices/1-1.4/busnum", "1\n");
        Write("sys/bus/usb/devices/1-1.4/devnum", "15\n");

        var refusal = Assert.Throws<EdgeHostException>(() => DeviceNames.Find("usb=0403:6001", _root.Path));

        Assert.Equal(ErrorKind.Infeasible, refusal.Kind);
        Assert.Contains("/dev/bus/usb/001/014", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("/dev/bus/usb/001/015", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Of_two_lines_of_one_device_each_is_named_by_its_interface()
    {
        Tty("ttyUSB2", "pci0000:00/usb1/1-1/1-1.3/1-1.3:1.1/ttyUSB2");

        Assert.Throws<EdgeHostException>(() => DeviceNames.Find("tty=1-1.3", _root.Path));
        Assert.Equal(_root.Path + "/dev/ttyUSB1", DeviceNames.Find("tty=1-1.3:1.0", _root.Path));
        Assert.Equal(_root.Path + "/dev/ttyUSB2", DeviceNames.Find("tty=1-1.3:1.1", _root.Path));
    }

    [Theory]
    [InlineData("/dev/ttyUSB0", "/dev/ttyUSB0", "/dev/ttyUSB0", "rwm")]
    [InlineData("/dev/ttyUSB0:r", "/dev/ttyUSB0", "/dev/ttyUSB0", "r")]
    [InlineData("/dev/ttyUSB0:/dev/modem:rw", "/dev/ttyUSB0", "/dev/modem", "rw")]
    [InlineData("/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0", "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0", "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0", "rwm")]
    [InlineData("/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0:/dev/modem:rw", "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0", "/dev/modem", "rw")]
    [InlineData("gpioline=button", "gpioline=button", "", "rwm")]
    [InlineData("spi=1-1.2:1.0.1:rw", "spi=1-1.2:1.0.1", "", "rw")]
    [InlineData("tty=1-1.3:1.0:/dev/modem:rw", "tty=1-1.3:1.0", "/dev/modem", "rw")]
    [InlineData("usb=0403:6001:rw", "usb=0403:6001", "", "rw")]
    [InlineData("i2c=bcm2835 (i2c@7e804000):/dev/i2c-1:rw", "i2c=bcm2835 (i2c@7e804000)", "/dev/i2c-1", "rw")]
    public void The_short_form_has_a_source_a_path_and_rights(string text, string source, string path, string access) => Assert.Equal((source, path, access), HostDevices.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("ttyUSB0")]
    [InlineData("/dev/ttyUSB0:")]
    [InlineData("/dev/ttyUSB0:x")]
    [InlineData("/dev/ttyUSB0:modem:rw")]
    [InlineData("/dev/ttyUSB0:/dev/modem:/dev/other")]
    [InlineData("/dev/ttyUSB0:/dev/modem/")]
    [InlineData("i2c=")]
    [InlineData("can=can0")]
    public void What_is_no_device_is_refused(string text) => Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => HostDevices.Parse(text)).Kind);

    public void Dispose() => _root.Dispose();

    private void Spi(string node, string controller, string uevent)
    {
        var bus = "sys/class/spi_master/spi" + node["spidev".Length..node.IndexOf('.', StringComparison.Ordinal)];
        Write($"sys/devices/{controller}/uevent", uevent);
        Write($"sys/class/spidev/{node}/dev", "153:0\n");
        Write("dev/" + node, string.Empty);
        _ = Directory.CreateDirectory(Path.Combine(_root.Path, bus));
        var link = Path.Combine(_root.Path, bus, "device");
        if (new FileInfo(link).LinkTarget is null)
        {
            _ = File.CreateSymbolicLink(link, "../../../devices/" + controller);
        }
    }

    private void Tty(string node, string device)
    {
        Write($"sys/devices/{device}/tty/{node}/dev", "188:0\n");
        Write("dev/" + node, string.Empty);
        _ = File.CreateSymbolicLink($"{_root.Path}/sys/devices/{device}/tty/{node}/device", "../../../" + Path.GetFileName(device));
        _ = Directory.CreateDirectory(_root.Path + "/sys/class/tty");
        _ = File.CreateSymbolicLink($"{_root.Path}/sys/class/tty/{node}", $"../../devices/{device}/tty/{node}");
    }

    private void Write(string path, string content)
    {
        var file = Path.Combine(_root.Path, path);
        _ = Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, content);
    }
}
