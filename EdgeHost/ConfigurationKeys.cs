using System.Globalization;
using System.Net;
using EdgeHost.Cli;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Linux;
using Microsoft.Extensions.Logging;

namespace EdgeHost;

/// <summary>The type of a key's value, as an error names it.</summary>
internal enum ConfigurationType
{
    /// <summary>A JSON string.</summary>
    Text,

    /// <summary>true or false.</summary>
    Flag,

    /// <summary>A whole number.</summary>
    Number,

    /// <summary>A number of bytes, or a string like <c>"64m"</c>.</summary>
    Size,

    /// <summary>A number with a fraction.</summary>
    Fraction,
}

/// <summary>A key of the configuration: its name, its type, and what it changes.</summary>
/// <param name="Name">The path with dots; <c>NAME</c> stands for a name of the operator's choice.</param>
/// <param name="Type">What its value must be.</param>
/// <param name="Set">Makes the changed draft; throws <see cref="EdgeHostException"/> without place for a value that will not do.</param>
internal sealed record ConfigurationKey(string Name, ConfigurationType Type, Action<ConfigurationDraft, ConfigurationValue> Set)
{
    /// <summary>The variable that sets it too: <c>EDGEHOST_</c>, upper case, words apart; null for keys under a name of choice.</summary>
    internal string? Variable => Name.Contains("NAME", StringComparison.Ordinal)
        ? null
        : "EDGEHOST_" + string.Concat(Name.Select(c => c == '.' ? "_" : char.IsUpper(c) ? $"_{c}" : char.ToUpperInvariant(c).ToString()));
}

/// <summary>A value that has the type of its key, and the name of choice that stood in its path.</summary>
internal readonly record struct ConfigurationValue(string Name, string Text, long Number, decimal Fraction, bool Flag);

/// <summary>A configuration that is being read.</summary>
internal sealed class ConfigurationDraft
{
    internal Configuration Value { get; set; } = new();

    internal Uri? MqttUrl { get; set; }

    /// <summary>All of mqtt but its address, which may be read last.</summary>
    internal MqttConfiguration Mqtt { get; set; } = new() { Url = new Uri("mqtt://unset") };

    internal bool MqttGiven { get; set; }

    /// <summary>What was set, by its key, as it was written and where.</summary>
    internal Dictionary<string, ConfigurationLine> Given { get; } = new(StringComparer.Ordinal);

    internal Dictionary<string, RegistryConfiguration> Registries { get; } = new(StringComparer.Ordinal);

    internal Configuration Finish()
    {
        if (MqttGiven && MqttUrl is null)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "mqtt is given without mqtt.url; name the broker, or take mqtt away");
        }

        var mqtt = MqttUrl is null ? null : Mqtt with { Url = MqttUrl };
        if (mqtt is not null && (mqtt.CertFile is null) != (mqtt.KeyFile is null))
        {
            throw new EdgeHostException(ErrorKind.Invalid, "mqtt.certFile and mqtt.keyFile go together");
        }

        if (mqtt is { PasswordFile: not null, User: null })
        {
            throw new EdgeHostException(ErrorKind.Invalid, "mqtt.passwordFile is given without mqtt.user");
        }

        foreach (var (name, registry) in Registries)
        {
            if (registry.Insecure && (registry.PlainHttp || registry.CaFile is not null))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"registries.{name}: insecure goes without plainHttp and caFile");
            }

            if (registry is { PlainHttp: true, CaFile: not null })
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"registries.{name}: plainHttp and caFile exclude each other");
            }

            if ((registry.PasswordFile is null) != (registry.User is null))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"registries.{name}.user and passwordFile go together");
            }
        }

        return Value with { Mqtt = mqtt, Registries = Registries };
    }

    internal void Registry(string name, Func<RegistryConfiguration, RegistryConfiguration> change) =>
        Registries[name] = change(Registries.GetValueOrDefault(name) ?? new RegistryConfiguration());
}

/// <summary>All keys. <c>docs/configuration.md</c> has a row for each; a test compares them.</summary>
internal static class ConfigurationKeys
{
    private const long Kibi = 1024;

    internal static IReadOnlyList<ConfigurationKey> All { get; } =
    [
        new("profile", ConfigurationType.Text, (d, v) => d.Value = d.Value with { Profile = Profile(v.Text) }),
        new("devices.allow", ConfigurationType.Text, (d, v) => d.Value = d.Value with { AllowedDevices = Devices(v.Text) }),
        new("thermal.warn", ConfigurationType.Number, (d, v) => d.Value = d.Value with { HotCelsius = (int)Within(v.Number, 40, 120) }),

        // What only edgehost check asks after, which reads it from the listing.
        new("watchdog.driver", ConfigurationType.Text, static (_, v) => Driver(v.Text)),
        new("watchdog.maxTimeout", ConfigurationType.Number, static (_, v) => Within(v.Number, 1, 86_400)),
        new("device.id", ConfigurationType.Text, (d, v) => d.Value = d.Value with { DeviceId = DeviceId(v.Text) }),
        new("mqtt.url", ConfigurationType.Text, (d, v) => (d.MqttUrl, d.MqttGiven) = (BrokerUrl(v.Text), true)),
        new("mqtt.user", ConfigurationType.Text, (d, v) => Mqtt(d, m => m with { User = v.Text })),
        new("mqtt.passwordFile", ConfigurationType.Text, (d, v) => Mqtt(d, m => m with { PasswordFile = FilePath(v.Text) })),
        new("mqtt.caFile", ConfigurationType.Text, (d, v) => Mqtt(d, m => m with { CaFile = FilePath(v.Text) })),
        new("mqtt.certFile", ConfigurationType.Text, (d, v) => Mqtt(d, m => m with { CertFile = FilePath(v.Text) })),
        new("mqtt.keyFile", ConfigurationType.Text, (d, v) => Mqtt(d, m => m with { KeyFile = FilePath(v.Text) })),
        new("mqtt.keepAlive", ConfigurationType.Number, (d, v) => Mqtt(d, m => m with { KeepAliveSeconds = (int)Within(v.Number, 5, 3600) })),
        new("broker.enabled", ConfigurationType.Flag, (d, v) => d.Value = d.Value with { Broker = d.Value.Broker with { Enabled = v.Flag } }),
        new("broker.listen", ConfigurationType.Text, (d, v) => d.Value = d.Value with { Broker = d.Value.Broker with { Listen = Listen(v.Text) } }),
        new("registries.NAME.plainHttp", ConfigurationType.Flag, (d, v) => d.Registry(v.Name, r => r with { PlainHttp = v.Flag })),
        new("registries.NAME.insecure", ConfigurationType.Flag, (d, v) => d.Registry(v.Name, r => r with { Insecure = v.Flag })),
        new("registries.NAME.caFile", ConfigurationType.Text, (d, v) => d.Registry(v.Name, r => r with { CaFile = FilePath(v.Text) })),
        new("registries.NAME.user", ConfigurationType.Text, (d, v) => d.Registry(v.Name, r => r with { User = v.Text })),
        new("registries.NAME.passwordFile", ConfigurationType.Text, (d, v) => d.Registry(v.Name, r => r with { PasswordFile = FilePath(v.Text) })),
        new("defaults.memory", ConfigurationType.Size, (d, v) => d.Value = d.Value with { Defaults = d.Value.Defaults with { Memory = Within(v.Number, ResourceLimits.SmallestMemoryBytes, long.MaxValue) } }),
        new("defaults.cpus", ConfigurationType.Fraction, (d, v) => d.Value = d.Value with { Defaults = d.Value.Defaults with { NanoCpus = Cpus(v.Fraction) } }),
        new("defaults.pids", ConfigurationType.Number, (d, v) => d.Value = d.Value with { Defaults = d.Value.Defaults with { Pids = Within(v.Number, 1, 4_194_304) } }),
        new("reserve.memory", ConfigurationType.Size, (d, v) => d.Value = d.Value with { Reserve = d.Value.Reserve with { Memory = Within(v.Number, 0, long.MaxValue) } }),
        new("reserve.pids", ConfigurationType.Number, (d, v) => d.Value = d.Value with { Reserve = d.Value.Reserve with { Pids = Within(v.Number, 0, 4_194_304) } }),
        new("network.bridge", ConfigurationType.Text, (d, v) => d.Value = d.Value with { Network = d.Value.Network with { Bridge = Interface(v.Text) } }),
        new("network.pools", ConfigurationType.Text, (d, v) => d.Value = d.Value with { Network = d.Value.Network with { Pools = Pools(v.Text) } }),
        new("network.ipv6", ConfigurationType.Flag, (d, v) => d.Value = d.Value with { Network = d.Value.Network with { IPv6 = v.Flag } }),
        new("userns.mode", ConfigurationType.Text, (d, v) => d.Value = d.Value with { Userns = d.Value.Userns with { Host = IsHost(v.Text) } }),
        new("userns.rangeFile", ConfigurationType.Text, (d, v) => d.Value = d.Value with { Userns = d.Value.Userns with { RangeFile = FilePath(v.Text) } }),
        new("log.maxSize", ConfigurationType.Size, (d, v) => d.Value = d.Value with { Log = d.Value.Log with { MaxSize = Within(v.Number, LogLimits.LeastBytes, LogLimits.MostBytes) } }),
        new("log.maxFiles", ConfigurationType.Number, (d, v) => d.Value = d.Value with { Log = d.Value.Log with { MaxFiles = (int)Within(v.Number, 2, LogLimits.MostFiles) } }),
        new("log.maxTotal", ConfigurationType.Size, (d, v) => d.Value = d.Value with { Log = d.Value.Log with { MaxTotal = Within(v.Number, LogConfiguration.LeastTotal, long.MaxValue) } }),
        new("images.keepUnused", ConfigurationType.Size, (d, v) => d.Value = d.Value with { Images = new() { KeepUnused = Within(v.Number, 0, long.MaxValue) } }),
        new("logLevel", ConfigurationType.Text, (d, v) => d.Value = d.Value with { LogLevel = Level(v.Text) }),
        new("cgroupRoot", ConfigurationType.Text, (d, v) => d.Value = d.Value with { CgroupRoot = CgroupPath(v.Text) }),
    ];

    /// <summary>Bytes from <c>64m</c>, <c>1g</c>, <c>512k</c>, <c>1048576</c> (factors of 1024, as Docker reads them).</summary>
    internal static bool TryParseSize(string text, out long bytes)
    {
        var unit = text.Length > 0 ? char.ToLowerInvariant(text[^1]) : ' ';
        var letters = text.Length > 2 && unit == 'b' ? 2 : 1;
        unit = letters == 2 ? char.ToLowerInvariant(text[^2]) : unit;
        var factor = unit switch { 'k' => Kibi, 'm' => Kibi * Kibi, 'g' => Kibi * Kibi * Kibi, 't' => Kibi * Kibi * Kibi * Kibi, 'b' => 1, _ => 0 };
        var number = factor == 0 ? text : text[..^letters];
        factor = factor == 0 ? 1 : factor;
        var good = decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount)
            && amount * factor <= long.MaxValue;
        bytes = good ? (long)(amount * factor) : 0;
        return good;
    }

    private static void Mqtt(ConfigurationDraft draft, Func<MqttConfiguration, MqttConfiguration> change) =>
        (draft.Mqtt, draft.MqttGiven) = (change(draft.Mqtt), true);

    private static string Profile(string text) => text == BoardProfiles.None || BoardProfiles.Names.Contains(text)
        ? text
        : throw Bad($"\"{text}\" is not {string.Join(", ", BoardProfiles.Names)} or {BoardProfiles.None}");

    private static string Devices(string text)
    {
        foreach (var each in text.Split(',', StringSplitOptions.TrimEntries))
        {
            if (each != "*" && !each.StartsWith("/dev/", StringComparison.Ordinal) && !DeviceNames.Has(each))
            {
                throw Bad($"\"{each}\" is not a path beneath /dev, or i2c=, spi=, gpiochip=, gpioline=, usb= or tty= and a name; a * at its end stands for all that begin so");
            }
        }

        return text;
    }

    private static void Driver(string text)
    {
        if (!text.All(static c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-'))
        {
            throw Bad($"\"{text}\" is not a driver's name, as in bcm2835-wdt");
        }
    }

    private static string DeviceId(string text) =>
        text.Length is >= 1 and <= 64 && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-')
            ? text
            : throw Bad($"\"{text}\" is not 1 to 64 letters, digits, _ or -");

    private static Uri BrokerUrl(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var url) && url.Scheme is "mqtt" or "mqtts" && url.Host.Length > 0 && url.AbsolutePath is "" or "/" && url.UserInfo.Length == 0
            ? url
            : throw Bad($"\"{text}\" is not mqtt://HOST[:PORT] or mqtts://HOST[:PORT]; user and password have keys of their own");

    private static string FilePath(string text) => text.StartsWith('/')
        ? text
        : throw Bad($"\"{text}\" is not an absolute path");

    private static string Listen(string text) => IPEndPoint.TryParse(text, out var point) && point.Port is > 0 and <= 65535
        ? text
        : throw Bad($"\"{text}\" is not ADDRESS:PORT, as in 127.0.0.1:1883 or [::]:1883");

    private static string Interface(string text) =>
        text.Length is >= 1 and <= 15 && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.')
            ? text
            : throw Bad($"\"{text}\" is not the name of an interface: 1 to 15 letters, digits, _, . or -");

    private static string Pools(string text) => text.Split(',').All(each => IPNetwork.TryParse(each.Trim(), out var pool) && pool.PrefixLength is >= 8 and <= 24)
        ? text
        : throw Bad($"\"{text}\" is not a list of IPv4 networks of 8 to 24 bits, as in 10.210.0.0/16, 172.29.0.0/16");

    private static bool IsHost(string text) => text switch
    {
        "auto" => false,
        "host" => true,
        _ => throw Bad($"\"{text}\" is not auto or host"),
    };

    private static LogLevel Level(string text) => text switch
    {
        "debug" => LogLevel.Debug,
        "info" => LogLevel.Information,
        "warning" => LogLevel.Warning,
        "error" => LogLevel.Error,
        _ => throw Bad($"\"{text}\" is not debug, info, warning or error"),
    };

    private static string CgroupPath(string text) => text.Length > 0 && !text.StartsWith('/') && !text.EndsWith('/') && !text.Split('/').Any(p => p is "" or "." or "..")
        ? text
        : throw Bad($"\"{text}\" is not a path relative to the root of the cgroup hierarchy, as in edgehost.slice/containers");

    private static long Cpus(decimal cpus) => cpus is >= 0.01m and <= 4096m
        ? (long)(cpus * 1_000_000_000)
        : throw Bad(string.Create(CultureInfo.InvariantCulture, $"{cpus} is not between 0.01 and 4096 CPUs"));

    private static long Within(long number, long least, long most) => number >= least && number <= most
        ? number
        : throw Bad(most == long.MaxValue
            ? string.Create(CultureInfo.InvariantCulture, $"{number} is less than {least}")
            : string.Create(CultureInfo.InvariantCulture, $"{number} is not between {least} and {most}"));

    private static EdgeHostException Bad(string why) => new(ErrorKind.Invalid, why);
}
