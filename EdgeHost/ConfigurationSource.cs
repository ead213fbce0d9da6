using EdgeHost.Errors;
using Microsoft.Extensions.Logging;

namespace EdgeHost;

/// <summary>
/// The configuration as it is now. Parts that can take a change while they run say so by <see cref="OnChange"/>; of the
/// others a re-read says that they need a restart.
/// </summary>
public sealed partial class ConfigurationSource
{
    // Applied with every re-read: the passwords in the files that they name may have changed alone.
    private static readonly string[] ReadsFiles = ["registries"];

    private readonly DaemonPaths _paths;
    private readonly Func<string, string?> _environment;
    private readonly ILogger _log;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Func<Configuration, bool>> _appliers = new(StringComparer.Ordinal);
    private readonly List<string> _failed = [];

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
    /// <param name="apply">Given the new configuration; called one at a time. False: this change needs a restart. May throw <see cref="EdgeHostException"/>.</param>
    public void OnChange(string section, Func<Configuration, bool> apply)
    {
        lock (_lock)
        {
            _appliers.Add(section, apply);
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
            changes = [.. changes.Union(_failed)];
            _failed.Clear();
            if (changes.Count == 0)
            {
                LogUnchanged(_log, _paths.ConfigFile);
            }

            foreach (var section in changes)
            {
                Apply(section, next, isNews: true);
            }

            foreach (var section in ReadsFiles.Except(changes))
            {
                Apply(section, next, isNews: false);
            }

            return true;
        }
    }

    private void Apply(string section, Configuration next, bool isNews)
    {
        try
        {
            var isApplied = _appliers.TryGetValue(section, out var apply) && apply(next);
            if (isNews && isApplied)
            {
                LogApplied(_log, section);
            }
            else if (isNews)
            {
                LogNeedsRestart(_log, section);
            }
        }
        catch (EdgeHostException e)
        {
            // A password file that is not there, say: it must not end the daemon, which runs well.
            LogNotApplied(_log, section, e.Message);
            _failed.Add(section);
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "the configuration was not taken, and the one before holds: {Reason}")]
    private static partial void LogBroken(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "configuration: {Section} changed and was not applied: {Reason}; mend it and reload again")]
    private static partial void LogNotApplied(ILogger log, string section, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "the configuration was read again from {File}; nothing changed")]
    private static partial void LogUnchanged(ILogger log, string file);

    [LoggerMessage(Level = LogLevel.Information, Message = "configuration: {Section} changed and is applied")]
    private static partial void LogApplied(ILogger log, string section);

    [LoggerMessage(Level = LogLevel.Warning, Message = "configuration: {Section} changed; restart the daemon to apply it (containers go on)")]
    private static partial void LogNeedsRestart(ILogger log, string section);
}
