using EdgeHost.Errors;

namespace EdgeHost.Engine;

/// <summary>
/// Directories that EdgeHost keeps under a name, for containers to share and to outlive them. Each method throws
/// <see cref="EdgeHostException"/>; a name that is none is <see cref="ErrorKind.Invalid"/>, one that nothing has is
/// <see cref="ErrorKind.NotFound"/>.
/// </summary>
public interface IVolumes
{
    /// <summary>Makes a volume, on disk before this returns; one of that name that is there already is given back as it is.</summary>
    /// <param name="name">1 to 255 letters, digits, <c>_</c>, <c>.</c> and <c>-</c>; null for an anonymous one.</param>
    /// <param name="labels">What to remember about a new one.</param>
    VolumeStatus Create(string? name, IReadOnlyDictionary<string, string> labels);

    /// <summary>All volumes, by name.</summary>
    IReadOnlyList<VolumeStatus> List();

    /// <summary>One volume.</summary>
    VolumeStatus Inspect(string name);

    /// <summary>Removes a volume with what is in it. One that a container has, running or not, stays: <see cref="ErrorKind.Conflict"/>.</summary>
    void Remove(string name);

    /// <summary>Removes the volumes that fit and that no container has.</summary>
    /// <returns>Which, and how many bytes were in them.</returns>
    VolumePruning Prune(Func<VolumeStatus, bool> fits, CancellationToken cancel);

    /// <summary>The bytes in the files of a volume; reads all its directories.</summary>
    long MeasureBytes(string name, CancellationToken cancel);
}

/// <summary>A volume as it is.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Directory">Where its data is on the host.</param>
/// <param name="Created">When it was made.</param>
/// <param name="Anonymous">Whether nobody gave it a name.</param>
/// <param name="Labels">What was said about it when it was made.</param>
/// <param name="Containers">Ids of the containers that have it, running or not.</param>
public sealed record VolumeStatus(
    string Name,
    string Directory,
    DateTimeOffset Created,
    bool Anonymous,
    IReadOnlyDictionary<string, string> Labels,
    IReadOnlyList<string> Containers);

/// <summary>What a pruning did.</summary>
/// <param name="Removed">Names of volumes that are gone.</param>
/// <param name="Bytes">How much was in them.</param>
public sealed record VolumePruning(IReadOnlyList<string> Removed, long Bytes);
