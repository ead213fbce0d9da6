using System.Buffers;
using System.Buffers.Text;
using System.Text;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Images;

namespace EdgeHost.Api;

/// <summary>
/// Docker's <c>X-Registry-Auth</c>: base64url of a JSON object with what <c>docker login</c> has kept for the registry.
/// Its address is not looked at: it is for the registry of the image, as in Docker.
/// </summary>
internal static class RegistryAuthHeader
{
    internal const string Name = "X-Registry-Auth";

    private const int LongestHeader = 16 << 10;

    /// <summary>Reads it; null when it holds nobody's credentials, which is what clients without a login send.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not of the form; <see cref="ErrorKind.Unsupported"/>: a bare registry token.</exception>
    internal static RegistryCredentials? Parse(string header)
    {
        if (header.Length == 0)
        {
            return null;
        }

        // Some clients send the other alphabet.
        var bytes = new byte[Base64Url.GetMaxDecodedLength(header.Length)];
        if (header.Length > LongestHeader
            || Base64Url.DecodeFromChars(header.Replace('+', '-').Replace('/', '_'), bytes, out _, out var written) != OperationStatus.Done)
        {
            throw Malformed(null);
        }

        try
        {
            using var document = JsonDocument.Parse(bytes.AsMemory(0, written), new JsonDocumentOptions { MaxDepth = 4 });
            return document.RootElement.ValueKind switch
            {
                JsonValueKind.Null => null,
                JsonValueKind.Object => Credentials(document.RootElement),
                _ => throw Malformed(null),
            };
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException)
        {
            throw Malformed(e);
        }
    }

    /// <summary>Reads the object itself; null when there are nobody's credentials in it.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unsupported"/>: a bare registry token.</exception>
    internal static RegistryCredentials? Credentials(JsonElement auth)
    {
        if (Text("registrytoken").Length > 0)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"{Name}: a registrytoken is not taken in this version; a username with a password or an identitytoken are");
        }

        if (Text("identitytoken") is { Length: > 0 } token)
        {
            return new RegistryCredentials(string.Empty, string.Empty, token);
        }

        var (user, password) = (Text("username"), Text("password"));
        if (user.Length == 0 && Text("auth") is { Length: > 0 } both)
        {
            var parts = Encoding.UTF8.GetString(Convert.FromBase64String(both)).Split(':', 2);
            (user, password) = (parts[0], parts.Length == 2 ? parts[1].TrimEnd('\0') : string.Empty);
        }

        return user.Length > 0 ? new RegistryCredentials(user, password) : null;

        string Text(string name) => auth.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value.GetString()! : string.Empty;
    }

    // Never what was sent: it is a secret.
    private static EdgeHostException Malformed(Exception? cause) => cause is null
        ? new(ErrorKind.Invalid, $"{Name} is not base64url of a JSON object")
        : new(ErrorKind.Invalid, $"{Name} is not base64url of a JSON object", cause);
}
