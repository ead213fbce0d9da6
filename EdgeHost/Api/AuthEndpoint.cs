using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Oci;

namespace EdgeHost.Api;

/// <summary><c>POST /auth</c>: whether a registry takes a name and a password, for <c>docker login</c>, which keeps them itself.</summary>
internal sealed class AuthEndpoint(IImageStore images)
{
    internal void Map(ApiRouter router) => router.Map("POST", "/auth", CheckAsync);

    private async Task CheckAsync(ApiExchange exchange)
    {
        RegistryCredentials? credentials;
        string address;
        try
        {
            using var body = JsonDocument.Parse(await exchange.ReadBodyAsync(), new JsonDocumentOptions { MaxDepth = 4 });
            credentials = RegistryAuthHeader.Credentials(body.RootElement);
            address = body.RootElement.TryGetProperty("serveraddress", out var given) ? given.GetString() ?? string.Empty : string.Empty;
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException)
        {
            // Never what was sent: it is a secret.
            throw new EdgeHostException(ErrorKind.Invalid, "the body of POST /auth is not a JSON object with username, password and serveraddress");
        }

        var registry = RegistryLogins.RegistryOf(address.Length > 0 ? address : RegistryLogins.DockerHubKey);
        if (!Uri.TryCreate($"http://{registry}", UriKind.Absolute, out var uri) || uri.Authority.Length == 0 || uri.PathAndQuery != "/")
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"serveraddress {address} is not the address of a registry, as in registry.lan:5000");
        }

        if (credentials is null)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"no username and password for registry {registry}");
        }

        try
        {
            var identity = await images.LoginAsync(registry, credentials, exchange.Aborted);
            await exchange.JsonAsync(200, new Dictionary<string, string> { ["Status"] = "Login Succeeded", ["IdentityToken"] = identity ?? string.Empty }, DockerJson.Out.DictionaryStringString);
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.Denied)
        {
            // Docker's client asks for another password after this status alone.
            await exchange.JsonAsync(401, new ErrorView(e.Message), DockerJson.Out.ErrorView);
        }
    }
}
