using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using EdgeHost.Deployments;
using EdgeHost.Errors;
using EdgeHost.Mqtt;

namespace EdgeHost.Cli;

/// <summary>Which device is deployed to and by which broker; what is not given is asked of the daemon on this host.</summary>
internal sealed class DeployTarget
{
    private readonly Option<string?> _device = new("--device") { Description = "The device (default: this one)", HelpName = "name" };
    private readonly Option<string?> _broker = new("--broker") { Description = "Its broker, mqtt://host[:port] or mqtts://host[:port] (default: the one in this host's daemon)", HelpName = "url" };
    private readonly Option<string?> _user = new("--broker-user") { Description = "The user at the broker", HelpName = "name" };
    private readonly Option<string?> _password = new("--password-file") { Description = "The file with the password", HelpName = "file" };
    private readonly Option<string?> _ca = new("--ca-file") { Description = "PEM file of the authority that signed the broker's certificate", HelpName = "file" };
    private readonly Option<string?> _certificate = new("--cert-file") { Description = "PEM file of our certificate", HelpName = "file" };
    private readonly Option<string?> _key = new("--key-file") { Description = "PEM file of its key", HelpName = "file" };
    private readonly Option<bool> _json = new("--json") { Description = "Print the reported state at the end, as JSON" };

    internal void AddTo(Command command)
    {
        foreach (var option in new Option[] { _device, _broker, _user, _password, _ca, _certificate, _key, _json })
        {
            command.Add(option);
        }
    }

    /// <summary>Reads the document whole.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: it cannot be read, or is longer than any device accepts.</exception>
    internal static byte[] ReadDocument(string file)
    {
        try
        {
            using var input = file == "-" ? Console.OpenStandardInput() : File.OpenRead(file);
            using var buffer = new MemoryStream();
            var chunk = new byte[16 * 1024];
            for (int read; (read = input.Read(chunk)) > 0;)
            {
                buffer.Write(chunk, 0, read);
                if (buffer.Length > DesiredState.MaximumBytes)
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"{file} is longer than the {DesiredState.MaximumBytes} bytes that devices accept");
                }
            }

            // An empty payload deletes the retained message, and no device answers that with a state of its own.
            return buffer.Length > 0
                ? buffer.ToArray()
                : throw new EdgeHostException(ErrorKind.Invalid, $"{file} is empty; a device is emptied by a document without workloads");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"{file} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Finds device and broker, and connects.</summary>
    internal async Task<DeployClient> ConnectAsync(ParseResult parsed)
    {
        var device = parsed.GetValue(_device);
        var broker = parsed.GetValue(_broker) is { } url
            ? new MqttOptions
            {
                Url = url,
                User = parsed.GetValue(_user),
                PasswordFile = parsed.GetValue(_password),
                CaFile = parsed.GetValue(_ca),
                CertificateFile = parsed.GetValue(_certificate),
                KeyFile = parsed.GetValue(_key),
            }
            : null;
        if (device is null || broker is null)
        {
            using var daemon = DaemonClient.For(parsed);
            using var info = await daemon.GetAsync("info");
            device ??= info.RootElement.Texts("Labels").FirstOrDefault(l => l.StartsWith("edgehost.device=", StringComparison.Ordinal))?["edgehost.device=".Length..]
                ?? throw new EdgeHostException(ErrorKind.NotFound, "the daemon does not say which device it is; name it with --device");
            broker ??= DeployClient.ReadOperator(Path.Combine(info.RootElement.Text("DockerRootDir"), "broker", "operator.json"));
        }

        var client = new DeployClient(broker, device);
        var connected = false;
        try
        {
            await client.ConnectAsync(CancellationToken.None);
            connected = true;
            return client;
        }
        finally
        {
            if (!connected)
            {
                await client.DisposeAsync();
            }
        }
    }

    /// <summary>Publishes, shows what the device makes of it, and prints what runs in the end.</summary>
    /// <exception cref="EdgeHostException">The device refused it or could not carry it out; its reason.</exception>
    internal async Task FollowAsync(ParseResult parsed, DeployClient client, byte[] document)
    {
        var output = parsed.InvocationConfiguration.Output;
        var error = parsed.InvocationConfiguration.Error;
        var said = string.Empty;
        using var progress = new Progress(error, Screen.IsLive(error));
        var state = await client.DeployAsync(
            document,
            update =>
            {
                var words = update switch
                {
                    DeployUpdate.Reported { State.Deployment: { Target: { } version, Phase: not "idle" } deployment } => $"version {version}: {deployment.Phase}",
                    DeployUpdate.Pulling pull => $"{pull.Workload}: {pull.Phase} {pull.Image}",
                    _ => string.Empty,
                };
                if (words.Length > 0 && words != said)
                {
                    progress.Step(words);
                    said = words;
                }

                if (update is DeployUpdate.Pulling { TotalBytes: > 0 } bytes)
                {
                    progress.Show(() => $"{bytes.Workload}: {bytes.Phase} {Progress.Bar(bytes.DoneBytes, bytes.TotalBytes)} {Humanly.Size(bytes.DoneBytes)} of {Humanly.Size(bytes.TotalBytes)}");
                }
            },
            CancellationToken.None);
        progress.Dispose();
        if (parsed.GetValue(_json))
        {
            output.WriteLine(DaemonJson.IndentedOne(JsonSerializer.SerializeToElement(state, ReportedJson.Default.ReportedState)));
            return;
        }

        output.WriteLine($"version {state.Deployment.Version} runs");
        var table = new Table("WORKLOAD", "IMAGE", "STATE", "MEMORY", "CPUS", "PIDS");
        foreach (var (name, workload) in state.Workloads)
        {
            table.Add(
                name,
                workload.Image,
                workload.State,
                workload.Limits.MemLimit is { } memory ? Humanly.Memory(memory) : string.Empty,
                workload.Limits.Cpus?.ToString(CultureInfo.InvariantCulture) ?? string.Empty,
                workload.Limits.PidsLimit?.ToString(CultureInfo.InvariantCulture) ?? string.Empty);
        }

        table.Write(output);
    }
}
