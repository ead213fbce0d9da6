using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;
using Microsoft.Win32.SafeHandles;

namespace EdgeHost.State;

/// <summary>
/// The file of the database, held exclusively (flock): a header, all rows of the last rewriting, and after them the
/// batches since, each whole or not there. A rewriting goes into a new file that takes the name of the old one, so what
/// it wrote is whole, or the file was damaged. Each batch is flushed before the next is written, so a lost power can spoil
/// the last one alone, in any order of its sectors, and nobody was told that it was kept: what is bad and has nothing
/// whole behind it is cut off.
/// </summary>
/// <remarks>
/// Numbers are little-endian. Header: eight bytes of magic, u32 schema version. Then sections: u32 length of the rows,
/// u32 check of that length and its place, eight bytes of the SHA-256 of the rows, the rows. The first section is that
/// of the rewriting. A row: u16 length of its key, i32 length of its JSON (-1: it was deleted), key, JSON.
/// </remarks>
internal sealed class StateFile : IDisposable
{
    private const int HeaderBytes = 12;
    private const int SectionBytes = 16;
    private const int RowBytes = 6;
    private const int CopiesKeptAside = 3;

    // Beyond it no section of ours goes: rows are at most 1 MiB, and those of a host are some thousands of small ones.
    private const int MaximumSectionBytes = 256 << 20;

    private readonly string _path;
    private SafeFileHandle _file;
    private long _base;
    private long _end;
    private bool _isNameUnflushed;

    private StateFile(string path, SafeFileHandle file, bool isNew)
    {
        _path = path;
        _file = file;
        IsNew = isNew;
    }

    private static ReadOnlySpan<byte> Magic => "edgehst\n"u8;

    /// <summary>Whether there was none before.</summary>
    internal bool IsNew { get; }

    /// <summary>The bytes that were added since the last rewriting.</summary>
    internal long AddedBytes => _end - _base;

    /// <summary>The bytes of the last rewriting.</summary>
    internal long RewrittenBytes => _base;

    /// <summary>What was cut off its end when it was read, in one line; null when nothing was.</summary>
    internal string? CutOff { get; private set; }

    /// <summary>Opens a file and locks it; makes an empty one where there is none.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: another process has it; or the disk or its permissions.</exception>
    internal static StateFile Open(string path)
    {
        var file = OpenLocked(path, FileMode.OpenOrCreate);
        var isNew = RandomAccess.GetLength(file) == 0;
        return new StateFile(path, file, isNew);
    }

    /// <summary>Reads all rows; a last batch that is not whole is cut away.</summary>
    /// <param name="rows">JSON by key; of a damaged file those that were written before the damage.</param>
    /// <param name="outcome">Why it cannot be used.</param>
    /// <returns>Null, or in one line why the file cannot be trusted.</returns>
    internal string? Read(Dictionary<string, string> rows, out StateOutcome outcome)
    {
        outcome = StateOutcome.Damaged;
        var length = RandomAccess.GetLength(_file);
        if (length == 0)
        {
            Rewrite(rows);
            return null;
        }

        var header = new byte[HeaderBytes];
        if (ReadAt(0, header) < HeaderBytes || !header.AsSpan().StartsWith(Magic))
        {
            return $"it does not begin as a state database does (it has {length} bytes)";
        }

        var version = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(Magic.Length));
        if (version > StateDatabase.SchemaVersion)
        {
            outcome = StateOutcome.Newer;
            return $"its schema has version {version}, this program knows up to {StateDatabase.SchemaVersion}";
        }

        var at = (long)HeaderBytes;
        _base = 0;
        while (at < length || _base == 0)
        {
            var reason = ReadSection(at, length, rows, out var next);
            if (reason is not null)
            {
                if (_base == 0 || IsFollowed(at, length))
                {
                    return reason;
                }

                CutOff = $"its last {length - at} bytes are no whole batch";
                RandomAccess.SetLength(_file, at);
                break;
            }

            at = next;
            _base = _base == 0 ? at : _base;
        }

        // What a process wrote that was killed before its flush is there to be read, and is decided by from now on.
        RandomAccess.FlushToDisk(_file);
        _end = at;
        return null;
    }

    /// <summary>Adds a batch; on disk when this returns, or not there at all.</summary>
    internal void Append(Dictionary<string, string?> batch)
    {
        if (_isNameUnflushed)
        {
            FlushName();
        }

        var section = Section(batch, _end);
        try
        {
            RandomAccess.Write(_file, section, _end);
            RandomAccess.FlushToDisk(_file);
            _end += section.Length;
        }
        catch (IOException)
        {
            // What got there of it must not stand before the next one.
            RandomAccess.SetLength(_file, _end);
            throw;
        }
    }

    /// <summary>Puts a new file with these rows alone in the place of this one.</summary>
    /// <param name="rows">All rows.</param>
    /// <param name="aside">The name under which this one stays; null for none.</param>
    internal void Rewrite(Dictionary<string, string> rows, string? aside = null)
    {
        var next = _path + ".new";
        var all = new Dictionary<string, string?>(rows.Count, StringComparer.Ordinal);
        foreach (var (key, json) in rows)
        {
            all[key] = json;
        }

        var section = Section(all, HeaderBytes);
        var header = new byte[HeaderBytes];
        Magic.CopyTo(header);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(Magic.Length), StateDatabase.SchemaVersion);
        var file = OpenLocked(next, FileMode.Create);
        try
        {
            RandomAccess.Write(file, header, 0);
            RandomAccess.Write(file, section, HeaderBytes);
            RandomAccess.FlushToDisk(file);

            if (aside is not null)
            {
                File.Move(_path, aside);
            }

            // It is locked before it has the name: nobody gets in between.
            File.Move(next, _path, overwrite: true);
        }
        catch
        {
            file.Dispose();
            File.Delete(next);
            throw;
        }

        _file.Dispose();
        _file = file;
        _base = _end = HeaderBytes + section.Length;
        _isNameUnflushed = true;
        FlushName();
    }

    /// <summary>Keeps the file under another name, once a new one with these rows is whole: a full disk changes nothing.</summary>
    /// <returns>Its other name; of each kind the last three are kept.</returns>
    internal string PutAside(StateOutcome outcome, Dictionary<string, string> rows)
    {
        var word = outcome == StateOutcome.Newer ? "newer" : "damaged";
        var aside = $"{_path}.{word}-{DateTime.UtcNow.ToString("yyyyMMdd'T'HHmmss'.'fffffff'Z'", CultureInfo.InvariantCulture)}";
        var directory = Path.GetDirectoryName(Path.GetFullPath(_path))!;
        Rewrite(rows, aside);
        var kept = Directory.GetFiles(directory, $"{Path.GetFileName(_path)}.{word}-*");
        Array.Sort(kept, StringComparer.Ordinal);
        foreach (var old in kept.AsSpan(0, Math.Max(0, kept.Length - CopiesKeptAside)))
        {
            File.Delete(old);
        }

        return aside;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    // Until then a lost power may bring back the file that had the name before.
    private void FlushName()
    {
        Files.FlushDirectory(Path.GetDirectoryName(Path.GetFullPath(_path))!);
        _isNameUnflushed = false;
    }

    private static SafeFileHandle OpenLocked(string path, FileMode mode)
    {
        try
        {
            var isNew = !File.Exists(path);
            var file = File.OpenHandle(path, mode, FileAccess.ReadWrite, FileShare.None);
            if (isNew)
            {
                File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            }

            return file;
        }
        catch (IOException e) when (e.HResult == (int)Errno.EAGAIN)
        {
            throw new EdgeHostException(
                ErrorKind.Conflict, $"state database {path} is open in another process: is a second daemon running on this data directory?", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw StateDatabase.InWords(e, path);
        }
    }

    /// <summary>Reads one section into the rows.</summary>
    /// <param name="at">Where it begins.</param>
    /// <param name="length">Of the file.</param>
    /// <param name="rows">What it changes.</param>
    /// <param name="next">Where it ends.</param>
    /// <returns>Null, or what is wrong with it.</returns>
    private string? ReadSection(long at, long length, Dictionary<string, string> rows, out long next)
    {
        var head = new byte[SectionBytes];
        next = length;
        if (ReadAt(at, head) < SectionBytes)
        {
            return $"it ends within the head of a section at byte {at}";
        }

        var size = BinaryPrimitives.ReadUInt32LittleEndian(head);
        if (BinaryPrimitives.ReadUInt32LittleEndian(head.AsSpan(4)) != LengthCheck(size, at) || size > MaximumSectionBytes)
        {
            return $"the section at byte {at} has no length that makes sense";
        }

        next = at + SectionBytes + size;
        if (next > length)
        {
            return $"the section at byte {at} has {size} bytes, and the file ends before";
        }

        var body = new byte[size];
        ReadAt(at + SectionBytes, body);
        if (!Sum(body).AsSpan().SequenceEqual(head.AsSpan(8)))
        {
            return $"the section at byte {at} does not have its checksum";
        }

        for (var place = 0; place < body.Length;)
        {
            var left = body.Length - place - RowBytes;
            var keyLength = left < 0 ? 0 : BinaryPrimitives.ReadUInt16LittleEndian(body.AsSpan(place));
            var jsonLength = left < 0 ? 0 : BinaryPrimitives.ReadInt32LittleEndian(body.AsSpan(place + 2));
            if (left < keyLength || left - keyLength < jsonLength)
            {
                return $"the section at byte {at} has a row that is longer than it";
            }

            var key = Encoding.UTF8.GetString(body, place + RowBytes, keyLength);
            place += RowBytes + keyLength;
            if (jsonLength < 0)
            {
                rows.Remove(key);
            }
            else
            {
                rows[key] = Encoding.UTF8.GetString(body, place, jsonLength);
                place += jsonLength;
            }
        }

        return null;
    }

    private static byte[] Section(Dictionary<string, string?> rows, long at)
    {
        var size = 0;
        foreach (var (key, json) in rows)
        {
            size = checked(size + RowBytes + Encoding.UTF8.GetByteCount(key) + (json is null ? 0 : Encoding.UTF8.GetByteCount(json)));
        }

        if (size > MaximumSectionBytes)
        {
            throw new EdgeHostException(ErrorKind.Full, $"{rows.Count} rows have {size} bytes, more than the {MaximumSectionBytes} that are written at once");
        }

        var section = new byte[SectionBytes + size];
        var body = section.AsSpan(SectionBytes);
        var rest = body;
        foreach (var (key, json) in rows)
        {
            var keyLength = Encoding.UTF8.GetBytes(key, rest[RowBytes..]);
            var jsonLength = json is null ? -1 : Encoding.UTF8.GetBytes(json, rest[(RowBytes + keyLength)..]);
            BinaryPrimitives.WriteUInt16LittleEndian(rest, (ushort)keyLength);
            BinaryPrimitives.WriteInt32LittleEndian(rest[2..], jsonLength);
            rest = rest[(RowBytes + keyLength + Math.Max(0, jsonLength))..];
        }

        BinaryPrimitives.WriteUInt32LittleEndian(section, (uint)size);
        BinaryPrimitives.WriteUInt32LittleEndian(section.AsSpan(4), LengthCheck((uint)size, at));
        Sum(body).CopyTo(section, 8);
        return section;
    }

    /// <summary>So that a length is only believed where it was written: a section that was moved, or zeros, are none.</summary>
    private static uint LengthCheck(uint size, long at)
    {
        Span<byte> head = stackalloc byte[12];
        BinaryPrimitives.WriteUInt32LittleEndian(head, size);
        BinaryPrimitives.WriteInt64LittleEndian(head[4..], at);
        return BinaryPrimitives.ReadUInt32LittleEndian(Sum(head));
    }

    private static byte[] Sum(ReadOnlySpan<byte> bytes) => SHA256.HashData(bytes)[..8];

    /// <summary>Whether a whole section stands somewhere behind a bad one: then it was not the last, and is damaged.</summary>
    private bool IsFollowed(long at, long length)
    {
        var rest = new byte[length - at];
        ReadAt(at, rest);
        for (var place = 1; place + SectionBytes < rest.Length; place++)
        {
            var size = BinaryPrimitives.ReadUInt32LittleEndian(rest.AsSpan(place));
            var body = place + SectionBytes;
            if (size > 0
                && size <= rest.Length - body
                && BinaryPrimitives.ReadUInt32LittleEndian(rest.AsSpan(place + 4)) == LengthCheck(size, at + place)
                && Sum(rest.AsSpan(body, (int)size)).AsSpan().SequenceEqual(rest.AsSpan(place + 8, 8)))
            {
                return true;
            }
        }

        return false;
    }

    private int ReadAt(long at, Span<byte> bytes)
    {
        var done = 0;
        while (done < bytes.Length && RandomAccess.Read(_file, bytes[done..], at + done) is > 0 and var count)
        {
            done += count;
        }

        return done;
    }
}
