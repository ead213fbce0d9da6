using System.Globalization;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Logger;

/// <summary>
/// The bound of the logs of all containers together, beside that of each. The daemon writes it into a file among them;
/// the logger, which alone writes logs, keeps to it: where there is more, whoever has most gives up its oldest segment.
/// It looks once a mebibyte was written, and measures only once what was written since could reach the bound.
/// </summary>
public sealed class LogBudget
{
    private const string FileName = "log-budget";
    private const long LookBytes = 1 << 20;
    private const long SayMilliseconds = 60_000;

    private long _written;
    private long _look = LookBytes;
    private long _budget;
    private long _room;
    private long _givenUp;
    private long _sayAt;

    /// <summary>Says how much there may be.</summary>
    /// <param name="containers">The directory of all containers.</param>
    /// <param name="bytes">The bound.</param>
    /// <exception cref="LinuxException">It cannot be written.</exception>
    public static void Set(string containers, long bytes)
    {
        if (Read(containers) != bytes)
        {
            DurableFile.Write($"{containers}/{FileName}", System.Text.Encoding.ASCII.GetBytes(bytes.ToString(CultureInfo.InvariantCulture)));
        }
    }

    /// <summary>Counts what was written, and makes room when it is time.</summary>
    /// <param name="log">The directory of the log to which it was added.</param>
    /// <param name="bytes">How much.</param>
    /// <param name="writerOf">Who writes a log at present; null when nobody does.</param>
    internal void Add(string log, int bytes, Func<string, LogWriter?> writerOf)
    {
        _written += bytes;
        if (_written < _look)
        {
            return;
        }

        _room -= _written;
        _written = 0;
        var containers = Path.GetDirectoryName(Path.GetDirectoryName(log))!;
        var budget = Read(containers);
        if (budget > 0 && (budget != _budget || _room <= 0))
        {
            _budget = budget;
            _room = LookBytes;
            try
            {
                _room = Keep(containers, budget, writerOf);
            }
            catch (Exception e) when (e is EdgeHost.Errors.EdgeHostException or IOException or UnauthorizedAccessException)
            {
                SingleThread.PrintError($"edgehost logger: the logs of all containers cannot be kept within log.maxTotal: {e.Message}\n");
            }
        }

        _look = budget > 0 ? Math.Min(LookBytes, _room) : LookBytes;
    }

    private static long Read(string containers)
    {
        var file = $"{containers}/{FileName}";
        return File.Exists(file) && long.TryParse(File.ReadAllText(file), NumberStyles.None, CultureInfo.InvariantCulture, out var bytes) ? bytes : 0;
    }

    /// <summary>Makes room for a while, so that it is not measured again at once.</summary>
    /// <returns>How much may be written before the next look.</returns>
    private long Keep(string containers, long budget, Func<string, LogWriter?> writerOf)
    {
        var shares = new List<Share>();
        long total = 0;
        foreach (var container in Directory.EnumerateDirectories(containers))
        {
            var share = new Share(container + "/log");
            shares.Add(share);
            total += share.Bytes;
        }

        if (total < budget)
        {
            return budget - total;
        }

        var names = string.Empty;
        var target = budget - (budget / 16);
        while (total > target)
        {
            var most = shares[0];
            foreach (var share in shares)
            {
                most = share.Bytes > most.Bytes ? share : most;
            }

            if (most.Bytes == 0)
            {
                break;
            }

            var given = most.GiveUpOldest(writerOf);
            total -= given;
            _givenUp += given;
            var name = Path.GetFileName(Path.GetDirectoryName(most.Directory))!;
            name = name[..Math.Min(12, name.Length)];
            names = names.Contains(name, StringComparison.Ordinal) ? names : $"{names} {name}";
        }

        if (Environment.TickCount64 >= _sayAt)
        {
            SingleThread.PrintError($"edgehost logger: the logs of all containers reached log.maxTotal ({budget} bytes): the oldest {_givenUp} were given up, those of{names}\n");
            _sayAt = Environment.TickCount64 + SayMilliseconds;
            _givenUp = 0;
        }

        return Math.Max(budget - total, 1);
    }

    /// <summary>What one container has of it.</summary>
    private sealed class Share
    {
        private readonly List<long> _segments;
        private readonly long[] _sizes;
        private int _next;

        internal Share(string directory)
        {
            Directory = directory;
            _segments = LogFormat.ListSegments(directory);
            _sizes = new long[_segments.Count];
            for (var i = 0; i < _sizes.Length; i++)
            {
                _sizes[i] = new FileInfo(PathOf(_segments[i])) is { Exists: true } file ? file.Length : 0;
                Bytes += _sizes[i];
            }
        }

        internal string Directory { get; }

        internal long Bytes { get; private set; }

        internal long GiveUpOldest(Func<string, LogWriter?> writerOf)
        {
            var oldest = _segments[_next];
            if (_next == _segments.Count - 1)
            {
                // An empty one after it, so that their numbers go on: a reader looks for what is higher than its own.
                if (writerOf(Directory) is { } writer)
                {
                    writer.BeginSegment();
                }
                else
                {
                    using var empty = AppendFile.Open(PathOf(oldest + 1), LogWriter.Mode);
                }
            }

            File.Delete(PathOf(oldest));
            var given = _sizes[_next++];
            Bytes -= given;
            return given;
        }

        private string PathOf(long segment) => $"{Directory}/{LogFormat.SegmentName(segment)}";
    }
}
