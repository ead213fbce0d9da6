using System.Buffers.Text;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Oci;

namespace EdgeHost.Cli;

/// <summary>Docker's <c>X-Registry-Auth</c>: what a login has kept of the user, for the daemon to be that user for one pull.</summary>
internal static class RegistryAuth
{
    internal const string Header = "X-Registry-Auth";

    /// <summary>The header's value for a reference; null without a login. A file or a credential helper that is broken is said, and keeps nobody from what is open to all.</summary>
    internal static async Task<string?> ForAsync(string reference)
    {
        if (!ImageReference.TryParse(reference, out var image))
        {
            return null;
        }

        try
        {
            return await DockerConfigFile.Read().FindAsync(image.Registry) is { } login ? Base64Url.EncodeToString(Json(image.Registry, login)) : null;
        }
        catch (EdgeHostException e)
        {
            Screen.Error().WriteLine($"WARNING: {e.Message}");
            return null;
        }
    }

    /// <summary>Docker's AuthConfig.</summary>
    internal static byte[] Json(string registry, RegistryLogin login)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("username", login.User);
            writer.WriteString("password", login.Password);
            writer.WriteString("serveraddress", RegistryLogins.KeyOf(registry));
            if (login.IdentityToken is { } token)
            {
                writer.WriteString("identitytoken", token);
            }

            writer.WriteEndObject();
        }

        return buffer.ToArray();
    }
}
