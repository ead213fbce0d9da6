using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Images;

/// <summary>
/// Blobs by digest (<c>blobs/sha256/…</c>), and those that are under way (<c>ingest/…</c>). What stays are manifests,
/// indexes and configurations; the blob of a layer goes once the layer is unpacked, because flash is small: what saves an
/// image makes the layer's tar again (<see cref="LayerTar"/>).
/// </summary>
internal sealed partial class ContentStore
{
    private readonly string _blobs;
    private readonly ILogger _logger;

    internal ContentStore(string directory, ILogger logger)
    {
        _logger = logger;
        _blobs = Path.Combine(directory, "blobs");
        Ingest = Path.Combine(directory, "ingest");
        Images = Path.Combine(directory, "images");
        Directory.CreateDirectory(Path.Combine(_blobs, "sha256"));
        Directory.CreateDirectory(Path.Combine(_blobs, "sha512"));
        Directory.CreateDirectory(Ingest);
        Directory.CreateDirectory(Images);
    }

    /// <summary>Where blobs grow.</summary>
    internal string Ingest { get; }

    /// <summary>Where the facts of images are.</summary>
    internal string Images { get; }

    internal string PathOf(Digest digest) => Path.Combine(_blobs, digest.Algorithm, digest.Hex);

    /// <summary>Where a blob grows.</summary>
    internal string IngestPathOf(Digest digest) => Path.Combine(Ingest, $"{digest.Algorithm}-{digest.Hex}");

    /// <summary>The bytes of a small blob; null when it is not held, or held damaged (then it is fetched again).</summary>
    internal byte[]? TryRead(Digest digest)
    {
        try
        {
            var bytes = File.ReadAllBytes(PathOf(digest));
            if (Matches(digest, bytes))
            {
                return bytes;
            }

            LogDamaged(_logger, digest);
            return null;
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Keeps a small blob, durably.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: the bytes do not have the digest.</exception>
    internal void Write(Digest digest, ReadOnlySpan<byte> bytes)
    {
        if (!Matches(digest, bytes))
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"blob {digest} was to be written with other bytes");
        }

        if (TryRead(digest) is null)
        {
            DurableFile.Write(PathOf(digest), bytes);
        }
    }

    internal void Delete(Digest digest) => DurableFile.Remove(PathOf(digest));

    /// <summary>All blobs that are held.</summary>
    internal IEnumerable<Digest> List()
    {
        foreach (var algorithm in (string[])["sha256", "sha512"])
        {
            foreach (var file in Directory.EnumerateFiles(Path.Combine(_blobs, algorithm)))
            {
                if (Digest.TryParse($"{algorithm}:{Path.GetFileName(file)}", out var digest))
                {
                    yield return digest;
                }
                else if (Path.GetFileName(file).EndsWith(".tmp", StringComparison.Ordinal))
                {
                    // What a killed process left of a DurableFile.
                    File.Delete(file);
                }
            }
        }
    }

    /// <summary>Removes what interrupted pulls and loads left longer ago than that.</summary>
    internal void Sweep(TimeSpan keep)
    {
        foreach (var directory in Directory.EnumerateDirectories(Ingest))
        {
            // A load cannot go on: its archive came from elsewhere.
            Directory.Delete(directory, recursive: true);
        }

        foreach (var file in Directory.EnumerateFiles(Ingest))
        {
            if (DateTime.UtcNow - File.GetLastWriteTimeUtc(file) > keep)
            {
                LogSwept(_logger, file);
                File.Delete(file);
            }
        }
    }

    internal static bool Matches(Digest digest, ReadOnlySpan<byte> bytes) => digest.Algorithm == "sha256"
        ? Digest.OfSha256(bytes) == digest
        : Convert.ToHexStringLower(System.Security.Cryptography.SHA512.HashData(bytes)) == digest.Hex;

    [LoggerMessage(Level = LogLevel.Warning, Message = "Blob {Digest} is damaged on disk; it is fetched again")]
    private static partial void LogDamaged(ILogger logger, Digest digest);

    [LoggerMessage(Level = LogLevel.Information, Message = "Removed {File}, left by an interrupted pull")]
    private static partial void LogSwept(ILogger logger, string file);
}
