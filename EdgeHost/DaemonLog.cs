using System.Globalization;
using System.Text;
using EdgeHost.Errors;
using Microsoft.Extensions.Logging;

namespace EdgeHost;

/// <summary>
/// The daemon's log: one line for each message to standard error, with a priority in front where the journal reads it
/// (sd-daemon(3)), and with the time where nobody else adds it.
/// </summary>
internal sealed class DaemonLog(Stream output, bool journal) : ILoggerProvider
{
    private readonly Lock _lock = new();

    /// <summary>The least that our own parts say; may be changed at any time.</summary>
    internal LogLevel Least { get; set; } = LogLevel.Information;

    public ILogger CreateLogger(string categoryName) => new Logger(this, categoryName);

    public void Dispose()
    {
    }

    private void Write(LogLevel level, string text)
    {
        var line = new StringBuilder(text.Length + 32);
        foreach (var part in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            // The journal takes each line for a message of its own.
            _ = journal
                ? line.Append(CultureInfo.InvariantCulture, $"<{Priority(level)}>{part.TrimEnd()}\n")
                : line.Append(CultureInfo.InvariantCulture, $"{DateTimeOffset.Now:HH:mm:ss} {Word(level)} {part.TrimEnd()}\n");
        }

        var bytes = Encoding.UTF8.GetBytes(line.ToString());
        lock (_lock)
        {
            output.Write(bytes);
        }
    }

    private static int Priority(LogLevel level) => level switch
    {
        LogLevel.Critical => 2,
        LogLevel.Error => 3,
        LogLevel.Warning => 4,
        LogLevel.Information => 6,
        _ => 7,
    };

    private static string Word(LogLevel level) => level switch
    {
        LogLevel.Critical => "critical",
        LogLevel.Error => "error",
        LogLevel.Warning => "warning",
        LogLevel.Information => "info",
        _ => "debug",
    };

    private sealed class Logger(DaemonLog owner, string category) : ILogger
    {
        // The framework's own parts say what happens at Information; a line for each request is not for a board's journal.
        // Kestrel warns of every connection that a handler has taken over for good, as attach does.
        private readonly LogLevel? _least = category.StartsWith("EdgeHost", StringComparison.Ordinal) ? null
            : category.StartsWith("Microsoft.AspNetCore.Server.Kestrel", StringComparison.Ordinal) ? LogLevel.Error
            : LogLevel.Warning;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= (_least ?? owner.Least) && logLevel != LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel))
            {
                var message = formatter(state, exception);
                owner.Write(logLevel, exception switch
                {
                    null => message,

                    // Its message says all that a user can do something with; a defect needs its trace.
                    EdgeHostException { Kind: not ErrorKind.Internal } known => $"{message}: {known.Message}",
                    _ => $"{message}\n{exception}",
                });
            }
        }
    }
}
