using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>Filling a volume with what the image has where it is mounted.</summary>
internal sealed partial class VolumeStore
{
    // Beside the data of a volume that was empty: what is to be in it, whole and on disk. Whoever finds it goes on moving.
    private const string FillName = "_fill";

    /// <summary>
    /// Makes a volume ready for a new container: made when it is not there, and when it is empty filled with a copy of the
    /// image's directory, owner, mode and all. Nothing half filled is left, neither by an error nor by a power cut.
    /// </summary>
    /// <param name="name">The volume.</param>
    /// <param name="anonymous">Whether nobody gave it its name.</param>
    /// <param name="layers">The image's layers, the topmost first; null to copy nothing.</param>
    /// <param name="target">The absolute path in the image.</param>
    /// <param name="cancel">Ends the copying; nothing is left of it.</param>
    /// <returns>Whether it is new.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Full"/>, <see cref="ErrorKind.Invalid"/>, <see cref="ErrorKind.Corrupt"/>.</exception>
    internal bool Prepare(string name, bool anonymous, IReadOnlyList<string>? layers, string target, CancellationToken cancel)
    {
        RequireName(name);
        var there = Find(name);
        if (there is not null && (layers is null || !IsEmpty(there.Directory)))
        {
            return false;
        }

        try
        {
            if (there is null)
            {
                var facts = new VolumeFacts(name, DateTimeOffset.UtcNow, anonymous);
                return Publish(Stage(facts, layers is null ? null : Copy), name);
            }

            FillEmpty(name, Copy);
            return false;
        }
        catch (EdgeHostException e)
        {
            throw new EdgeHostException(e.Kind, $"volume {name} cannot be filled with what the image has at {target}: {e.Message}", e);
        }

        bool Copy(RootedDirectory to)
        {
            if (layers!.Count == 0)
            {
                return false;
            }

            using var image = OverlayView.Open(layers, _viewDirectory);
            return TreeCopy.Run(image, Encoding.UTF8.GetBytes(target.Trim('/')), to, cancel);
        }
    }

    private static bool IsEmpty(string directory) => !Directory.EnumerateFileSystemEntries(directory).Any();

    private void FillEmpty(string name, Func<RootedDirectory, bool> copy)
    {
        var staged = $".new-{Guid.NewGuid():n}";
        try
        {
            Files.TryMakeDirectory($"{_root}/{staged}", 0x1ED);
            Files.TryMakeDirectory($"{_root}/{staged}/{FillName}", 0x1ED);
            using (var directory = RootedDirectory.Open($"{_root}/{staged}/{FillName}"))
            {
                if (!copy(directory))
                {
                    return;
                }

                directory.FlushFileSystem();
            }

            lock (_naming)
            {
                // Somebody else may have filled or removed it.
                if (Directory.Exists($"{_root}/{name}/{DataName}") && IsEmpty($"{_root}/{name}/{DataName}") && !Directory.Exists($"{_root}/{name}/{FillName}"))
                {
                    Directory.Move($"{_root}/{staged}/{FillName}", $"{_root}/{name}/{FillName}");
                    Files.FlushDirectory($"{_root}/{name}");
                    FinishFill(name);
                }
            }
        }
        finally
        {
            TryRemoveTree(staged);
        }
    }

    // By moving each entry, not the directory: a container that runs has the directory mounted already.
    private void FinishFill(string name)
    {
        try
        {
            using var volume = Files.OpenDirectory($"{_root}/{name}");
            using (var data = RootedDirectory.OpenNamedDirectory(volume, Encoding.ASCII.GetBytes(DataName)))
            using (var fill = RootedDirectory.OpenNamedDirectory(volume, Encoding.ASCII.GetBytes(FillName)))
            {
                foreach (var (entry, _) in RootedDirectory.List(fill))
                {
                    // What a container has made under that name meanwhile is its own.
                    RootedDirectory.TryMove(fill, data, entry);
                }

                TreeCopy.CopyOwnAttributes(fill, data);
            }

            Files.FlushDirectory($"{_root}/{name}/{DataName}");
            RootedDirectory.Remove(volume, Encoding.ASCII.GetBytes(FillName));
            Files.FlushDirectory($"{_root}/{name}");
        }
        catch (LinuxException e)
        {
            LogNotFilled(_log, name, e.Message);
        }
    }
}
