using System.Security.Cryptography;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>
/// A <see cref="DurableFile"/> that knows when it is damaged: one line with the SHA-256 of the rest, then the rest. A
/// file system may give back zeroes or an older block after a pulled plug; whoever decides by such a file asks here.
/// </summary>
public static class CheckedFile
{
    // {"sha256":"<64 hex>"}\n, so that a file of JSON remains a sequence of JSON values that jq reads.
    private const int HeaderLength = 11 + 64 + 3;

    /// <summary>Writes a file whole, or leaves what was there.</summary>
    /// <param name="path">An absolute path; its directory exists.</param>
    /// <param name="content">What is to be read again.</param>
    /// <param name="mode">Permission bits.</param>
    /// <exception cref="LinuxException">A step failed; the old content is untouched.</exception>
    public static void Write(string path, ReadOnlySpan<byte> content, uint mode = 0x180)
    {
        var bytes = new byte[HeaderLength + content.Length];
        content.CopyTo(bytes.AsSpan(HeaderLength));
        WriteHeader(content, bytes);
        DurableFile.Write(path, bytes, mode);
    }

    /// <summary>Reads a file and checks it.</summary>
    /// <param name="path">An absolute path.</param>
    /// <param name="maximumBytes">The largest content that makes sense.</param>
    /// <returns>The content; null when there is no such file.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: cut, changed or too large.</exception>
    public static byte[]? Read(string path, int maximumBytes)
    {
        byte[] bytes;
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 1);
            if (file.Length > HeaderLength + (long)maximumBytes)
            {
                throw new EdgeHostException(ErrorKind.Corrupt, $"{path} is damaged: {file.Length} bytes, at most {maximumBytes} make sense");
            }

            bytes = new byte[file.Length];
            file.ReadExactly(bytes);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
        catch (DirectoryNotFoundException)
        {
            return null;
        }

        if (bytes.Length < HeaderLength)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{path} is damaged: {bytes.Length} bytes are less than its header");
        }

        var content = bytes.AsSpan(HeaderLength);
        Span<byte> expected = stackalloc byte[HeaderLength];
        WriteHeader(content, expected);
        return bytes.AsSpan(0, HeaderLength).SequenceEqual(expected)
            ? content.ToArray()
            : throw new EdgeHostException(ErrorKind.Corrupt, $"{path} is damaged: its content does not have the SHA-256 in its first line");
    }

    /// <summary>Puts a damaged file aside, so that nothing decides by it again and somebody can look at it.</summary>
    /// <param name="path">An absolute path.</param>
    /// <returns>The new name: the latest damaged version alone is kept.</returns>
    public static string SetAside(string path)
    {
        var aside = path + ".damaged";
        File.Move(path, aside, overwrite: true);
        Files.FlushDirectory(Path.GetDirectoryName(path) ?? "/");
        return aside;
    }

    private static void WriteHeader(ReadOnlySpan<byte> content, Span<byte> header)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(content, hash);
        "{\"sha256\":\""u8.CopyTo(header);
        Convert.TryToHexStringLower(hash, header.Slice(11, 64), out _);
        "\"}\n"u8.CopyTo(header[75..]);
    }
}
