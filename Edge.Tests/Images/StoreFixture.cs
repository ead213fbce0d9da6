using EdgeHost.Images;
using EdgeHost.Oci;
using EdgeHost.State;

namespace Edge.Tests.Images;

/// <summary>An image store with a data directory of its own, which can be closed and opened again.</summary>
public sealed class StoreFixture : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private StateDatabase? _state;

    public StoreFixture(ImageStoreOptions? options = null)
    {
        Options = (options ?? new ImageStoreOptions()) with
        {
            Platform = options?.Platform == Platform.Host || options is null ? new Platform { Os = "linux", Architecture = "amd64" } : options.Platform,
            RetryDelay = TimeSpan.FromMilliseconds(5),
            ReservedBytes = 1 << 20,
        };
        Store = Open();
    }

    public ImageStoreOptions Options { get; set; }

    public ImageStore Store { get; private set; }

    public string Path => _directory.Path;

    public string Sub(string name) => _directory.Sub(name);

    /// <summary>Opens it again.</summary>
    public ImageStore Reopen(Action? between = null)
    {
        Store.Dispose();
        _state!.Dispose();
        between?.Invoke();
        return Store = Open();
    }

    /// <summary>Everything that a container of the image would see, from the topmost layer down, without mounting it.</summary>
    public string Root(Image image, string container = "c0ffee") => Store.Prepare(image.Id.ToString(), container).LowerDirectories[0];

    public string[] Visible(string directory) =>
        [.. Directory.EnumerateFileSystemEntries(Sub(directory)).Select(entry => System.IO.Path.GetFileName(entry)!).Order(StringComparer.Ordinal)];

    public void Dispose()
    {
        Store.Dispose();
        _state?.Dispose();
        _directory.Dispose();
    }

    private ImageStore Open()
    {
        _state = StateDatabase.Open(Sub("state.db"));
        return new ImageStore(Path, _state, Options);
    }
}
