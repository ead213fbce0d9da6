using System.Globalization;
using System.Text;
using System.Text.Json;
using EdgeHost.Cli;
using EdgeHost.Errors;

namespace EdgeHost;

/// <summary>
/// Reads the configuration: JSON with comments and trailing commas, walked by hand, so that an error names file, line
/// and key. A key that is not known, or given twice, or of another type, is an error.
/// </summary>
public static class ConfigurationReader
{
    // A configuration is a page or two; a larger file is another file.
    private const int LongestFile = 1024 * 1024;

    /// <summary>Reads the file and lays the variables over it.</summary>
    /// <param name="paths">Where the file is, and whether it must be there.</param>
    /// <param name="environment">Asks for a variable.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/> or <see cref="ErrorKind.NotFound"/>: one line with file, line and key.</exception>
    public static Configuration Read(DaemonPaths paths, Func<string, string?> environment) => Read(paths, environment, new ConfigurationDraft());

    /// <summary>Reads into a draft, which knows afterwards what was set and where.</summary>
    /// <param name="paths">As above.</param>
    /// <param name="environment">As above.</param>
    /// <param name="draft">The draft.</param>
    /// <param name="root">Where the /proc of the board is.</param>
    internal static Configuration Read(DaemonPaths paths, Func<string, string?> environment, ConfigurationDraft draft, string root = "")
    {
        // What lies beneath depends on what is said on top.
        var asked = new ConfigurationDraft();
        ReadOwn(paths, environment, asked);
        if ((asked.Value.Profile ?? BoardProfiles.Detect(root)) is { } profile and not BoardProfiles.None)
        {
            ReadText($"profile {profile}", BoardProfiles.Read(profile), draft);
            draft.Value = draft.Value with { Profile = profile };
            draft.Given["profile"] = new ConfigurationLine("profile", profile, "device tree");
        }

        ReadOwn(paths, environment, draft);
        try
        {
            return draft.Finish();
        }
        catch (EdgeHostException e)
        {
            throw new EdgeHostException(e.Kind, $"{paths.ConfigFile}: {e.Message}", e);
        }
    }

    private static void ReadOwn(DaemonPaths paths, Func<string, string?> environment, ConfigurationDraft draft)
    {
        if (File.Exists(paths.ConfigFile))
        {
            ReadFile(paths.ConfigFile, draft);
        }
        else if (paths.ConfigFileMustExist)
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"configuration file {paths.ConfigFile} is not there; make it, or leave --config out for the defaults");
        }

        ReadVariables(environment, draft);
    }

    /// <summary>Reads a password from its file, without its last newline.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: it cannot be read; key and file are named.</exception>
    public static string ReadSecret(string key, string file)
    {
        try
        {
            return File.ReadAllText(file).TrimEnd('\r', '\n');
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"{key}: {e.Message}", e);
        }
    }

    /// <summary>The keys whose values differ, for what a re-read says.</summary>
    public static IReadOnlyList<string> Changes(Configuration before, Configuration after)
    {
        var changes = new List<string>();
        void Compare(string key, object? a, object? b)
        {
            if (!Equals(a, b))
            {
                changes.Add(key);
            }
        }

        Compare("profile", before.Profile, after.Profile);
        Compare("devices", before.AllowedDevices, after.AllowedDevices);
        Compare("thermal", before.HotCelsius, after.HotCelsius);
        Compare("device", before.DeviceId, after.DeviceId);
        Compare("mqtt", before.Mqtt, after.Mqtt);
        Compare("broker", before.Broker, after.Broker);
        Compare("defaults", before.Defaults, after.Defaults);
        Compare("reserve", before.Reserve, after.Reserve);
        Compare("network", before.Network, after.Network);
        Compare("userns", before.Userns, after.Userns);
        Compare("log", before.Log, after.Log);
        Compare("logLevel", before.LogLevel, after.LogLevel);
        Compare("cgroupRoot", before.CgroupRoot, after.CgroupRoot);
        if (before.Registries.Count != after.Registries.Count
            || before.Registries.Any(r => !after.Registries.TryGetValue(r.Key, out var other) || other != r.Value))
        {
            changes.Add("registries");
        }

        return changes;
    }

    private static void ReadFile(string path, ConfigurationDraft draft)
    {
        byte[] text;
        try
        {
            var length = new FileInfo(path).Length;
            text = length <= LongestFile
                ? File.ReadAllBytes(path)
                : throw new EdgeHostException(ErrorKind.Invalid, $"{path} has {length} bytes; a configuration has at most {LongestFile}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"{path} cannot be read: {e.Message}", e);
        }

        ReadText(path, text, draft);
    }

    private static void ReadText(string path, byte[] text, ConfigurationDraft draft)
    {
        var reader = new Utf8JsonReader(text, new JsonReaderOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true, MaxDepth = 8 });
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var keys = new List<string>();
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                throw At(path, text, reader, "the file", "is not a JSON object");
            }

            while (reader.Read())
            {
                switch (reader.TokenType)
                {
                    case JsonTokenType.PropertyName:
                        keys.Add(reader.GetString()!);
                        break;
                    case JsonTokenType.StartObject:
                        Enter(path, text, reader, keys);
                        break;
                    case JsonTokenType.EndObject when keys.Count > 0:
                        keys.RemoveAt(keys.Count - 1);
                        break;
                    case JsonTokenType.EndObject:
                        break;
                    default:
                        Value(path, text, reader, keys, seen, draft);
                        keys.RemoveAt(keys.Count - 1);
                        break;
                }
            }
        }
        catch (JsonException e)
        {
            var where = keys.Count > 0 ? $" (after {string.Join('.', keys)})" : string.Empty;
            var why = e.Message.Split(" LineNumber:", 2)[0].TrimEnd('.');
            throw new EdgeHostException(ErrorKind.Invalid, $"{path}:{e.LineNumber + 1}: not valid JSON{where}: {why}", e);
        }
    }

    private static void Enter(string file, byte[] text, Utf8JsonReader reader, List<string> path)
    {
        var name = string.Join('.', path);
        var known = ConfigurationKeys.All.Any(k => Fits(k.Name.Split('.')[..^1], path));
        if (!known)
        {
            throw KeyOf(path) is { } key
                ? At(file, text, reader, name, $"must be {Words(key.Type)}, not an object")
                : Unknown(file, text, reader, name);
        }
    }

    private static void Value(string file, byte[] text, Utf8JsonReader reader, List<string> path, HashSet<string> seen, ConfigurationDraft draft)
    {
        var name = string.Join('.', path);
        if (KeyOf(path) is not { } key)
        {
            throw ConfigurationKeys.All.Any(k => Fits(k.Name.Split('.')[..^1], path))
                ? At(file, text, reader, name, "must be an object")
                : Unknown(file, text, reader, name);
        }

        if (!seen.Add(string.Join('\0', path)))
        {
            throw At(file, text, reader, name, "is given twice");
        }

        try
        {
            var given = reader.TokenType switch
            {
                JsonTokenType.String => reader.GetString()!,
                JsonTokenType.Number or JsonTokenType.True or JsonTokenType.False => Encoding.UTF8.GetString(reader.ValueSpan),
                _ => throw At(file, text, reader, name, $"must be {Words(key.Type)}"),
            };
            var fits = reader.TokenType switch
            {
                JsonTokenType.String => key.Type is ConfigurationType.Text or ConfigurationType.Size,
                JsonTokenType.Number => key.Type is ConfigurationType.Number or ConfigurationType.Size or ConfigurationType.Fraction,
                _ => key.Type is ConfigurationType.Flag,
            };
            if (!fits || !TryParse(key.Type, path.Count == 3 ? path[1] : string.Empty, given, out var value))
            {
                throw At(file, text, reader, name, $"must be {Words(key.Type)}");
            }

            key.Set(draft, value);
            draft.Given[name] = new ConfigurationLine(name, given, $"{file}:{LineOf(text, reader)}");
        }
        catch (EdgeHostException e) when (!e.Message.StartsWith(file, StringComparison.Ordinal))
        {
            throw At(file, text, reader, name, e.Message);
        }
    }

    private static void ReadVariables(Func<string, string?> environment, ConfigurationDraft draft)
    {
        foreach (var key in ConfigurationKeys.All)
        {
            if (key.Variable is not { } variable || environment(variable) is not { Length: > 0 } text)
            {
                continue;
            }

            if (!TryParse(key.Type, string.Empty, text, out var value))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{variable}={text}: {key.Name} must be {Words(key.Type)}");
            }

            try
            {
                key.Set(draft, value);
                draft.Given[key.Name] = new ConfigurationLine(key.Name, text, variable);
            }
            catch (EdgeHostException e)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{variable}: {key.Name}: {e.Message}", e);
            }
        }
    }

    private static bool TryParse(ConfigurationType type, string name, string text, out ConfigurationValue value)
    {
        var number = 0L;
        var fraction = 0m;
        var flag = false;
        var good = type switch
        {
            ConfigurationType.Flag => bool.TryParse(text, out flag),
            ConfigurationType.Number => long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out number),
            ConfigurationType.Size => ConfigurationKeys.TryParseSize(text, out number),
            ConfigurationType.Fraction => decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out fraction),
            _ => text.Length > 0,
        };
        value = new ConfigurationValue(name, text, number, fraction, flag);
        return good;
    }

    private static ConfigurationKey? KeyOf(List<string> path) =>
        ConfigurationKeys.All.FirstOrDefault(k => k.Name.Split('.') is var parts && parts.Length == path.Count && Fits(parts, path));

    // Whether a path leads to a pattern or, above a name of choice, towards it.
    private static bool Fits(string[] pattern, List<string> path)
    {
        if (pattern.Length == 0 || path.Count > pattern.Length)
        {
            return false;
        }

        for (var i = 0; i < path.Count; i++)
        {
            if (pattern[i] != "NAME" && pattern[i] != path[i])
            {
                return false;
            }
        }

        return path.Count == pattern.Length || pattern[path.Count] == "NAME";
    }

    private static EdgeHostException Unknown(string file, byte[] text, Utf8JsonReader reader, string name) =>
        At(file, text, reader, name, $"is not a key of the configuration; there are {string.Join(", ", Beside(name))}");

    /// <summary>The words that could stand where an unknown one stands.</summary>
    private static IEnumerable<string> Beside(string name)
    {
        var parts = name.Split('.');
        for (var above = parts.Length - 1; above >= 0; above--)
        {
            List<string> path = [.. parts[..above]];
            var words = ConfigurationKeys.All.Select(key => key.Name.Split('.')).Where(key => key.Length > above && (above == 0 || Fits(key[..above], path))).Select(key => string.Join('.', path.Append(key[above]))).Distinct().ToList();
            if (words.Count > 0)
            {
                return words;
            }
        }

        return [];
    }

    private static EdgeHostException At(string file, byte[] text, Utf8JsonReader reader, string name, string why)
    {
        return new EdgeHostException(ErrorKind.Invalid, $"{file}:{LineOf(text, reader)}: {name} {why}");
    }

    private static int LineOf(byte[] text, Utf8JsonReader reader) => 1 + text.AsSpan(0, (int)reader.TokenStartIndex).Count((byte)'\n');

    private static string Words(ConfigurationType type) => type switch
    {
        ConfigurationType.Flag => "true or false",
        ConfigurationType.Number => "a whole number",
        ConfigurationType.Size => "a number of bytes, or a string like \"64m\"",
        ConfigurationType.Fraction => "a number, as in 0.5",
        _ => "a string",
    };
}
