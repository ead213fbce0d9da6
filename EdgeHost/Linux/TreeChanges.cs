namespace EdgeHost.Linux;

/// <summary>What became of a path, with the numbers of Docker's API.</summary>
public enum TreeChangeKind
{
    /// <summary>It was there and is another.</summary>
    Modified = 0,

    /// <summary>It was not there.</summary>
    Added = 1,

    /// <summary>It was there and is not.</summary>
    Deleted = 2,
}

/// <summary>A path that a container has changed.</summary>
/// <param name="path">From the root on.</param>
/// <param name="kind">What became of it.</param>
public sealed class TreeChange(string path, TreeChangeKind kind)
{
    /// <summary>From the root on.</summary>
    public string Path { get; } = path;

    /// <summary>What became of it.</summary>
    public TreeChangeKind Kind { get; } = kind;
}

/// <summary>Reads the upper directory of an overlayfs mount for what it changes in the layers below; by Docker's rules.</summary>
public static class TreeChanges
{
    private const int MaximumChanges = 1_000_000;

    private static readonly byte[] OpaqueAttribute = "trusted.overlay.opaque"u8.ToArray();

    /// <summary>All changes, by path.</summary>
    /// <param name="upper">The upper directory; what vanishes while it is read does not count.</param>
    /// <param name="below">The layers below, seen as one; null when there are none.</param>
    /// <param name="places">Paths at which something is mounted in every container: an empty file or a directory there is no change.</param>
    /// <param name="cancel">Ends it in the middle.</param>
    public static IReadOnlyList<TreeChange> Of(RootedDirectory upper, RootedDirectory? below, IReadOnlyCollection<string> places, CancellationToken cancel)
    {
        var changes = new List<TreeChange>();
        var changedDirectories = new HashSet<string>(StringComparer.Ordinal);
        var waiting = new Stack<byte[]>([[]]);
        while (waiting.TryPop(out var path))
        {
            using var directory = upper.TryOpenDirectoryToRead(path, out _);
            if (directory is null)
            {
                continue;
            }

            using var beneath = below?.TryOpenDirectory(path, out _);
            foreach (var (name, _) in RootedDirectory.List(directory))
            {
                cancel.ThrowIfCancellationRequested();
                if (RootedDirectory.Stat(directory, name) is not { } facts || changes.Count >= MaximumChanges)
                {
                    continue;
                }

                byte[] whole = path.Length == 0 ? name : [.. path, (byte)'/', .. name];
                if (facts.IsDirectory)
                {
                    waiting.Push(whole);
                }

                var before = beneath is null ? null : RootedDirectory.Stat(beneath, name);
                using var itself = facts.IsDirectory ? upper.TryOpenDirectoryToRead(whole, out _) : null;
                var isDeleted = facts.IsWhiteout || (itself is not null && RootedDirectory.GetAttribute(itself, OpaqueAttribute) is [(byte)'y']);
                var shown = "/" + RootedDirectory.Shown(whole);
                if (!isDeleted && before is { IsDirectory: true } old && facts.IsDirectory && old.Mode == facts.Mode
                    && ((old.ModifiedSeconds == facts.ModifiedSeconds && old.ModifiedNanoseconds == facts.ModifiedNanoseconds) || HasOnly(itself, shown, places)))
                {
                    // Here only because something below it has changed.
                    continue;
                }

                var kind = isDeleted ? TreeChangeKind.Deleted : before is null ? TreeChangeKind.Added : TreeChangeKind.Modified;
                if (kind == TreeChangeKind.Added && places.Contains(shown) && (facts.IsDirectory || facts.Size == 0))
                {
                    continue;
                }

                if (facts.IsDirectory)
                {
                    changedDirectories.Add(shown);
                }

                changes.Add(new TreeChange(shown, kind));
                if (kind != TreeChangeKind.Modified && path.Length > 0)
                {
                    var parent = "/" + RootedDirectory.Shown(path);
                    if (changedDirectories.Add(parent))
                    {
                        changes.Add(new TreeChange(parent, TreeChangeKind.Modified));
                    }
                }
            }
        }

        changes.Sort((one, other) => string.CompareOrdinal(one.Path, other.Path));
        return changes;
    }

    private static bool HasOnly(Fd? directory, string shown, IReadOnlyCollection<string> places) =>
        directory is not null && RootedDirectory.List(directory) is { Count: > 0 } entries && entries.TrueForAll(entry => places.Contains($"{shown}/{RootedDirectory.Shown(entry.Name)}"));
}
