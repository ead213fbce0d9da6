using System.Buffers;
using System.Text;
using System.Text.Json;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Api;

/// <summary><c>POST /containers/{id}/exec</c>, and <c>start</c>, <c>resize</c> and <c>json</c> of <c>/exec/{id}</c>.</summary>
internal sealed class ExecEndpoints(IContainerEngine engine)
{
    // A console size of one's own is rows, then columns.
    private const int MostLines = ushort.MaxValue;

    internal void Map(ApiRouter router)
    {
        router.Map("POST", "/containers/*/exec", CreateAsync);
        router.Map("POST", "/exec/*/start", StartAsync);
        router.Map("POST", "/exec/*/resize", ResizeAsync);
        router.Map("GET", "/exec/*/json", InspectAsync);
    }

    /// <summary>The size in the query of a <c>resize</c>; null where the client does not know it.</summary>
    internal static TerminalSize? SizeIn(QueryValues query) => Size(query.Number("h") ?? 0, query.Number("w") ?? 0);

    private async Task CreateAsync(ApiExchange exchange)
    {
        var body = new ApiObject(await exchange.ReadJsonAsync(DockerJson.In.DictionaryStringJsonElement));
        var id = engine.Execs.Create(exchange.Values[0], new ExecSpec
        {
            Arguments = body.Texts("Cmd"),
            Environment = body.Texts("Env"),
            User = body.Text("User"),
            WorkingDirectory = body.Text("WorkingDir"),
            Privileged = body.Flag("Privileged"),
            Terminal = body.Flag("Tty"),
            AttachInput = body.Flag("AttachStdin"),
            AttachOutput = body.Flag("AttachStdout"),
            AttachError = body.Flag("AttachStderr"),
            DetachKeys = body.Text("DetachKeys"),
            Size = SizeIn(body),
        });
        await exchange.BytesAsync(201, "application/json", Encoding.ASCII.GetBytes($"{{\"Id\":\"{id}\"}}"));
    }

    private async Task StartAsync(ApiExchange exchange)
    {
        var id = exchange.Values[0];
        var sent = await exchange.ReadBodyAsync();
        var body = new ApiObject(sent.Length == 0 ? [] : exchange.ParseJson(sent, DockerJson.In.DictionaryStringJsonElement));
        var exec = engine.Execs.Inspect(id);
        if (exec.Running || exec.ExitCode is not null)
        {
            throw new EdgeHostException(ErrorKind.Conflict, exec.Running ? $"exec {id} is already running" : $"exec {id} has already run");
        }

        if (body.Flag("Detach"))
        {
            (await engine.Execs.StartAsync(id, SizeIn(body))).Dispose();
            await exchange.EmptyAsync(200);
            return;
        }

        await using var connection = await exchange.HijackAsync(
            exec.Spec.Terminal || !exchange.AsksForUpgrade ? ContainerOutputEndpoints.Raw : ContainerOutputEndpoints.Framed);
        ProcessStreams streams;
        try
        {
            streams = await engine.Execs.StartAsync(id, SizeIn(body));
        }
        catch (EdgeHostException e)
        {
            // As in Docker: the client reads it among the output, and the exit code from inspecting.
            connection.Send(StreamSession.Message(e.Message, exec.Spec.Terminal, StreamSession.StandardError));
            return;
        }

        using (streams)
        {
            await StreamSession.RunAsync(connection, streams, DetachKeys.Parse(exec.Spec.DetachKeys));
        }
    }

    private Task ResizeAsync(ApiExchange exchange)
    {
        if (SizeIn(exchange.Query) is { } size)
        {
            engine.Execs.Resize(exchange.Values[0], size);
        }

        return exchange.EmptyAsync(200);
    }

    private Task InspectAsync(ApiExchange exchange)
    {
        var exec = engine.Execs.Inspect(exchange.Values[0]);
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("ID", exec.Id);
            json.WriteBoolean("Running", exec.Running);
            if (exec.ExitCode is { } exitCode)
            {
                json.WriteNumber("ExitCode", exitCode);
            }
            else
            {
                json.WriteNull("ExitCode");
            }

            json.WriteStartObject("ProcessConfig");
            json.WriteBoolean("tty", exec.Spec.Terminal);
            json.WriteString("entrypoint", exec.Spec.Arguments[0]);
            json.WriteStartArray("arguments");
            for (var i = 1; i < exec.Spec.Arguments.Count; i++)
            {
                json.WriteStringValue(exec.Spec.Arguments[i]);
            }

            json.WriteEndArray();
            json.WriteBoolean("privileged", exec.Spec.Privileged);
            json.WriteString("user", exec.Spec.User ?? string.Empty);
            json.WriteEndObject();
            json.WriteBoolean("OpenStdin", exec.Spec.AttachInput);
            json.WriteBoolean("OpenStdout", exec.Spec.AttachOutput);
            json.WriteBoolean("OpenStderr", exec.Spec.AttachError);
            json.WriteBoolean("CanRemove", !exec.Running && exec.ExitCode is not null);
            json.WriteString("ContainerID", exec.ContainerId);
            json.WriteString("DetachKeys", string.Empty);
            json.WriteNumber("Pid", exec.Pid);
            json.WriteBoolean("OOMKilled", exec.OomKilled);
            json.WriteEndObject();
        }

        return exchange.BytesAsync(200, "application/json", buffer.WrittenMemory);
    }

    private static TerminalSize? SizeIn(ApiObject body) => Size(body.Number("ConsoleSize", 0), body.Number("ConsoleSize", 1));

    // A client whose own terminal does not know its size sends zeros.
    private static TerminalSize? Size(long rows, long columns) =>
        rows is < 0 or > MostLines || columns is < 0 or > MostLines ? throw new EdgeHostException(ErrorKind.Invalid, $"a terminal of {rows} lines and {columns} columns cannot be; each is from 0 to {MostLines}")
            : rows == 0 && columns == 0 ? null
            : new TerminalSize((int)rows, (int)columns);
}

/// <summary>A JSON object that a client has sent, read as Go reads it: by names in any case, what is missing is empty.</summary>
internal sealed class ApiObject
{
    private readonly Dictionary<string, JsonElement> _members;

    internal ApiObject(Dictionary<string, JsonElement> members) => _members = new(members, StringComparer.OrdinalIgnoreCase);

    internal bool Flag(string name) => Find(name, JsonValueKind.True, JsonValueKind.False) is { ValueKind: JsonValueKind.True };

    internal string? Text(string name) => Find(name, JsonValueKind.String, JsonValueKind.String)?.GetString();

    internal List<string> Texts(string name)
    {
        var texts = new List<string>();
        if (Find(name, JsonValueKind.Array, JsonValueKind.Array) is { } array)
        {
            foreach (var each in array.EnumerateArray())
            {
                texts.Add(each.ValueKind == JsonValueKind.String ? each.GetString()! : throw Wrong(name));
            }
        }

        return texts;
    }

    /// <summary>Lines and columns, as in <c>ConsoleSize</c>; zeros where they are not given.</summary>
    internal long Number(string name, int at) =>
        Find(name, JsonValueKind.Array, JsonValueKind.Array) is { } array && array.GetArrayLength() == 2
            ? array[at].ValueKind == JsonValueKind.Number && array[at].TryGetInt64(out var number) ? number : throw Wrong(name)
            : 0;

    private JsonElement? Find(string name, JsonValueKind kind, JsonValueKind other) =>
        !_members.TryGetValue(name, out var value) || value.ValueKind == JsonValueKind.Null ? null
            : value.ValueKind == kind || value.ValueKind == other ? value
            : throw Wrong(name);

    private static EdgeHostException Wrong(string name) => new(ErrorKind.Invalid, $"{name}: is not of the kind that it must be");
}
