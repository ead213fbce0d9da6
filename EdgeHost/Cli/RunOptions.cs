using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>What <c>run</c> takes, in docker's words, and the create body that it becomes.</summary>
internal sealed class RunOptions
{
    internal Option<bool> Detach { get; } = new("--detach", "-d") { Description = "Run it in the background and print its id" };

    internal Option<bool> Remove { get; } = new("--rm") { Description = "Remove it when it has ended" };

    internal Option<string?> Name { get; } = new("--name") { Description = "Its name" };

    internal Option<string> Pull { get; } = new("--pull") { Description = "Fetch the image first: always, missing or never", DefaultValueFactory = _ => "missing", HelpName = "when" };

    internal Argument<string> Image { get; } = new("image");

    private Argument<string[]> Command { get; } = new("command") { Arity = ArgumentArity.ZeroOrMore, CaptureRemainingTokens = true };

    private Option<string[]> Env { get; } = new("--env", "-e") { Description = "Set a variable; without a value, to ours", HelpName = "name=value" };

    private Option<string[]> EnvFile { get; } = new("--env-file") { Description = "Set the variables of a file, one a line", HelpName = "file" };

    private Option<string[]> Volume { get; } = new("--volume", "-v") { Description = "Mount a volume or a directory of the host", HelpName = "source:target[:ro,idmap=none]" };

    private Option<string[]> Mount { get; } = new("--mount") { Description = "Mount (type=bind|volume|tmpfs,source=…,target=…[,readonly][,idmap=none])", HelpName = "mount" };

    private Option<string[]> Tmpfs { get; } = new("--tmpfs") { Description = "Mount memory", HelpName = "target[:options]" };

    private NetworkRunOptions Networks { get; } = new();

    private Option<string?> Memory { get; } = new("--memory", "-m") { Description = "Memory at most, as in 64m", HelpName = "bytes" };

    private Option<string?> MemorySwap { get; } = new("--memory-swap") { Description = "Memory and swap at most together, -1 for as much swap as there is; without it there is none", HelpName = "bytes" };

    private Option<string?> MemoryReservation { get; } = new("--memory-reservation") { Description = "Memory that it keeps when the board is short of it", HelpName = "bytes" };

    private Option<string?> Cpus { get; } = new("--cpus") { Description = "CPUs at most, as in 0.5", HelpName = "decimal" };

    private Option<long?> Pids { get; } = new("--pids-limit") { Description = "Processes and threads at most", HelpName = "number" };

    private Option<string?> Cpuset { get; } = new("--cpuset-cpus") { Description = "CPUs to run on, as in 0-2,4", HelpName = "list" };

    private Option<string[]> ReadBytes { get; } = new("--device-read-bps") { Description = "Bytes a second that it may read from a disk, as in /dev/sda:1m", HelpName = "disk:rate" };

    private Option<string[]> WriteBytes { get; } = new("--device-write-bps") { Description = "Bytes a second that it may write to a disk", HelpName = "disk:rate" };

    private Option<string[]> Reads { get; } = new("--device-read-iops") { Description = "Reads a second that it may do from a disk", HelpName = "disk:number" };

    private Option<string[]> Writes { get; } = new("--device-write-iops") { Description = "Writes a second that it may do to a disk", HelpName = "disk:number" };

    private Option<string?> RestartPolicy { get; } = new("--restart") { Description = "When to start it again: no, always, unless-stopped, on-failure[:most]", HelpName = "policy" };

    private Option<string[]> LogOpt { get; } = new("--log-opt") { Description = "How much of its output is kept: max-size=SIZE of a file, max-file=NUMBER of them", HelpName = "option=value" };

    private Option<string?> User { get; } = new("--user", "-u") { Description = "User, and group (name|uid[:group|gid])", HelpName = "user" };

    private Option<string?> WorkDir { get; } = new("--workdir", "-w") { Description = "Working directory", HelpName = "directory" };

    private Option<string?> Entrypoint { get; } = new("--entrypoint") { Description = "Replaces the image's entrypoint", HelpName = "program" };

    private Option<string?> Hostname { get; } = new("--hostname", "-h") { Description = "Its host name", HelpName = "name" };

    private Option<bool> ReadOnly { get; } = new("--read-only") { Description = "Make its root file system read-only" };

    private Option<string?> Users { get; } = new("--userns") { Description = "Whose users its own are: host, or auto for a range that nobody else has", HelpName = "mode" };

    private Option<string[]> CapAdd { get; } = new("--cap-add") { Description = "Add a capability", HelpName = "capability" };

    private Option<string[]> CapDrop { get; } = new("--cap-drop") { Description = "Take a capability away", HelpName = "capability" };

    private Option<string[]> Device { get; } = new("--device") { Description = "Give it a device of the host", HelpName = "source[:path][:rwm]" };

    private Option<string[]> DeviceRule { get; } = new("--device-cgroup-rule") { Description = "Devices that it may use, as in 'c 189:* rwm'", HelpName = "rule" };

    private Option<string[]> SecurityOpt { get; } = new("--security-opt") { Description = "apparmor=PROFILE, or unconfined in its place; no-new-privileges always holds", HelpName = "option" };

    private Option<string?> StopSignal { get; } = new("--stop-signal") { Description = "The signal that asks it to stop", HelpName = "signal" };

    private Option<int?> StopTimeout { get; } = new("--stop-timeout") { Description = "Seconds that it may take to stop", HelpName = "seconds" };

    private HealthRunOptions Health { get; } = new();

    private Option<string[]> Label { get; } = new("--label", "-l") { Description = "Set a label", HelpName = "name=value" };

    private Option<bool> Interactive { get; } = new("--interactive", "-i") { Description = "Keep its standard input open, and pass ours on to it" };

    internal Option<bool> Tty { get; } = new("--tty", "-t") { Description = "Give it a terminal" };

    private Option<bool> Init { get; } = new("--init") { Description = "Let a process of ours be the first in it, which hands signals on and reaps" };

    private Option<string[]> Attach { get; } = new("--attach", "-a") { Description = "Be at these streams only: stdin, stdout, stderr", HelpName = "stream" };

    internal Option<string?> Keys { get; } = StreamOptions.Keys();

    internal Option<bool> SignalProxy { get; } = StreamOptions.SignalProxy();

    private Option<bool> Privileged { get; } = new("--privileged") { Description = "Keep nothing of the machine from it: it can become its root" };

    internal void AddTo(Command command)
    {
        Option[] options =
        [
            Detach, Remove, Name, Pull, Env, EnvFile, Volume, Mount, Tmpfs, .. Networks.All, Memory, MemorySwap, MemoryReservation, Cpus, Pids, Cpuset, ReadBytes, WriteBytes, Reads, Writes, RestartPolicy, LogOpt,
            User, WorkDir, Entrypoint, Hostname, ReadOnly, Users, CapAdd, CapDrop, Device, DeviceRule, SecurityOpt, StopSignal, StopTimeout, .. Health.All, Label, Interactive, Tty,
            Attach, Keys, SignalProxy, Init, Privileged,
        ];
        foreach (var option in options)
        {
            command.Add(option);
        }

        command.Add(Image);
        command.Add(Command);
    }

    /// <summary>The body of create.</summary>
    /// <exception cref="EdgeHostException">An option has a value that will not do, or is not in this version.</exception>
    internal byte[] Body(ParseResult parsed)
    {
        CheckPull(parsed);
        var foreground = !parsed.GetValue(Detach);
        var attached = foreground || parsed.GetValue(Attach) is { Length: > 0 } ? Attached(parsed) : new AttachedStreams(false, false, false);
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("Image", parsed.GetValue(Image));
            json.WriteBoolean("AttachStdin", attached.Input);
            json.WriteBoolean("AttachStdout", attached.Output);
            json.WriteBoolean("AttachStderr", attached.Error);
            json.WriteBoolean("OpenStdin", parsed.GetValue(Interactive));
            json.WriteBoolean("StdinOnce", attached.Input);
            json.WriteBoolean("Tty", parsed.GetValue(Tty));
            Texts(json, "Cmd", parsed.GetValue(Command));
            Text(json, "User", parsed.GetValue(User));
            Text(json, "WorkingDir", parsed.GetValue(WorkDir));
            Text(json, "Hostname", parsed.GetValue(Hostname));
            Text(json, "StopSignal", parsed.GetValue(StopSignal));
            if (parsed.GetValue(Entrypoint) is { } entrypoint)
            {
                Texts(json, "Entrypoint", [entrypoint]);
            }

            if (parsed.GetValue(StopTimeout) is { } timeout)
            {
                json.WriteNumber("StopTimeout", timeout);
            }

            Health.Write(json, parsed);
            Texts(json, "Env", Variables(parsed.GetValue(EnvFile)!, parsed.GetValue(Env)!));
            json.WriteStartObject("Labels");
            foreach (var label in parsed.GetValue(Label)!)
            {
                var (name, value) = Cut(label, '=');
                json.WriteString(name, value ?? string.Empty);
            }

            json.WriteEndObject();
            json.WriteStartObject("HostConfig");
            HostConfig(json, parsed);
            json.WriteEndObject();
            Networks.WriteNetworks(json, parsed);
            json.WriteEndObject();
        }

        return buffer.ToArray();
    }

    private void HostConfig(Utf8JsonWriter json, ParseResult parsed)
    {
        ExecCommand.WriteSize(json, parsed.GetValue(Tty));
        Texts(json, "Binds", parsed.GetValue(Volume)!.Where(v => v.Contains(':', StringComparison.Ordinal)).Select(Absolute));
        json.WriteStartArray("Mounts");
        foreach (var mount in parsed.GetValue(Mount)!)
        {
            WriteMount(json, mount);
        }

        foreach (var anonymous in parsed.GetValue(Volume)!.Where(v => !v.Contains(':', StringComparison.Ordinal)))
        {
            json.WriteStartObject();
            json.WriteString("Type", "volume");
            json.WriteString("Target", anonymous);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartObject("Tmpfs");
        foreach (var tmpfs in parsed.GetValue(Tmpfs)!)
        {
            var (target, options) = Cut(tmpfs, ':');
            json.WriteString(target, options ?? string.Empty);
        }

        json.WriteEndObject();
        Networks.WriteHost(json, parsed);
        if (parsed.GetValue(LogOpt) is { Length: > 0 } logging)
        {
            json.WriteStartObject("LogConfig");
            json.WriteStartObject("Config");
            foreach (var option in logging)
            {
                var (name, value) = Cut(option, '=');
                json.WriteString(name, value ?? string.Empty);
            }

            json.WriteEndObject();
            json.WriteEndObject();
        }

        if (parsed.GetValue(Memory) is { } memory)
        {
            json.WriteNumber("Memory", Humanly.ParseSize("--memory", memory));
        }

        if (parsed.GetValue(MemorySwap) is { } swap)
        {
            json.WriteNumber("MemorySwap", swap == "-1" ? -1 : Humanly.ParseSize("--memory-swap", swap));
        }

        if (parsed.GetValue(MemoryReservation) is { } kept)
        {
            json.WriteNumber("MemoryReservation", Humanly.ParseSize("--memory-reservation", kept));
        }

        if (parsed.GetValue(Cpus) is { } cpus)
        {
            json.WriteNumber("NanoCpus", ParseCpus(cpus));
        }

        if (parsed.GetValue(Pids) is { } pids)
        {
            json.WriteNumber("PidsLimit", pids);
        }

        Text(json, "CpusetCpus", parsed.GetValue(Cpuset));
        Option<string[]>[] rates = [ReadBytes, WriteBytes, Reads, Writes];
        for (var kind = 0; kind < rates.Length; kind++)
        {
            Rates(json, rates[kind], kind, parsed.GetValue(rates[kind])!);
        }

        Text(json, "UsernsMode", parsed.GetValue(Users));
        Texts(json, "CapAdd", parsed.GetValue(CapAdd));
        Texts(json, "CapDrop", parsed.GetValue(CapDrop));
        Devices(json, parsed.GetValue(Device)!);
        Texts(json, "DeviceCgroupRules", parsed.GetValue(DeviceRule));
        Texts(json, "SecurityOpt", parsed.GetValue(SecurityOpt));
        if (parsed.GetValue(Privileged))
        {
            json.WriteBoolean("Privileged", true);
        }

        if (parsed.GetValue(Init))
        {
            json.WriteBoolean("Init", true);
        }

        json.WriteBoolean("ReadonlyRootfs", parsed.GetValue(ReadOnly));
        json.WriteBoolean("AutoRemove", parsed.GetValue(Remove));
        if (parsed.GetValue(RestartPolicy) is { } policy)
        {
            var (name, most) = Cut(policy, ':');
            json.WriteStartObject("RestartPolicy");
            json.WriteString("Name", name);
            json.WriteNumber("MaximumRetryCount", most is null ? 0 : ParseNumber("--restart", policy, most));
            json.WriteEndObject();
        }
    }

    private static readonly string[] RateFields = ["BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"];

    // What is wrong with a disk says who makes the container.
    private static void Rates(Utf8JsonWriter json, Option<string[]> option, int kind, string[] values)
    {
        json.WriteStartArray(RateFields[kind]);
        foreach (var value in values)
        {
            var end = value.LastIndexOf(':');
            if (end <= 0)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{option.Name} {value}: not a disk and a rate, as in /dev/sda:{(kind < 2 ? "1m" : "100")}");
            }

            json.WriteStartObject();
            json.WriteString("Path", value[..end]);
            json.WriteNumber("Rate", kind < 2 ? Humanly.ParseSize(option.Name, value[(end + 1)..]) : ParseNumber(option.Name, value, value[(end + 1)..]));
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void Devices(Utf8JsonWriter json, string[] devices)
    {
        json.WriteStartArray("Devices");
        foreach (var device in devices)
        {
            // Who makes the container takes it apart, and says what is wrong with it.
            json.WriteStartObject();
            json.WriteString("PathOnHost", device);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    /// <summary>At which streams a foreground run is.</summary>
    internal AttachedStreams Attached(ParseResult parsed)
    {
        var interactive = parsed.GetValue(Interactive);
        if (parsed.GetValue(Attach) is not { Length: > 0 } streams)
        {
            return new AttachedStreams(interactive, true, true);
        }

        if (parsed.GetValue(Detach))
        {
            throw new EdgeHostException(ErrorKind.Invalid, "conflicting options: cannot specify both --attach and --detach");
        }

        bool input = false, output = false, error = false;
        foreach (var stream in streams)
        {
            switch (stream.ToLowerInvariant())
            {
                case "stdin":
                    input = true;
                    break;
                case "stdout":
                    output = true;
                    break;
                case "stderr":
                    error = true;
                    break;
                default:
                    throw new EdgeHostException(ErrorKind.Invalid, $"--attach {stream}: valid streams are stdin, stdout and stderr");
            }
        }

        return new AttachedStreams(input && interactive, output, error);
    }

    private void CheckPull(ParseResult parsed)
    {
        if (parsed.GetValue(Pull) is not ("always" or "missing" or "never"))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"--pull {parsed.GetValue(Pull)}: not always, missing or never");
        }
    }

    /// <summary>The variables of <c>--env-file</c> and <c>--env</c>.</summary>
    internal static List<string> Variables(string[] files, string[] given)
    {
        var variables = new List<string>();
        foreach (var file in files)
        {
            try
            {
                // As docker's: blanks in front are dropped, # starts a comment at the beginning of a line only, nothing is unquoted.
                variables.AddRange(File.ReadLines(file).Select(l => l.TrimStart()).Where(l => l.Length > 0 && l[0] != '#').SelectMany(Resolve));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"--env-file {file} cannot be read: {e.Message}", e);
            }
        }

        variables.AddRange(given.SelectMany(Resolve));
        return variables;
    }

    // A name without a value takes ours; one that we have not is left out.
    private static IEnumerable<string> Resolve(string variable) => variable.Contains('=', StringComparison.Ordinal) ? [variable]
        : Environment.GetEnvironmentVariable(variable) is { } value ? [$"{variable}={value}"]
        : [];

    private static string Absolute(string bind)
    {
        var (source, rest) = Cut(bind, ':');
        return source is ['.', ..] or ['~', ..] ? $"{Path.GetFullPath(source)}:{rest}" : bind;
    }

    private static void WriteMount(Utf8JsonWriter json, string mount)
    {
        json.WriteStartObject();
        var tmpfs = new List<(string Name, long Value)>();
        var typed = false;
        foreach (var field in mount.Split(','))
        {
            var (name, value) = Cut(field, '=');
            switch (name)
            {
                case "type":
                    json.WriteString("Type", value);
                    typed = true;
                    break;
                case "source" or "src":
                    json.WriteString("Source", value is ['.', ..] ? Path.GetFullPath(value) : value);
                    break;
                case "target" or "destination" or "dst":
                    json.WriteString("Target", value);
                    break;
                case "readonly" or "ro":
                    json.WriteBoolean("ReadOnly", value is null or "true" or "1");
                    break;
                case "idmap":
                    json.WriteString("IdMap", value);
                    break;
                case "volume-nocopy":
                    json.WriteStartObject("VolumeOptions");
                    json.WriteBoolean("NoCopy", value is null or "true" or "1");
                    json.WriteEndObject();
                    break;
                case "tmpfs-size":
                    tmpfs.Add(("SizeBytes", Humanly.ParseSize("--mount", value ?? string.Empty)));
                    break;
                case "tmpfs-mode":
                    tmpfs.Add(("Mode", ParseOctal(mount, value)));
                    break;
                default:
                    throw new EdgeHostException(ErrorKind.Invalid, $"--mount {mount}: {name} is not type, source, target, readonly, idmap, volume-nocopy, tmpfs-size or tmpfs-mode");
            }
        }

        if (!typed)
        {
            json.WriteString("Type", "volume");
        }

        if (tmpfs.Count > 0)
        {
            json.WriteStartObject("TmpfsOptions");
            tmpfs.ForEach(o => json.WriteNumber(o.Name, o.Value));
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    internal static long ParseCpus(string text) =>
        decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var cpus) && cpus is > 0 and < 100_000
            ? (long)(cpus * 1_000_000_000)
            : throw new EdgeHostException(ErrorKind.Invalid, $"--cpus {text}: not a number of CPUs, as in 0.5");

    internal static int ParseNumber(string option, string whole, string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw new EdgeHostException(ErrorKind.Invalid, $"{option} {whole}: {text} is not a number");

    private static long ParseOctal(string mount, string? text)
    {
        var mode = 0L;
        foreach (var digit in text ?? "x")
        {
            mode = digit is >= '0' and <= '7' && mode < 0x200
                ? (mode * 8) + (digit - '0')
                : throw new EdgeHostException(ErrorKind.Invalid, $"--mount {mount}: tmpfs-mode {text} is not an octal mode, as in 1777");
        }

        return mode;
    }

    internal static (string Before, string? After) Cut(string text, char at) =>
        text.IndexOf(at, StringComparison.Ordinal) is >= 0 and var index ? (text[..index], text[(index + 1)..]) : (text, null);

    private static void Text(Utf8JsonWriter json, string name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }

    private static void Texts(Utf8JsonWriter json, string name, IEnumerable<string>? values)
    {
        json.WriteStartArray(name);
        foreach (var value in values ?? [])
        {
            json.WriteStringValue(value);
        }

        json.WriteEndArray();
    }
}

/// <summary>At which streams a foreground run is.</summary>
internal sealed class AttachedStreams(bool input, bool output, bool error)
{
    internal bool Input { get; } = input;

    internal bool Output { get; } = output;

    internal bool Error { get; } = error;
}
