using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Deployments;

/// <summary>
/// What must survive a pulled plug, each file written whole with its checksum:
/// <c>accepted.json</c> (the highest version ever accepted, with its document), <c>current.json</c> (what runs, with
/// the image ids that it was started from), <c>previous.json</c>, <c>journal.json</c> (a switch under way),
/// <c>refused.json</c> (the latest document that did not become what runs) and <c>boot</c> (the last boot in which the
/// workloads were started). A damaged file is put aside and counts as missing.
/// </summary>
internal sealed class DeploymentStore
{
    // A document in base64 and the rest of the record.
    private const int MaximumFileBytes = (DesiredState.MaximumBytes * 4 / 3) + (256 * 1024);

    private readonly string _directory;
    private readonly Action<EdgeHostException, string> _onDamaged;

    /// <summary>Called before each write: where the tests pull the plug.</summary>
    internal Action? BeforeWrite { get; set; }

    /// <summary>Opens the store.</summary>
    /// <param name="directory">Absolute; made when missing.</param>
    /// <param name="onDamaged">Told of each damaged file and of the name under which it was put aside.</param>
    internal DeploymentStore(string directory, Action<EdgeHostException, string> onDamaged)
    {
        _directory = directory;
        _onDamaged = onDamaged;
        SharedDirectory.Create(directory, 0x1C0, null);
    }

    internal DeploymentRecord? Accepted
    {
        get => Read("accepted.json", RecordJson.Default.DeploymentRecord);
        set => Write("accepted.json", value, RecordJson.Default.DeploymentRecord);
    }

    internal DeploymentRecord? Current
    {
        get => Read("current.json", RecordJson.Default.DeploymentRecord);
        set => Write("current.json", value, RecordJson.Default.DeploymentRecord);
    }

    internal DeploymentRecord? Previous
    {
        get => Read("previous.json", RecordJson.Default.DeploymentRecord);
        set => Write("previous.json", value, RecordJson.Default.DeploymentRecord);
    }

    internal JournalRecord? Journal
    {
        get => Read("journal.json", RecordJson.Default.JournalRecord);
        set => Write("journal.json", value, RecordJson.Default.JournalRecord);
    }

    internal DeploymentFailure? Failure
    {
        get => Read("refused.json", RecordJson.Default.DeploymentFailure);
        set => Write("refused.json", value, RecordJson.Default.DeploymentFailure);
    }

    internal string? Boot
    {
        get => Guard("boot", path => CheckedFile.Read(path, 256) is { } bytes ? System.Text.Encoding.ASCII.GetString(bytes) : null);
        set
        {
            BeforeWrite?.Invoke();
            CheckedFile.Write(PathOf("boot"), System.Text.Encoding.ASCII.GetBytes(value ?? string.Empty));
        }
    }

    private T? Read<T>(string name, JsonTypeInfo<T> type)
        where T : class => Guard(name, path =>
    {
        if (CheckedFile.Read(path, MaximumFileBytes) is not { } bytes)
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize(bytes, type);
        }
        catch (JsonException failure)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{path} is damaged: {failure.Message}", failure);
        }
    });

    private T? Guard<T>(string name, Func<string, T?> read)
        where T : class
    {
        var path = PathOf(name);
        try
        {
            return read(path);
        }
        catch (EdgeHostException failure) when (failure.Kind == ErrorKind.Corrupt)
        {
            _onDamaged(failure, CheckedFile.SetAside(path));
            return null;
        }
    }

    private void Write<T>(string name, T? record, JsonTypeInfo<T> type)
        where T : class
    {
        BeforeWrite?.Invoke();
        if (record is null)
        {
            DurableFile.Remove(PathOf(name));
            return;
        }

        CheckedFile.Write(PathOf(name), JsonSerializer.SerializeToUtf8Bytes(record, type));
    }

    private string PathOf(string name) => Path.Combine(_directory, name);
}
