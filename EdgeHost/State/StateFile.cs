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
/// it wrote is whole, or the file was damaged; only the last batch can have been cut off by a lost power, and nobody was
/// told that it was kept.
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

    /// <summary>Opens a file and locks it; makes an empty one where there is none.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: another process has it; or the disk or its permissions.</exception>
    internal static StateFile Open(string path)
    {
        var file = OpenLocked(path, FileMode.OpenOrCreate);
        var isNew = RandomAccess.GetLength(file) == 0;
        return new StateFile(path, file, isNew);
    }

    /// <summary>Reads all rows; a last batch that was cut off is cut away.</summary>
    /// <param name="rows">JSON by key.</param>
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
                if (_base == 0 || next < length)
                {
                    return reason;
                }

                // The power went while it was written.
                RandomAccess.SetLength(_file, at);
                RandomAccess.FlushToDisk(_file);
                break;
            }

            at = next;
            _base = _base == 0 ? at : _base;
        }

        _end = at;
        return null;
    }

    /// <summary>Adds a batch; on disk when this returns, or not there at all.</summary>
    internal void Append(Dictionary<string, string?> batch)
    {
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
    internal void Rewrite(Dictionary<string, string> rows)
    {
        var directory = Path.GetDirectoryName(Path.GetFullPath(_path))!;
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
        Files.FlushDirectory(directory);
    }

    /// <summary>Renames the file while it is still locked, then lets it go.</summary>
    /// <returns>Its new name; of each kind the last three are kept.</returns>
    internal string PutAside(StateOutcome outcome)
    {
        var word = outcome == StateOutcome.Newer ? "newer" : "damaged";
        var aside = $"{_path}.{word}-{DateTime.UtcNow.ToString("yyyyMMdd'T'HHmmss'.'fffffff'Z'", CultureInfo.InvariantCulture)}";
        var directory = Path.GetDirectoryName(Path.GetFullPath(_path))!;
        File.Move(_path, aside);
        var kept = Directory.GetFiles(directory, $"{Path.GetFileName(_path)}.{word}-*");
        Array.Sort(kept, StringComparer.Ordinal);
        foreach (var old in kept.AsSpan(0, Math.Max(0, kept.Length - CopiesKeptAside)))
        {
            File.Delete(old);
        }

        Files.FlushDirectory(directory);
        Dispose();
        return aside;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

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
    /// <param name="next">Where it ends; where it is bad, how far it may have been meant to go.</param>
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
            // A file system may have made room for what it did not get any more: zeros up to the end. No rows are zeros.
            next = IsZeroFrom(at + SectionBytes, length) ? length : at;
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
            var (keyLength, jsonLength) = (BinaryPrimitives.ReadUInt16LittleEndian(body.AsSpan(place)), BinaryPrimitives.ReadInt32LittleEndian(body.AsSpan(place + 2)));
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

    private bool IsZeroFrom(long at, long length)
    {
        var bytes = new byte[4096];
        while (at < length)
        {
            var count = ReadAt(at, bytes);
            if (bytes.AsSpan(0, count).IndexOfAnyExcept((byte)0) >= 0)
            {
                return false;
            }

            at += count;
        }

        return true;
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
