using System.Buffers;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using EdgeHost.Errors;
using EdgeHost.Oci;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Images;

/// <summary>A manifest or an index as a registry gave it.</summary>
/// <param name="Bytes">The bytes; empty when only the digest was asked for.</param>
/// <param name="MediaType">As the registry said.</param>
/// <param name="Digest">Of the bytes, checked; or as the registry said when only that was asked for.</param>
internal sealed record RemoteManifest(byte[] Bytes, string? MediaType, Digest Digest);

/// <summary>
/// Reads from registries (OCI distribution-spec 1.1, Docker Registry HTTP API v2). What fails for reasons that may pass
/// (network, silence, 429, 5xx) is tried again with growing waits; a blob goes on where it stopped.
/// </summary>
internal sealed partial class RegistryClient(ImageStoreOptions options, ILogger logger) : IDisposable
{
    private static readonly TimeSpan LongestDelay = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan LongestRetryAfter = TimeSpan.FromSeconds(60);

    private static readonly string[] Accepted =
    [
        MediaTypes.ImageIndex, MediaTypes.ImageManifest, MediaTypes.DockerManifestList, MediaTypes.DockerManifest,
    ];

    private readonly ConcurrentDictionary<string, Lazy<RegistryEndpoint>> _endpoints = new(StringComparer.Ordinal);
    private IReadOnlyDictionary<string, RegistryOptions> _registries = options.Registries;

    public void Dispose()
    {
        foreach (var endpoint in _endpoints.Values)
        {
            if (endpoint.IsValueCreated)
            {
                endpoint.Value.Dispose();
            }
        }
    }

    /// <summary>Takes other settings for what is fetched from now on. What is under way ends with its own; nobody disposes those, their connections end by being idle.</summary>
    internal void Use(IReadOnlyDictionary<string, RegistryOptions> registries)
    {
        Volatile.Write(ref _registries, registries);
        _endpoints.Clear();
    }

    /// <summary>Asks a registry, once, whether it takes these credentials.</summary>
    /// <returns>The identity token that it gives in place of the password; null when it gives none.</returns>
    internal async Task<string?> LoginAsync(string registry, RegistryCredentials credentials, CancellationToken cancel)
    {
        var special = Volatile.Read(ref _registries).GetValueOrDefault(registry) ?? new RegistryOptions();
        using var endpoint = new RegistryEndpoint(registry, special with { Credentials = credentials }, options.StallTimeout);
        try
        {
            return await endpoint.LoginAsync(cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (MayPass(e, cancel))
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"registry {registry} cannot be asked: {Words(e)}", e);
        }
    }

    /// <summary>Asks what a tag stands for, without fetching it; null when the registry does not say.</summary>
    internal async Task<Digest?> ResolveAsync(ImageReference image, CancellationToken cancel)
    {
        var endpoint = Endpoint(image);
        return await TryAsync<Digest?>(image.ToString(), async () =>
        {
            using var response = await endpoint.SendAsync(
                HttpMethod.Head, ManifestPath(image, image.Tag!), image.Repository, Accept, cancel).ConfigureAwait(false);
            if (response.StatusCode == HttpStatusCode.MethodNotAllowed)
            {
                return null;
            }

            Check(response, image, image.ToString());
            return response.Headers.TryGetValues("Docker-Content-Digest", out var values) && Digest.TryParse(values.FirstOrDefault(), out var digest)
                ? digest
                : null;
        }, cancel).ConfigureAwait(false);
    }

    /// <summary>Fetches a manifest or an index by its digest, or by the tag of the reference.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: it has another digest.</exception>
    internal async Task<RemoteManifest> FetchManifestAsync(ImageReference image, Digest? digest, CancellationToken cancel)
    {
        var endpoint = Endpoint(image);
        var what = digest is { } known ? $"{image.Name}@{known}" : image.ToString();
        return await TryAsync(what, async () =>
        {
            using var response = await endpoint.SendAsync(
                HttpMethod.Get, ManifestPath(image, digest?.ToString() ?? image.Tag!), image.Repository, Accept, cancel).ConfigureAwait(false);
            Check(response, image, what);
            var bytes = await endpoint.ReadBoundedAsync(response, ImageDocument.MaximumBytes, $"manifest of {what}", cancel).ConfigureAwait(false);
            if (response.Content.Headers.ContentLength is { } promised && promised != bytes.Length)
            {
                throw new IOException($"the connection ended after {bytes.Length} of {promised} bytes");
            }

            if (digest is { } wanted && !ContentStore.Matches(wanted, bytes))
            {
                throw new EdgeHostException(ErrorKind.Corrupt, $"manifest of {what}: the registry sent {Digest.OfSha256(bytes)} in its place");
            }

            return new RemoteManifest(bytes, response.Content.Headers.ContentType?.MediaType, digest ?? Digest.OfSha256(bytes));
        }, cancel).ConfigureAwait(false);
    }

    /// <summary>Fetches a small blob.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: it has another digest or size.</exception>
    internal async Task<byte[]> FetchSmallBlobAsync(ImageReference image, Descriptor blob, CancellationToken cancel)
    {
        var endpoint = Endpoint(image);
        var digest = blob.ContentDigest;
        var what = $"blob {digest} of {image.Name}";
        return await TryAsync(what, async () =>
        {
            using var response = await endpoint.SendAsync(HttpMethod.Get, BlobPath(image, digest), image.Repository, null, cancel).ConfigureAwait(false);
            Check(response, image, what);
            var bytes = await endpoint.ReadBoundedAsync(response, ImageDocument.MaximumBytes, what, cancel).ConfigureAwait(false);
            if (bytes.Length < blob.Size)
            {
                throw new IOException($"the connection ended after {bytes.Length} of {blob.Size} bytes");
            }

            return ContentStore.Matches(digest, bytes)
                ? bytes
                : throw new EdgeHostException(ErrorKind.Corrupt, $"{what}: the registry sent {Digest.OfSha256(bytes)} in its place");
        }, cancel).ConfigureAwait(false);
    }

    /// <summary>Fetches a blob to the end of a file, from where the file ends now.</summary>
    /// <param name="image">Where it is.</param>
    /// <param name="blob">What it is.</param>
    /// <param name="file">Not completed by this.</param>
    /// <param name="arrived">Told of each piece, in bytes.</param>
    /// <param name="cancel">Ends it.</param>
    internal async Task FetchBlobAsync(ImageReference image, Descriptor blob, IngestFile file, Action<int> arrived, CancellationToken cancel)
    {
        var endpoint = Endpoint(image);
        var digest = blob.ContentDigest;
        var what = $"blob {digest} of {image.Name}";
        var failures = 0;
        while (file.Length < blob.Size)
        {
            var before = file.Length;
            try
            {
                await FetchRestAsync(endpoint, image, blob, file, arrived, what, cancel).ConfigureAwait(false);
            }
            catch (Exception e) when (MayPass(e, cancel))
            {
                failures = file.Length > before ? 1 : failures + 1;
                await WaitOrGiveUpAsync(what, failures, e, cancel).ConfigureAwait(false);
            }
        }
    }

    private static string ManifestPath(ImageReference image, string name) => $"/v2/{image.Repository}/manifests/{name}";

    private static string BlobPath(ImageReference image, Digest digest) => $"/v2/{image.Repository}/blobs/{digest}";

    private static void Accept(HttpRequestMessage request)
    {
        foreach (var type in Accepted)
        {
            request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(type));
        }
    }

    /// <summary>Turns what is not success into words.</summary>
    private static void Check(HttpResponseMessage response, ImageReference image, string what)
    {
        if (response.IsSuccessStatusCode)
        {
            return;
        }

        throw response.StatusCode switch
        {
            HttpStatusCode.NotFound => new EdgeHostException(ErrorKind.NotFound, $"{what} is not in registry {image.Registry}"),
            HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden => new EdgeHostException(
                ErrorKind.Denied, $"registry {image.Registry} denies access to {what} (status {(int)response.StatusCode}): it does not exist or needs other credentials"),
            HttpStatusCode.TooManyRequests or HttpStatusCode.RequestTimeout or >= HttpStatusCode.InternalServerError =>
                new RegistryBusyException((int)response.StatusCode, RetryAfter(response)),
            var status => new EdgeHostException(ErrorKind.Unavailable, $"registry {image.Registry} answers {(int)status} to a request for {what}"),
        };
    }

    private static TimeSpan? RetryAfter(HttpResponseMessage response) =>
        response.Headers.RetryAfter is { } after ? after.Delta ?? (after.Date - DateTimeOffset.UtcNow) : null;

    private static bool MayPass(Exception e, CancellationToken cancel) =>
        !cancel.IsCancellationRequested && e is HttpRequestException or IOException or TimeoutException or RegistryBusyException;

    private async Task FetchRestAsync(
        RegistryEndpoint endpoint, ImageReference image, Descriptor blob, IngestFile file, Action<int> arrived, string what, CancellationToken cancel)
    {
        var from = file.Length;
        using var response = await endpoint.SendAsync(
            HttpMethod.Get,
            BlobPath(image, blob.ContentDigest),
            image.Repository,
            request => request.Headers.Range = from > 0 ? new RangeHeaderValue(from, null) : null,
            cancel).ConfigureAwait(false);
        if (response.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{what}: the registry has no more than {from} of {blob.Size} bytes");
        }

        Check(response, image, what);

        // A registry that does not know ranges sends all again (RFC 9110, 14.2).
        long skip = from;
        if (response.StatusCode == HttpStatusCode.PartialContent)
        {
            var start = response.Content.Headers.ContentRange?.From ?? from;
            skip = start <= from ? from - start : throw new IOException($"bytes from {start} were sent in place of {from}");
        }

        var buffer = ArrayPool<byte>.Shared.Rent(64 << 10);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        try
        {
            var body = await response.Content.ReadAsStreamAsync(cancel).ConfigureAwait(false);
            await using (body.ConfigureAwait(false))
            {
                while (file.Length < blob.Size)
                {
                    limit.CancelAfter(options.StallTimeout);
                    var count = await body.ReadAsync(buffer, limit.Token).ConfigureAwait(false);
                    if (count == 0)
                    {
                        throw new IOException($"the connection ended after {file.Length} of {blob.Size} bytes");
                    }

                    var piece = buffer.AsSpan(0, count);
                    if (skip > 0)
                    {
                        var skipped = (int)Math.Min(skip, count);
                        skip -= skipped;
                        piece = piece[skipped..];
                    }

                    if (piece.Length > blob.Size - file.Length)
                    {
                        throw new EdgeHostException(ErrorKind.Corrupt, $"{what} is longer than the {blob.Size} bytes that its manifest says");
                    }

                    if (!piece.IsEmpty)
                    {
                        file.Append(piece);
                        arrived(piece.Length);
                    }
                }
            }
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new TimeoutException($"no byte for {options.StallTimeout.TotalSeconds:0.#} s");
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async Task<T> TryAsync<T>(string what, Func<Task<T>> action, CancellationToken cancel)
    {
        for (var failures = 1; ; failures++)
        {
            try
            {
                return await action().ConfigureAwait(false);
            }
            catch (Exception e) when (MayPass(e, cancel))
            {
                await WaitOrGiveUpAsync(what, failures, e, cancel).ConfigureAwait(false);
            }
        }
    }

    private async Task WaitOrGiveUpAsync(string what, int failures, Exception e, CancellationToken cancel)
    {
        var reason = Words(e);
        if (failures >= options.Attempts)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"{what} cannot be fetched: {reason} ({failures} tries)", e);
        }

        var delay = options.RetryDelay * Math.Pow(2, failures - 1);
        delay = delay < LongestDelay ? delay : LongestDelay;
        delay *= 1 + (Random.Shared.NextDouble() / 2);
        if (e is RegistryBusyException { RetryAfter: { } wish } && wish > delay)
        {
            if (wish > LongestRetryAfter)
            {
                throw new EdgeHostException(ErrorKind.Unavailable, $"{what} cannot be fetched: {reason}, and asks to wait {wish.TotalSeconds:0} s", e);
            }

            delay = wish;
        }

        LogRetry(logger, what, reason, delay.TotalSeconds);
        await Task.Delay(delay, cancel).ConfigureAwait(false);
    }

    private static string Words(Exception e) =>
        (e is HttpRequestException { InnerException: { } inner } ? inner.Message : e.Message).ReplaceLineEndings(" ").TrimEnd('.');

    private RegistryEndpoint Endpoint(ImageReference image) => _endpoints.GetOrAdd(
        image.Registry,
        name => new Lazy<RegistryEndpoint>(() =>
            new RegistryEndpoint(name, Volatile.Read(ref _registries).GetValueOrDefault(name) ?? new RegistryOptions(), options.StallTimeout, options.Logins))).Value;

    [LoggerMessage(Level = LogLevel.Information, Message = "{What}: {Reason}; next try in {Seconds:0.0} s")]
    private static partial void LogRetry(ILogger logger, string what, string reason, double seconds);
}

/// <summary>The registry answered that it cannot answer now.</summary>
internal sealed class RegistryBusyException(int status, TimeSpan? retryAfter) : Exception($"the registry answers {status}")
{
    internal TimeSpan? RetryAfter { get; } = retryAfter;
}
