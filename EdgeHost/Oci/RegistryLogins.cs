using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Oci;

/// <summary>Who one is at a registry: a name with a password, or an identity token (an OAuth2 refresh token) in its place.</summary>
/// <param name="user">The name; may be empty with a token.</param>
/// <param name="password">The password; empty with a token.</param>
/// <param name="identityToken">The token; null without one.</param>
public sealed class RegistryLogin(string user, string password, string? identityToken)
{
    /// <summary>The name; may be empty with a token.</summary>
    public string User { get; } = user;

    /// <summary>The password; empty with a token.</summary>
    public string Password { get; } = password;

    /// <summary>The token; null without one.</summary>
    public string? IdentityToken { get; } = identityToken;

    /// <summary>Whether there is anything in it.</summary>
    public bool IsEmpty => User.Length == 0 && IdentityToken is null;

    /// <summary>Never the secret.</summary>
    public override string ToString() => $"{(IdentityToken is null ? User : "identity token")}:***";
}

/// <summary>
/// Docker's <c>config.json</c>, as far as it says who one is at registries: <c>auths</c>, <c>credsStore</c> and
/// <c>credHelpers</c>. Everything else in it is kept as it is.
/// </summary>
public sealed class RegistryLogins
{
    /// <summary>The key under which Docker keeps the login of Docker Hub.</summary>
    public const string DockerHubKey = "https://index.docker.io/v1/";

    /// <summary>The longest file that is read, in bytes.</summary>
    public const int MaximumBytes = 1 << 20;

    // In the place of a name: the secret is an identity token (docker/cli, native_store.go).
    private const string TokenUser = "<token>";

    private readonly byte[] _json;
    private readonly Dictionary<string, RegistryLogin> _logins = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _helpers = new(StringComparer.Ordinal);
    private readonly string? _store;

    private RegistryLogins(byte[] json, string file)
    {
        _json = json.AsSpan().ContainsAnyExcept(" \t\r\n"u8) ? json : "{}"u8.ToArray();
        try
        {
            using var document = JsonDocument.Parse(_json);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                throw Wrong(file, "it is not a JSON object");
            }

            foreach (var member in document.RootElement.EnumerateObject())
            {
                switch (member.Name)
                {
                    case "auths":
                        foreach (var each in Members(member.Value, file, "auths"))
                        {
                            _logins[each.Name] = Login(each, file);
                        }

                        break;
                    case "credHelpers":
                        foreach (var each in Members(member.Value, file, "credHelpers"))
                        {
                            _helpers[each.Name] = Text(each.Value, file, $"credHelpers.\"{each.Name}\"");
                        }

                        break;
                    case "credsStore":
                        _store = Text(member.Value, file, "credsStore") is { Length: > 0 } name ? name : null;
                        break;
                    default:
                        break;
                }
            }
        }
        catch (JsonException e)
        {
            var words = e.Message;
            var place = words.IndexOf(" LineNumber:", StringComparison.Ordinal);
            throw new EdgeHostException(ErrorKind.Invalid, $"{file}, line {(e.LineNumber ?? 0) + 1}: {(place < 0 ? words : words[..place]).TrimEnd('.')}; mend it, or log in again", e);
        }
    }

    /// <summary>Reads it.</summary>
    /// <param name="json">The bytes; none at all is a file without logins.</param>
    /// <param name="file">What it is called in errors.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not of the form; the message names the line, or the key. Never what is secret in it.</exception>
    public static RegistryLogins Parse(byte[] json, string file) => new(json, file);

    /// <summary>The key under which a registry's login is kept: its host (and port), but for Docker Hub a name of old.</summary>
    /// <param name="registry">As in references (<c>docker.io</c>, <c>registry.lan:5000</c>).</param>
    public static string KeyOf(string registry) => registry == ImageReference.DockerHub ? DockerHubKey : registry;

    /// <summary>The registry of a key or of an address that a person has typed, which may be a URL.</summary>
    public static string RegistryOf(string key)
    {
        var scheme = key.IndexOf("://", StringComparison.Ordinal);
        var host = scheme < 0 ? key : key[(scheme + 3)..];
        var slash = host.IndexOf('/', StringComparison.Ordinal);
        host = slash < 0 ? host : host[..slash];
        return host is "index.docker.io" or "registry-1.docker.io" or "registry.hub.docker.com" ? ImageReference.DockerHub : host;
    }

    /// <summary>Reads what a credential helper answers to <c>get</c>: a name and a secret, which is a token where the name is <c>&lt;token&gt;</c>.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not of the form.</exception>
    public static RegistryLogin? FromHelper(string helper, string answer)
    {
        try
        {
            using var document = JsonDocument.Parse(answer);
            var (user, secret) = (document.RootElement.GetProperty("Username").GetString() ?? string.Empty, document.RootElement.GetProperty("Secret").GetString() ?? string.Empty);
            return secret.Length == 0 ? null : user == TokenUser ? new RegistryLogin(string.Empty, string.Empty, secret) : new RegistryLogin(user, secret, null);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            // Never what it said: it is a secret.
            throw new EdgeHostException(ErrorKind.Invalid, $"credential helper docker-credential-{helper} does not answer with a JSON object that has Username and Secret");
        }
    }

    /// <summary>What a credential helper reads with <c>store</c>.</summary>
    public static string ForHelper(string registry, RegistryLogin login)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("ServerURL", KeyOf(registry));
            writer.WriteString("Username", login.IdentityToken is null ? login.User : TokenUser);
            writer.WriteString("Secret", login.IdentityToken ?? login.Password);
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length);
    }

    /// <summary>The name of the program (behind <c>docker-credential-</c>) that keeps a registry's login; null when this file does.</summary>
    public string? HelperOf(string registry) => Lookup(_helpers, registry) is { Length: > 0 } helper ? helper : _store;

    /// <summary>The login that this file itself has for a registry; null when it has none.</summary>
    public RegistryLogin? Find(string registry) => Lookup(_logins, registry) is { IsEmpty: false } login ? login : null;

    /// <summary>Whether this file has an entry of a registry, be it an empty one.</summary>
    public bool Mentions(string registry) => Lookup(_logins, registry) is not null;

    /// <summary>The file with a registry's login in the place of the one that it had.</summary>
    /// <param name="registry">As in references.</param>
    /// <param name="login">Null takes it away; an empty one only says that a helper has it.</param>
    public byte[] With(string registry, RegistryLogin? login)
    {
        using var document = JsonDocument.Parse(_json);
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, IndentCharacter = '\t', IndentSize = 1, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            var written = false;
            foreach (var member in document.RootElement.EnumerateObject())
            {
                if (member.Name != "auths")
                {
                    member.WriteTo(writer);
                    continue;
                }

                WriteLogins(writer, member.Value, registry, login);
                written = true;
            }

            if (!written)
            {
                WriteLogins(writer, default, registry, login);
            }

            writer.WriteEndObject();
        }

        buffer.WriteByte((byte)'\n');
        return buffer.ToArray();
    }

    private static void WriteLogins(Utf8JsonWriter writer, JsonElement logins, string registry, RegistryLogin? login)
    {
        writer.WriteStartObject("auths");
        if (logins.ValueKind == JsonValueKind.Object)
        {
            foreach (var member in logins.EnumerateObject())
            {
                if (RegistryOf(member.Name) != registry)
                {
                    member.WriteTo(writer);
                }
            }
        }

        if (login is not null)
        {
            writer.WriteStartObject(KeyOf(registry));
            if (login.User.Length > 0 || login.Password.Length > 0)
            {
                writer.WriteString("auth", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{login.User}:{login.Password}")));
            }

            if (login.IdentityToken is { } token)
            {
                writer.WriteString("identitytoken", token);
            }

            writer.WriteEndObject();
        }

        writer.WriteEndObject();
    }

    private static T? Lookup<T>(Dictionary<string, T> values, string registry)
        where T : class
    {
        if (values.TryGetValue(KeyOf(registry), out var exact))
        {
            return exact;
        }

        foreach (var (key, value) in values)
        {
            if (RegistryOf(key) == registry)
            {
                return value;
            }
        }

        return null;
    }

    private static JsonElement.ObjectEnumerator Members(JsonElement value, string file, string name) => value.ValueKind switch
    {
        JsonValueKind.Object => value.EnumerateObject(),
        JsonValueKind.Null => default,
        _ => throw Wrong(file, $"{name} is not an object"),
    };

    private static string Text(JsonElement value, string file, string name) => value.ValueKind switch
    {
        JsonValueKind.String => value.GetString()!,
        JsonValueKind.Null => string.Empty,
        _ => throw Wrong(file, $"{name} is not a text"),
    };

    private static RegistryLogin Login(JsonProperty entry, string file)
    {
        var name = $"auths.\"{entry.Name}\"";
        string user = string.Empty, password = string.Empty, both = string.Empty;
        string? token = null;
        foreach (var member in Members(entry.Value, file, name))
        {
            switch (member.Name)
            {
                case "auth":
                    both = Text(member.Value, file, $"{name}.auth");
                    break;
                case "username":
                    user = Text(member.Value, file, $"{name}.username");
                    break;
                case "password":
                    password = Text(member.Value, file, $"{name}.password");
                    break;
                case "identitytoken":
                    token = Text(member.Value, file, $"{name}.identitytoken") is { Length: > 0 } given ? given : null;
                    break;
                default:
                    break;
            }
        }

        if (both.Length > 0)
        {
            var bytes = new byte[both.Length];
            if (!Convert.TryFromBase64String(both, bytes, out var count) || Encoding.UTF8.GetString(bytes, 0, count).Split(':', 2) is not [var first, var second])
            {
                throw Wrong(file, $"{name}.auth is not base64 of USER:PASSWORD");
            }

            (user, password) = (first, second.TrimEnd('\0'));
        }

        return new RegistryLogin(user, password, token);
    }

    private static EdgeHostException Wrong(string file, string why) => new(ErrorKind.Invalid, $"{file}: {why}; mend it, or log in again");
}
