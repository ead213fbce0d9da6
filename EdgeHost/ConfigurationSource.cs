using EdgeHost.Errors;
using Microsoft.Extensions.Logging;

namespace EdgeHost;

/// <summary>
/// The configuration as it is now. Parts that can take a change while they run say so by <see cref="OnChange"/>; of the
/// others a re-read says that they need a restart.
/// </summary>
public sealed partial class ConfigurationSource
{
    private readonly DaemonPaths _paths;
    private readonly Func<string, string?> _environment;
    private readonly ILogger _log;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, List<Action<Configuration>>> _appliers = new(StringComparer.Ordinal);

    /// <summary>Reads it for the first time.</summary>
    /// <exception cref="EdgeHostException">It has an error; see <see cref="ConfigurationReader"/>.</exception>
    public ConfigurationSource(DaemonPaths paths, Func<string, string?> environment, ILogger log)
    {
        _paths = paths;
        _environment = environment;
        _log = log;
        Current = ConfigurationReader.Read(paths, environment);
    }

    /// <summary>What holds now.</summary>
    public Configuration Current { get; private set; }

    /// <summary>Registers a part that takes a change of a section while it runs.</summary>
    /// <param name="section">The first word of its keys, as in <c>registries</c>.</param>
    /// <param name="apply">Given the new configuration; called one at a time.</param>
    public void OnChange(string section, Action<Configuration> apply)
    {
        lock (_lock)
        {
            if (!_appliers.TryGetValue(section, out var list))
            {
                _appliers[section] = list = [];
            }

            list.Add(apply);
        }
    }

    /// <summary>Reads it again, as SIGHUP asks. An error is said in the log, and what held goes on to hold.</summary>
    /// <returns>Whether it could be read.</returns>
    public bool Reload()
    {
        lock (_lock)
        {
            Configuration next;
            try
            {
                next = ConfigurationReader.Read(_paths, _environment);
            }
            catch (EdgeHostException e)
            {
                LogBroken(_log, e.Message);
                return false;
            }

            var changes = ConfigurationReader.Changes(Current, next);
            Current = next;
            if (changes.Count == 0)
            {
                LogUnchanged(_log, _paths.ConfigFile);
            }

            foreach (var section in changes)
            {
                if (!_appliers.TryGetValue(section, out var appliers))
                {
                    LogNeedsRestart(_log, section);
                    continue;
                }

                appliers.ForEach(apply => apply(next));
                LogApplied(_log, section);
            }

            return true;
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "the configuration was not taken, and the one before holds: {Reason}")]
    private static partial void LogBroken(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "the configuration was read again from {File}; nothing changed")]
    private static partial void LogUnchanged(ILogger log, string file);

    [LoggerMessage(Level = LogLevel.Information, Message = "configuration: {Section} changed and is applied")]
    private static partial void LogApplied(ILogger log, string section);

    [LoggerMessage(Level = LogLevel.Warning, Message = "configuration: {Section} changed; restart the daemon to apply it (containers go on)")]
    private static partial void LogNeedsRestart(ILogger log, string section);
}
