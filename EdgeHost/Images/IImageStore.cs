using EdgeHost.Errors;
using EdgeHost.Oci;

namespace EdgeHost.Images;

/// <summary>
/// The front door of the image store. Each method throws <see cref="EdgeHostException"/> with the kind that says why:
/// <see cref="ErrorKind.NotFound"/>, <see cref="ErrorKind.Unavailable"/> (registry), <see cref="ErrorKind.Corrupt"/>
/// (digest), <see cref="ErrorKind.Infeasible"/> (architecture), <see cref="ErrorKind.Full"/>, <see cref="ErrorKind.Denied"/>.
/// Nothing becomes visible before every digest and diff_id was checked.
/// </summary>
public interface IImageStore
{
    /// <summary>Fetches, verifies and unpacks an image; what is held already is not fetched. Goes on with an interrupted pull.</summary>
    /// <param name="reference">As the user wrote it.</param>
    /// <param name="progress">Told at most ten times a second.</param>
    /// <param name="cancel">Ends the pull; what was fetched is kept for the next one.</param>
    Task<Image> PullAsync(string reference, IProgress<PullProgress>? progress, CancellationToken cancel) => PullAsync(reference, null, progress, cancel);

    /// <summary>As the other, with credentials for this pull alone; they are not kept.</summary>
    /// <param name="reference">As the user wrote it.</param>
    /// <param name="credentials">For the reference's registry; null takes those of the options.</param>
    /// <param name="progress">Told at most ten times a second.</param>
    /// <param name="cancel">Ends the pull; what was fetched is kept for the next one.</param>
    Task<Image> PullAsync(string reference, RegistryCredentials? credentials, IProgress<PullProgress>? progress, CancellationToken cancel);

    /// <summary>
    /// As the others, for a deployment: an image that was not held before goes again when no deployment needs it
    /// (<see cref="RemoveUnneededAsync"/>), unless somebody pulls, loads or tags it meanwhile.
    /// </summary>
    /// <param name="reference">As the document has it.</param>
    /// <param name="progress">Told at most ten times a second.</param>
    /// <param name="cancel">Ends the pull; what was fetched is kept for the next one.</param>
    Task<Image> PullForDeploymentAsync(string reference, IProgress<PullProgress>? progress, CancellationToken cancel);

    /// <summary>Removes images that a deployment brought, that none needs and no container has: those that came first, until the others take no more than a bound.</summary>
    /// <param name="keepBytes">Bytes in the layers that only such images have.</param>
    /// <param name="needed">Ids of those that stay.</param>
    /// <param name="cancel">Ends it before it begins.</param>
    /// <returns>What was removed.</returns>
    Task<IReadOnlyList<Image>> RemoveUnneededAsync(long keepBytes, IReadOnlySet<string> needed, CancellationToken cancel);

    /// <summary>Asks a registry whether it takes these credentials; nothing of them is kept.</summary>
    /// <param name="registry">As in references (<c>docker.io</c>, <c>registry.lan:5000</c>).</param>
    /// <param name="credentials">Who to be.</param>
    /// <param name="cancel">Ends it.</param>
    /// <returns>The identity token that it gives in place of the password; null when it gives none.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Denied"/>: it does not take them; <see cref="ErrorKind.Unavailable"/>: it does not answer.</exception>
    Task<string?> LoginAsync(string registry, RegistryCredentials credentials, CancellationToken cancel);

    /// <summary>Loads all images of an OCI layout or a docker archive (a tar, plain or compressed), in one pass and bounded memory.</summary>
    Task<IReadOnlyList<Image>> LoadAsync(Stream archive, CancellationToken cancel);

    /// <summary>Opens images to be saved; nobody takes their layers away until it is closed.</summary>
    /// <param name="names">References, of which one without a tag or digest means all its tags, and ids.</param>
    ImageArchive OpenArchive(IReadOnlyList<string> names);

    /// <summary>Finds by reference, by id, or by an unambiguous beginning of an id; null when it is not held.</summary>
    Image? Find(string referenceOrId);

    /// <summary>Gives an image one more name, which no longer leads to the image that had it.</summary>
    /// <param name="referenceOrId">The image.</param>
    /// <param name="name">As a user writes it; without a tag it is <c>latest</c>, and it cannot have a digest.</param>
    void Tag(string referenceOrId, string name);

    /// <summary>All images, newest first.</summary>
    IReadOnlyList<Image> List();

    /// <summary>Takes a reference away, and the image with its last one. In use by a container: <see cref="ErrorKind.Conflict"/> unless <paramref name="force"/>.</summary>
    /// <returns>What was untagged and what was deleted.</returns>
    Task<ImageRemoval> RemoveAsync(string referenceOrId, bool force, CancellationToken cancel);

    /// <summary>Makes the writable layer of a container over an image and holds the image for it; the same id again finds the same layer.</summary>
    /// <param name="imageId">An id or a reference.</param>
    /// <param name="containerId">1 to 128 letters, digits, <c>_</c>, <c>.</c> and <c>-</c>.</param>
    /// <param name="durable">Whether it is on disk before this returns; without, a power cut may take it away whole.</param>
    ContainerSnapshot Prepare(string imageId, string containerId, bool durable = true);

    /// <summary>The layers of a container; null when it has none. Nothing is made.</summary>
    ContainerSnapshot? FindContainer(string containerId);

    /// <summary>Removes the writable layer of a container and lets its image go. Not there: no error.</summary>
    void Discard(string containerId);

    /// <summary>Discards the writable layers of containers that a lost power has kept from being made, or from being removed whole.</summary>
    /// <param name="isThere">Whether there is a container with this id.</param>
    void DiscardOthers(Predicate<string> isThere);
}

/// <summary>An image that is held, unpacked and verified.</summary>
/// <param name="Id">The digest of its configuration: Docker's image id.</param>
/// <param name="ManifestDigest">The digest of its manifest for this platform.</param>
/// <param name="References">The names that lead to it, in full form (<c>docker.io/library/busybox:latest</c>).</param>
/// <param name="RepositoryDigests">As in <c>docker.io/library/busybox@sha256:…</c>.</param>
/// <param name="Config">Its configuration.</param>
/// <param name="SizeBytes">Unpacked size of its layers, in bytes.</param>
/// <param name="Created">When it was built, as it says; when it was loaded where it says nothing.</param>
public sealed record Image(
    Digest Id,
    Digest ManifestDigest,
    IReadOnlyList<string> References,
    IReadOnlyList<string> RepositoryDigests,
    ImageConfig Config,
    long SizeBytes,
    DateTimeOffset Created)
{
    /// <summary>Unpacked sizes of its layers in bytes, the lowest first.</summary>
    public IReadOnlyList<long> LayerBytes { get; init; } = [];
}

/// <summary>Images that are held to be written into an archive.</summary>
public abstract class ImageArchive : IDisposable
{
    /// <summary>Writes an OCI layout that is a docker archive, too, as a tar. Waits for the stream without async, so it wants a thread of its own.</summary>
    /// <param name="output">Left open.</param>
    /// <param name="cancel">Ends it in the middle.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: a layer is not what it was.</exception>
    public abstract void WriteTo(Stream output, CancellationToken cancel);

    /// <inheritdoc/>
    public abstract void Dispose();
}

/// <summary>How far a pull is.</summary>
/// <param name="Phase"><c>resolving</c>, <c>downloading</c>, <c>extracting</c>, <c>done</c>.</param>
/// <param name="Layer">The digest of the layer that it is about, or null.</param>
/// <param name="DoneBytes">Bytes done, of the layer or, without one, of all.</param>
/// <param name="TotalBytes">Bytes in all.</param>
public readonly record struct PullProgress(string Phase, string? Layer, long DoneBytes, long TotalBytes);

/// <summary>What a removal did.</summary>
/// <param name="Untagged">References that no longer lead anywhere.</param>
/// <param name="Deleted">Digests that are gone.</param>
public sealed record ImageRemoval(IReadOnlyList<string> Untagged, IReadOnlyList<string> Deleted);

/// <summary>The layers from which a container's root is mounted with overlayfs.</summary>
/// <param name="LowerDirectories">Absolute paths, the topmost layer first.</param>
/// <param name="UpperDirectory">What the container writes.</param>
/// <param name="WorkDirectory">overlayfs's own.</param>
public sealed record ContainerSnapshot(IReadOnlyList<string> LowerDirectories, string UpperDirectory, string WorkDirectory)
{
    /// <summary>A directory below all layers, with what every container gets something mounted on; null without one.</summary>
    public string? MountPoints { get; init; }

    /// <summary>What lies below the writable layer, the topmost first.</summary>
    public IReadOnlyList<string> Below => MountPoints is { } places ? [.. LowerDirectories, places] : LowerDirectories;
}
