using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>The facts of a volume, beside its data.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Created">When it was made.</param>
/// <param name="Anonymous">Whether it was made for one container that gave it no name.</param>
internal sealed record VolumeFacts(string Name, DateTimeOffset Created, bool Anonymous);

/// <summary>Directories that EdgeHost keeps under a name: <c>volumes/NAME/{_data,volume.json}</c>.</summary>
internal sealed class VolumeStore
{
    private readonly string _root;

    internal VolumeStore(string dataDirectory)
    {
        _root = RootOf(dataDirectory);
        Directory.CreateDirectory(_root);
    }

    /// <summary>Where the data of a volume is.</summary>
    internal static string PathOf(string dataDirectory, string name) => $"{RootOf(dataDirectory)}/{name}/_data";

    private static string RootOf(string dataDirectory) => dataDirectory + "/volumes";

    /// <summary>The directory of a volume, made durably when it was not there.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not a name.</exception>
    internal string Ensure(string name, bool anonymous)
    {
        if (name.Length is 0 or > 255 || !char.IsAsciiLetterOrDigit(name[0]) || name.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('_' or '.' or '-')))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"volume name \"{name}\" must be letters, digits, _, . and -, beginning with a letter or digit; a path must begin with /");
        }

        var data = $"{_root}/{name}/_data";
        if (!File.Exists($"{_root}/{name}/volume.json"))
        {
            Directory.CreateDirectory(data);
            CheckedFile.Write(
                $"{_root}/{name}/volume.json",
                JsonSerializer.SerializeToUtf8Bytes(new VolumeFacts(name, DateTimeOffset.UtcNow, anonymous), EngineJson.Default.VolumeFacts));
            Files.FlushDirectory(_root);
        }

        return data;
    }

    /// <summary>Removes a volume and what is in it.</summary>
    internal void Remove(string name)
    {
        if (Directory.Exists($"{_root}/{name}"))
        {
            Directory.Delete($"{_root}/{name}", recursive: true);
        }
    }
}
