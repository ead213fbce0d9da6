using System.Text;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Oci;

namespace Edge.Tests.Api;

/// <summary>An image store in memory, for tests of the API alone: it holds <c>busybox</c> and can pull <c>alpine</c>.</summary>
internal sealed class MemoryImages : IImageStore
{
    private readonly List<Image> _images = [Make("docker.io/library/busybox:latest")];

    private readonly TaskCompletionSource _endless = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Cancelled when the pull of <c>endless</c> is.</summary>
    internal Task EndlessPull => _endless.Task;

    internal long LoadedBytes { get; private set; }

    internal RegistryCredentials? LastCredentials { get; private set; }

    public Task<Image> PullForDeploymentAsync(string reference, IProgress<PullProgress>? progress, CancellationToken cancel) => throw new NotSupportedException();

    public Task<IReadOnlyList<Image>> RemoveUnneededAsync(long keepBytes, IReadOnlySet<string> needed, CancellationToken cancel) => throw new NotSupportedException();

    public async Task<Image> PullAsync(string reference, RegistryCredentials? credentials, IProgress<PullProgress>? progress, CancellationToken cancel)
    {
        await Task.Yield();
        LastCredentials = credentials;
        progress?.Report(new PullProgress("resolving", null, 0, 0));
        reference = reference[(reference.LastIndexOf('/') + 1)..];
        if (reference.StartsWith("broken", StringComparison.Ordinal))
        {
            progress?.Report(new PullProgress("downloading", "sha256:" + new string('a', 64), 1, 2));
            throw new EdgeHostException(ErrorKind.Corrupt, "layer sha256:aaaa is not what its digest promised");
        }

        if (reference.StartsWith("endless", StringComparison.Ordinal))
        {
            progress?.Report(new PullProgress("downloading", "sha256:" + new string('b', 64), 1, 2));
            using var registration = cancel.Register(() => _endless.TrySetCanceled());
            await Task.Delay(Timeout.Infinite, cancel);
        }

        if (!reference.StartsWith("alpine", StringComparison.Ordinal))
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"image {reference} is not in its registry");
        }

        progress?.Report(new PullProgress("downloading", "sha256:" + new string('a', 64), 50, 100));
        var image = Make("docker.io/library/alpine:latest");
        _images.Insert(0, image);
        return image;
    }

    public Task<string?> LoginAsync(string registry, RegistryCredentials credentials, CancellationToken cancel)
    {
        LastCredentials = credentials;
        return credentials.Password == "secret"
            ? Task.FromResult(registry == "docker.io" ? "identity" : null)
            : throw new EdgeHostException(ErrorKind.Denied, $"registry {registry} does not accept the credentials of {credentials}");
    }

    public async Task<IReadOnlyList<Image>> LoadAsync(Stream archive, CancellationToken cancel)
    {
        // As the real store does: a thread that reads without async.
        await Task.Run(
            () =>
            {
                var buffer = new byte[64 * 1024];
                for (int read; (read = archive.Read(buffer)) > 0;)
                {
                    LoadedBytes += read;
                }
            },
            cancel);

        var image = Make("docker.io/library/loaded:latest");
        _images.Insert(0, image);
        return [image];
    }

    public ImageArchive OpenArchive(IReadOnlyList<string> names) =>
        names.All(name => Find(name) is not null) ? new Archive(names) : throw new EdgeHostException(ErrorKind.NotFound, $"No such image: {names.First(name => Find(name) is null)}");

    public Image? Find(string referenceOrId) => _images.Find(i =>
        i.References.Any(r => r == referenceOrId || r == $"docker.io/library/{referenceOrId}" || r == $"docker.io/library/{referenceOrId}:latest")
        || i.Id.ToString() == referenceOrId || i.Id.Hex.StartsWith(referenceOrId, StringComparison.Ordinal));

    public IReadOnlyList<Image> List() => _images;

    public Task<ImageRemoval> RemoveAsync(string referenceOrId, bool force, CancellationToken cancel)
    {
        var image = Find(referenceOrId) ?? throw new EdgeHostException(ErrorKind.NotFound, $"No such image: {referenceOrId}");
        _images.Remove(image);
        return Task.FromResult(new ImageRemoval(image.References, [image.Id.ToString()]));
    }

    public ContainerSnapshot Prepare(string imageId, string containerId, bool durable = true) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing runs in memory");

    public void Tag(string referenceOrId, string name) => throw new NotSupportedException();

    public ContainerSnapshot? FindContainer(string containerId) => null;

    public void Discard(string containerId)
    {
    }

    public void DiscardOthers(Predicate<string> isThere) => throw new NotSupportedException();

    private sealed class Archive(IReadOnlyList<string> names) : ImageArchive
    {
        public override void WriteTo(Stream output, CancellationToken cancel)
        {
            output.Write(Encoding.UTF8.GetBytes("archive of " + string.Join(' ', names)));

            // What is found out in the middle.
            _ = names.Contains("busybox:latest") ? true : throw new EdgeHostException(ErrorKind.Corrupt, "a layer is damaged");
        }

        public override void Dispose()
        {
        }
    }

    private static Image Make(string reference)
    {
        var digest = Digest.OfSha256(Encoding.UTF8.GetBytes(reference));
        var config = new ImageConfig { Os = "linux", Architecture = "amd64", RootFs = new RootFileSystem { DiffIds = [digest.ToString()] } };
        return new Image(digest, digest, [reference], [], config, 4_123_456, DateTimeOffset.UtcNow.AddDays(-3)) { LayerBytes = [4_123_456] };
    }
}
