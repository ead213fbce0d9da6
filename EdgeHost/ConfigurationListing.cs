using System.Globalization;
using EdgeHost.Cli;
using EdgeHost.Errors;
using EdgeHost.Networks;

namespace EdgeHost;

/// <summary>What holds for each key, and from where it comes, for <c>edgehost config</c>.</summary>
internal static class ConfigurationListing
{
    /// <summary>Reads as the daemon would.</summary>
    /// <param name="file">The file; null for the usual one.</param>
    /// <param name="environment">Asks for a variable.</param>
    /// <exception cref="EdgeHostException">It has an error; see <see cref="ConfigurationReader"/>.</exception>
    internal static IReadOnlyList<ConfigurationLine> Read(string? file, Func<string, string?> environment)
    {
        var draft = new ConfigurationDraft();
        _ = ConfigurationReader.Read(DaemonPaths.From(file, null, null, environment), environment, draft);
        var lines = new List<ConfigurationLine>();
        foreach (var key in ConfigurationKeys.All)
        {
            if (key.Variable is not null)
            {
                lines.Add(draft.Given.GetValueOrDefault(key.Name) ?? new ConfigurationLine(key.Name, DefaultOf(key.Name), "default"));
            }
        }

        // Those under a name of choice have no place of their own among the keys.
        lines.AddRange(draft.Given.Values.Where(given => !lines.Exists(line => line.Key == given.Key)).OrderBy(given => given.Key, StringComparer.Ordinal));
        return lines;
    }

    /// <summary>What holds for a key that nobody has set, as it would be written; null when it is nothing, or found out at the start.</summary>
    internal static string? DefaultOf(string key)
    {
        var usual = new Configuration();
        return key switch
        {
            "thermal.warn" => Text(usual.HotCelsius),
            "mqtt.keepAlive" => "60",
            "broker.listen" => usual.Broker.Listen,
            "defaults.pids" => Text(usual.Defaults.Pids),
            "reserve.memory" => Text(usual.Reserve.Memory),
            "reserve.pids" => Text(usual.Reserve.Pids),
            "network.bridge" => usual.Network.Bridge,
            "network.pools" => string.Join(", ", SubnetPool.Default4),
            "network.ipv6" => usual.Network.IPv6 ? "true" : "false",
            "userns.mode" => "auto",
            "log.maxSize" => Text(usual.Log.MaxSize),
            "log.maxFiles" => Text(usual.Log.MaxFiles),
            "logLevel" => "info",
            _ => null,
        };
    }

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);
}
