using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>
/// Files of containers, running or not, as tar archives: Docker's <c>cp</c>. A running container is seen with all that is
/// mounted in it, one that does not run with its volumes and binds. Nothing of a container is executed or loaded, and no
/// path leads out of it, whatever its processes change meanwhile. Each method throws <see cref="EdgeHostException"/>; a
/// path that is not there is <see cref="ErrorKind.NotFound"/>.
/// </summary>
public interface IContainerArchives
{
    /// <summary>What is at a path; a symbolic link at its end is not followed unless a slash comes after it.</summary>
    Task<ContainerPathStatus> InspectAsync(string container, string path, CancellationToken cancel);

    /// <summary>Opens what is at a path, to be written into an archive under the last part of the path.</summary>
    Task<ContainerArchive> OpenAsync(string container, string path, CancellationToken cancel);

    /// <summary>Writes an archive, plain or compressed, into a directory of a container.</summary>
    /// <param name="container">The container.</param>
    /// <param name="path">A directory; symbolic links are followed within the container.</param>
    /// <param name="archive">Read without async.</param>
    /// <param name="keepDirectories">Whether a directory may not take the place of something else, nor something else that of a directory.</param>
    /// <param name="toUser">Whether all of it gets the container's user for an owner, in place of the archive's owners.</param>
    /// <param name="cancel">Ends it in the middle; what was written until then is left.</param>
    Task ExtractAsync(string container, string path, Stream archive, bool keepDirectories, bool toUser, CancellationToken cancel);

    /// <summary>What a container has changed in its root, by path; its volumes do not count. Reads all directories of what it has written.</summary>
    IReadOnlyList<TreeChange> Changes(string container, CancellationToken cancel);
}

/// <summary>What is at a path of a container.</summary>
/// <param name="name">The last part of the path.</param>
/// <param name="facts">What the kernel knows of it.</param>
/// <param name="linkTarget">Where a symbolic link leads in the end, from the container's root on; empty for all else.</param>
public sealed class ContainerPathStatus(string name, FileFacts facts, string linkTarget)
{
    /// <summary>The last part of the path.</summary>
    public string Name { get; } = name;

    /// <summary>What the kernel knows of it.</summary>
    public FileFacts Facts { get; } = facts;

    /// <summary>Where a symbolic link leads in the end, from the container's root on; empty for all else.</summary>
    public string LinkTarget { get; } = linkTarget;
}

/// <summary>Something in a container that is held open, to be written into an archive.</summary>
public abstract class ContainerArchive : IDisposable
{
    /// <summary>What it is.</summary>
    public abstract ContainerPathStatus Status { get; }

    /// <summary>Writes it as a tar. Waits for the stream without async, so it wants a thread of its own.</summary>
    /// <param name="output">Left open.</param>
    /// <param name="cancel">Ends it in the middle.</param>
    /// <exception cref="EdgeHostException">Something cannot be read, or changed under the copying.</exception>
    public abstract void WriteTo(Stream output, CancellationToken cancel);

    /// <inheritdoc/>
    public abstract void Dispose();
}
