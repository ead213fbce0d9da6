using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>
/// Names of devices that stay when the kernel numbers its nodes in another order: <c>i2c=ADAPTER</c>,
/// <c>gpiochip=LABEL</c>, <c>gpioline=NAME</c> for the chip that has the line, each also by an alias of the device tree,
/// <c>spi=CONTROLLER.SELECT</c>, and <c>usb=</c> a port, <c>VENDOR:PRODUCT</c> or a serial number, with <c>tty=</c> for the
/// serial line that such a device has, or one of the board's own.
/// </summary>
public static class DeviceNames
{
    /// <summary>Whether a source is such a name, and no path.</summary>
    /// <param name="source">As in <c>i2c=i2c1</c>.</param>
    public static bool Has(string source) => Split(source) is var (kind, name) && kind is "i2c" or "spi" or "gpiochip" or "gpioline" or "usb" or "tty" && name.Length > 0;

    /// <summary>The node of a source at this moment; null when there is none.</summary>
    /// <param name="source">Such a name, or a path.</param>
    /// <param name="root">Where /dev and /sys are.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: several devices have the name.</exception>
    public static string? Find(string source, string root = "")
    {
        if (!Has(source))
        {
            return Path.Exists(source) ? source : null;
        }

        var (kind, name) = Split(source);
        string? found = null;
        foreach (var device in Entries(kind switch { "i2c" => $"{root}/sys/class/i2c-dev", "spi" => $"{root}/sys/class/spidev", "usb" => $"{root}/sys/bus/usb/devices", "tty" => $"{root}/sys/class/tty", _ => $"{root}/sys/bus/gpio/devices" }))
        {
            try
            {
                if (!IsCalled(device, kind, name, root))
                {
                    continue;
                }

                var node = kind == "usb"
                    ? string.Create(CultureInfo.InvariantCulture, $"{root}/dev/bus/usb/{int.Parse(Read(device, "busnum"), CultureInfo.InvariantCulture):000}/{int.Parse(Read(device, "devnum"), CultureInfo.InvariantCulture):000}")
                    : $"{root}/dev/{Path.GetFileName(device)}";
                found = found is null ? node : throw new EdgeHostException(ErrorKind.Infeasible, $"device {source}: {found} and {node} are both called so; name the node itself, or what only one of them has");
            }
            catch (Exception e) when (e is IOException or LinuxException or FormatException)
            {
                // Going in this moment; or one that tells nothing of itself, and has no name.
            }
        }

        // The kernel tells of it a moment before its node is there.
        return found is not null && Path.Exists(found) ? found : null;
    }

    private static (string Kind, string Name) Split(string source) =>
        source.IndexOf('=', StringComparison.Ordinal) is > 0 and var at ? (source[..at], source[(at + 1)..]) : (string.Empty, string.Empty);

    private static string[] Entries(string directory) => Directory.Exists(directory) ? Directory.GetFileSystemEntries(directory) : [];

    private static bool IsCalled(string device, string kind, string name, string root) => kind switch
    {
        "i2c" => Read(device, "name") == name || HasAlias(Path.Combine(device, "device"), name),

        "spi" => IsSelected(Path.GetFileName(device), name, root),

        "tty" => IsLineOf(device, name, root),

        // Its interfaces, which are listed beside it, have no number of their own.
        "usb" => File.Exists(Path.Combine(device, "devnum"))
            && (Path.GetFileName(device) == name || $"{Read(device, "idVendor")}:{Read(device, "idProduct")}" == name || Read(device, "serial") == name),
        "gpiochip" => HasAlias(device, name) || GpioChip.Read($"{root}/dev/{Path.GetFileName(device)}").Label == name,
        _ => GpioChip.Read($"{root}/dev/{Path.GetFileName(device)}").Lines.Contains(name),
    };

    // "spidev10.0" is what line 0 selects at controller spi10, whose name is that of the device that it is.
    private static bool IsSelected(string node, string name, string root)
    {
        var number = node["spidev".Length..];
        var select = name.LastIndexOf('.');
        if (select < 1 || !number.EndsWith(name[select..], StringComparison.Ordinal))
        {
            return false;
        }

        var controller = $"{root}/sys/class/spi_master/spi{number[..number.IndexOf('.')]}/device";
        return HasAlias(controller, name[..select]) || Path.GetFileName(new FileInfo(controller).LinkTarget) == name[..select];
    }

    // What a line hangs on, as udev says it by links beneath /dev/serial where there is udev: the interface of a USB device, and
    // that, or what of the board itself it is. Consoles hang on nothing.
    private static bool IsLineOf(string line, string name, string root)
    {
        var above = Path.Exists(line + "/device") ? Directory.ResolveLinkTarget(line, returnFinalTarget: false)?.FullName : null;
        var isUsb = false;
        while (!isUsb && Path.GetDirectoryName(above) is { } next && Path.GetFileName(next) is not ("devices" or ""))
        {
            above = next;
            isUsb = File.Exists(Path.Combine(above, "devnum"));
            if (Path.GetFileName(above) == name || HasAlias(above, name) || IsCalled(above, "usb", name, root))
            {
                return true;
            }
        }

        return false;
    }

    private static bool HasAlias(string device, string name) =>
        Read(device, "uevent").Split('\n').Any(line => line.StartsWith("OF_ALIAS_", StringComparison.Ordinal) && line.EndsWith('=' + name, StringComparison.Ordinal));

    private static string Read(string device, string file) =>
        Path.Combine(device, file) is var path && File.Exists(path) ? File.ReadAllText(path).Trim() : string.Empty;
}
