using System.Text.Json;
using System.Text.Json.Serialization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;
using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Runtime.Oci;

/// <summary>
/// What is kept of a container between two commands: a directory of its own under the state root, with the facts in
/// <c>state.json</c>. Whether it runs is asked of the kernel each time.
/// </summary>
public sealed record OciContainer
{
    /// <summary>The container's id.</summary>
    public required string Id { get; init; }

    /// <summary>The absolute bundle.</summary>
    public required string Bundle { get; init; }

    /// <summary>The pid of its first process.</summary>
    public int Pid { get; init; }

    /// <summary>When that process was started, in clock ticks since the boot: the pid alone may be another's later.</summary>
    public long StartTime { get; init; }

    /// <summary>The path of its cgroup.</summary>
    public required string CgroupPath { get; init; }

    /// <summary>When it was created.</summary>
    public DateTimeOffset Created { get; init; }

    /// <summary>Annotations of its configuration.</summary>
    public IReadOnlyDictionary<string, string>? Annotations { get; init; }
}

/// <summary>The containers of the <c>oci</c> verbs on disk (a tmpfs, as a rule).</summary>
public sealed class OciStateDirectory
{
    /// <summary>Where state is kept when <c>--root</c> is not given.</summary>
    public const string DefaultRoot = "/run/edgehost/oci";

    // What a directory's name may have.
    private const int MaximumIdLength = 255;

    private readonly string _root;

    /// <summary>A state root.</summary>
    public OciStateDirectory(string root) => _root = Path.GetFullPath(root);

    /// <summary>The fifo that a created container waits on.</summary>
    public string StartFifo(string id) => DirectoryOf(id) + "/start.fifo";

    /// <summary>The fifo that a started container reports a failed exec on.</summary>
    public string StatusFifo(string id) => DirectoryOf(id) + "/status.fifo";

    /// <summary>The plan of a created container, for the words of a failed exec.</summary>
    public string PlanFile(string id) => DirectoryOf(id) + "/plan";

    /// <summary>Claims an id.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not an id; <see cref="ErrorKind.Conflict"/>: it is taken.</exception>
    public void Claim(string id)
    {
        var directory = DirectoryOf(id);
        Directory.CreateDirectory(_root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        if (!Files.TryMakeDirectory(directory, 0x1C0))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {id} exists already; delete it first, or choose another id");
        }
    }

    /// <summary>Writes the facts of a container.</summary>
    public void Save(OciContainer container) => DurableFile.WriteVolatile(
        DirectoryOf(container.Id) + "/state.json", JsonSerializer.SerializeToUtf8Bytes(container, OciStateJson.Default.OciContainer), 0x180);

    /// <summary>Reads the facts of a container.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.NotFound"/>: there is none of that id; <see cref="ErrorKind.Invalid"/>: not an id.</exception>
    public OciContainer Load(string id)
    {
        var file = DirectoryOf(id) + "/state.json";
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(file), OciStateJson.Default.OciContainer)
                ?? throw new JsonException("null");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"container {id} does not exist in {_root}");
        }
        catch (JsonException e)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{file} is damaged; remove the directory {DirectoryOf(id)}", e);
        }
    }

    /// <summary>Gives an id back, with everything that was kept for it.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not an id.</exception>
    public void Release(string id)
    {
        var directory = DirectoryOf(id);
        if (Directory.Exists(directory))
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    /// <summary>The state that <c>state</c> prints.</summary>
    public RuntimeState Observe(OciContainer container)
    {
        var alive = container.Pid > 0 && Processes.TryReadStartTime(container.Pid) == container.StartTime;
        var status = !alive ? "stopped" : File.Exists(StartFifo(container.Id)) ? "created" : "running";
        return new RuntimeState
        {
            Id = container.Id,
            Status = status,
            Pid = alive ? container.Pid : null,
            Bundle = container.Bundle,
            Annotations = container.Annotations,
            Created = container.Created,
        };
    }

    // Every path comes from here: an id that is none, such as "" or "../x", must not reach a file of somebody else, least
    // of all on its removal.
    private string DirectoryOf(string id) =>
        id.Length is 0 or > MaximumIdLength || id is "." or ".." || id.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('_' or '+' or '-' or '.'))
            ? throw new EdgeHostException(ErrorKind.Invalid, $"container id \"{id}\" must be 1 to {MaximumIdLength} letters, digits, _, +, - and .")
            : $"{_root}/{id}";

    /// <summary>The cgroup of a container.</summary>
    public static Cgroup CgroupOf(OciContainer container) => Cgroup.At(CgroupMounts.Read(), container.CgroupPath);
}

/// <summary>JSON of what the <c>oci</c> verbs keep.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(OciContainer))]
internal sealed partial class OciStateJson : JsonSerializerContext
{
}
