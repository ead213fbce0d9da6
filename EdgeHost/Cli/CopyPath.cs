using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary>One side of a copy. The rules for what a path means are those of docker's <c>cp</c>.</summary>
/// <param name="path">Absolute on this host, as written in a container; a slash or <c>/.</c> at its end is kept.</param>
/// <param name="exists">Whether something is there.</param>
/// <param name="isDirectory">Whether that is a directory.</param>
internal sealed class CopyPath(string path, bool exists, bool isDirectory)
{
    internal string Path { get; } = path;

    internal bool Exists { get; } = exists;

    internal bool IsDirectory { get; } = isDirectory;

    /// <summary>The name to have in the archive in place of the path's last part; null for that.</summary>
    internal string? Name { get; init; }

    /// <summary>The directory of the path, and its last part; <c>.</c> is one.</summary>
    internal (string Directory, string Name) Parts => Split(Path);

    /// <summary>What is copied from this host.</summary>
    /// <exception cref="EdgeHostException">It is not there.</exception>
    internal static CopyPath Source(string path, bool follow)
    {
        var (written, whole) = (path, Absolute(path));
        if (follow && !AsksForDirectory(whole) && new FileInfo(whole).LinkTarget is not null)
        {
            whole = new FileInfo(whole).ResolveLinkTarget(returnFinalTarget: true)!.FullName;
        }

        var facts = Look(whole) ?? throw new EdgeHostException(ErrorKind.NotFound, $"lstat {written}: no such file or directory");
        return new CopyPath(whole, true, facts.IsDirectory) { Name = Split(Absolute(written)).Name };
    }

    /// <summary>Where to it is copied on this host; a symbolic link is followed, also to what is not there yet.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: the directory above it is not there.</exception>
    internal static CopyPath Destination(string path)
    {
        var whole = Absolute(path);
        if (!AsksForDirectory(whole) && new FileInfo(whole).LinkTarget is not null)
        {
            whole = new FileInfo(whole).ResolveLinkTarget(returnFinalTarget: true)!.FullName;
        }

        if (Look(whole) is { } facts)
        {
            return facts.IsDevice || facts.IsFifo || facts.IsSocket
                ? throw new EdgeHostException(ErrorKind.Invalid, $"destination \"{path}\" must be a directory or a regular file: got {(facts.IsDevice ? "a device" : "an irregular file")}")
                : new CopyPath(whole, true, facts.IsDirectory);
        }

        var above = Split(whole).Directory;
        return Directory.Exists(above)
            ? new CopyPath(whole, false, false)
            : throw new EdgeHostException(ErrorKind.Invalid, $"invalid output path: directory \"{above}\" does not exist");
    }

    /// <summary>Where the archive of a source is to be written, and what its first name is to be there.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: the two do not go together.</exception>
    internal (string Directory, string Name) PlaceOf(CopyPath source)
    {
        var own = source.Name ?? source.Parts.Name;
        return Exists && IsDirectory ? (Path, own)
            : Exists && source.IsDirectory ? throw new EdgeHostException(ErrorKind.Invalid, "cannot copy directory")
            : !Exists && !source.IsDirectory && AsksForDirectory(Path) ? throw new EdgeHostException(ErrorKind.Invalid, "no such directory")
            : Parts;
    }

    /// <summary>Whether a path can only be that of a directory.</summary>
    internal static bool AsksForDirectory(string path) => path.EndsWith('/') || IsCurrent(path);

    /// <summary>As Go's filepath.Split of the cleaned path, but a dot at the end is a last part of its own.</summary>
    internal static (string Directory, string Name) Split(string path)
    {
        var clean = Clean(path);
        if (IsCurrent(path))
        {
            return (clean, ".");
        }

        var slash = clean.LastIndexOf('/');
        return clean == "/" ? ("/", "/") : (slash <= 0 ? "/" : clean[..slash], clean[(slash + 1)..]);
    }

    /// <summary>A path from the root on, without empty parts, dots and double dots.</summary>
    internal static string Clean(string path) => System.IO.Path.GetFullPath("/" + path) is var full && full.Length > 1 ? full.TrimEnd('/') is { Length: > 0 } clean ? clean : "/" : "/";

    private static bool IsCurrent(string path) => path == "." || path.EndsWith("/.", StringComparison.Ordinal);

    private static string Absolute(string path)
    {
        var clean = System.IO.Path.GetFullPath(path) is { Length: > 1 } full ? full.TrimEnd('/') : "/";
        var separator = clean == "/" ? string.Empty : "/";
        return IsCurrent(path) ? $"{clean}{separator}." : path.EndsWith('/') ? clean + separator : clean;
    }

    private static FileFacts? Look(string path)
    {
        var (directory, name) = Split(path);
        if (!Directory.Exists(directory))
        {
            return null;
        }

        if (name is "." or "/" || AsksForDirectory(path))
        {
            using var itself = File.Exists(Clean(path)) || Directory.Exists(Clean(path)) ? Files.OpenDirectoryForPaths(Clean(path)) : null;
            return itself is null ? null : RootedDirectory.Stat(itself);
        }

        using var parent = Files.OpenDirectoryForPaths(directory);
        return RootedDirectory.Stat(parent, Encoding.UTF8.GetBytes(name));
    }
}
