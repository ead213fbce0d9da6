using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using EdgeHost.Errors;

namespace EdgeHost.Images;

/// <summary>
/// One registry: how it is reached (TLS, private authorities, plain HTTP where that is allowed), who we are there, and
/// the tokens that it gave us. Sends requests; knows nothing of images.
/// </summary>
internal sealed class RegistryEndpoint : IDisposable
{
    private const int MaximumRedirects = 8;
    private const int MaximumTokenBytes = 64 << 10;

    private static readonly TimeSpan LoginLifetime = TimeSpan.FromMinutes(1);

    private readonly string _name;
    private readonly RegistryOptions _options;
    private readonly Func<string, CancellationToken, Task<RegistryCredentials?>>? _logins;
    private readonly TimeSpan _stallTimeout;
    private readonly bool _insecure;
    private readonly X509Certificate2Collection? _authorities;
    private readonly HttpClient _client;
    private readonly ConcurrentDictionary<string, (AuthenticationHeaderValue Header, DateTimeOffset Until)> _tokens = new(StringComparer.Ordinal);
    private string[] _schemes;

    internal RegistryEndpoint(
        string name, RegistryOptions options, TimeSpan stallTimeout, Func<string, CancellationToken, Task<RegistryCredentials?>>? logins = null)
    {
        _name = name;
        _options = options;
        _logins = logins;
        _stallTimeout = stallTimeout;
        Host = name == Oci.ImageReference.DockerHub ? "registry-1.docker.io" : name;

        // As Docker: the loopback needs no certificate, and may speak plain HTTP.
        _insecure = options.Insecure || (options.CaFile is null && IsLoopback(Host));
        _schemes = options.PlainHttp ? ["http"] : _insecure ? ["https", "http"] : ["https"];
        _authorities = options.CaFile is { } file ? ReadAuthorities(name, file) : null;
        _client = new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            ConnectTimeout = TimeSpan.FromSeconds(15),
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(15),
            ActivityHeadersPropagator = null,
            SslOptions = new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = IsTrusted },
        })
        {
            Timeout = Timeout.InfiniteTimeSpan,
        };
        _client.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("edgehost", "0.1"));
    }

    /// <summary>Host and port that are spoken to.</summary>
    internal string Host { get; }

    public void Dispose() => _client.Dispose();

    /// <summary>
    /// Sends a request, with a token or a password where the registry asks for one, and follows redirects; credentials
    /// never go to another host. The headers are there when this returns, the body is still to be read.
    /// </summary>
    /// <param name="method">GET or HEAD.</param>
    /// <param name="path">From <c>/v2/</c> on.</param>
    /// <param name="repository">For the scope of a token.</param>
    /// <param name="prepare">Adds headers; called for each try.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="HttpRequestException">The network failed.</exception>
    /// <exception cref="TimeoutException">Nothing was heard for too long.</exception>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Denied"/>, <see cref="ErrorKind.Unavailable"/> (certificate).</exception>
    internal async Task<HttpResponseMessage> SendAsync(
        HttpMethod method, string path, string repository, Action<HttpRequestMessage>? prepare, CancellationToken cancel)
    {
        var scope = $"repository:{repository}:pull";
        for (var asked = false; ; asked = true)
        {
            var response = await SendOverAsync(method, path, scope, prepare, cancel).ConfigureAwait(false);

            // Only the registry may ask for a password, never a host that it has redirected to: that one would name its own
            // token server, and get it (CVE-2020-15157).
            if (response.StatusCode != HttpStatusCode.Unauthorized || asked || !IsOwn(response))
            {
                return response;
            }

            using (response)
            {
                await AuthenticateAsync(response, scope, cancel).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Asks whether the registry takes the credentials of the options: the base of its API, then a token for no repository at all.</summary>
    /// <returns>The identity token that it wants to see from now on in place of the password; null when it gave none.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Denied"/>: it does not take them.</exception>
    /// <inheritdoc cref="SendAsync" path="/exception"/>
    internal async Task<string?> LoginAsync(CancellationToken cancel)
    {
        string? identity = null;
        for (var asked = false; ; asked = true)
        {
            using var response = await SendOverAsync(HttpMethod.Get, "/v2/", string.Empty, null, cancel).ConfigureAwait(false);
            if (response.IsSuccessStatusCode)
            {
                return identity;
            }

            if (response.StatusCode != HttpStatusCode.Unauthorized)
            {
                throw new EdgeHostException(ErrorKind.Unavailable, $"registry {_name} answers {(int)response.StatusCode} to a login");
            }

            if (asked || !IsOwn(response))
            {
                throw new EdgeHostException(ErrorKind.Denied, $"registry {_name} does not accept the credentials of {_options.Credentials}");
            }

            identity = await AuthenticateAsync(response, string.Empty, cancel).ConfigureAwait(false);
        }
    }

    private async Task<HttpResponseMessage> SendOverAsync(
        HttpMethod method, string path, string scope, Action<HttpRequestMessage>? prepare, CancellationToken cancel)
    {
        var schemes = _schemes;
        for (var i = 0; ; i++)
        {
            try
            {
                var response = await FollowAsync(method, new Uri($"{schemes[i]}://{Host}{path}"), scope, prepare, cancel).ConfigureAwait(false);
                _schemes = [schemes[i]];
                return response;
            }
            catch (HttpRequestException) when (i + 1 < schemes.Length)
            {
                // Not TLS, or nobody there: the next scheme tells which.
            }
            catch (HttpRequestException e) when (e.HttpRequestError == HttpRequestError.SecureConnectionError && e.InnerException is AuthenticationException inner)
            {
                throw new EdgeHostException(
                    ErrorKind.Unavailable,
                    $"registry {_name}: no trusted TLS connection ({inner.Message.ReplaceLineEndings(" ").TrimEnd('.')}): give its authority as the registry's caFile, or set plainHttp if it speaks none",
                    e);
            }
        }
    }

    private async Task<HttpResponseMessage> FollowAsync(
        HttpMethod method, Uri uri, string scope, Action<HttpRequestMessage>? prepare, CancellationToken cancel)
    {
        var home = uri;
        for (var hop = 0; ; hop++)
        {
            using var request = new HttpRequestMessage(method, uri);
            prepare?.Invoke(request);
            if (SameOrigin(uri, home) && _tokens.TryGetValue(scope, out var token) && token.Until > DateTimeOffset.UtcNow)
            {
                request.Headers.Authorization = token.Header;
            }

            var response = await SendOnceAsync(request, cancel).ConfigureAwait(false);
            if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308) || response.Headers.Location is not { } location)
            {
                return response;
            }

            response.Dispose();
            var next = new Uri(uri, location);
            if (hop == MaximumRedirects)
            {
                throw new EdgeHostException(ErrorKind.Unavailable, $"registry {_name}: more than {MaximumRedirects} redirects");
            }

            if (next.Scheme is not ("https" or "http") || (next.Scheme == "http" && uri.Scheme == "https"))
            {
                throw new EdgeHostException(ErrorKind.Unavailable, $"registry {_name} redirects from {uri.Scheme} to {next.Scheme}, which is refused");
            }

            uri = next;
        }
    }

    private async Task<HttpResponseMessage> SendOnceAsync(HttpRequestMessage request, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(_stallTimeout);
        try
        {
            return await _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new TimeoutException($"no answer for {_stallTimeout.TotalSeconds:0.#} s");
        }
    }

    /// <param name="response">The one that asks.</param>
    /// <param name="scope">What a token is to be good for; empty at a login, which asks for an identity token, too.</param>
    /// <param name="cancel">Ends it.</param>
    /// <returns>The identity token, if one came.</returns>
    private async Task<string?> AuthenticateAsync(HttpResponseMessage response, string scope, CancellationToken cancel)
    {
        var credentials = _options.Credentials ?? (_logins is null ? null : await _logins(_name, cancel).ConfigureAwait(false));
        foreach (var challenge in response.Headers.WwwAuthenticate)
        {
            if (challenge.Scheme.Equals("Bearer", StringComparison.OrdinalIgnoreCase))
            {
                var (token, lifetime, identity) = await FetchTokenAsync(Parameters(challenge.Parameter), scope, credentials, cancel).ConfigureAwait(false);
                _tokens[scope] = (new AuthenticationHeaderValue("Bearer", token), DateTimeOffset.UtcNow + lifetime);
                return identity;
            }

            if (challenge.Scheme.Equals("Basic", StringComparison.OrdinalIgnoreCase) && credentials is { IdentityToken: null })
            {
                // A login may be taken back; what the configuration says makes a new endpoint when it changes.
                _tokens[scope] = (Basic(credentials), _options.Credentials is null ? DateTimeOffset.UtcNow + LoginLifetime : DateTimeOffset.MaxValue);
                return null;
            }
        }

        throw new EdgeHostException(
            ErrorKind.Denied,
            credentials is null ? $"registry {_name} asks for credentials: there are none for it" : $"registry {_name} asks for a kind of credentials that is not known ({response.Headers.WwwAuthenticate})");
    }

    /// <summary>The token flow of the distribution specification (Docker's token authentication; OAuth2 with an identity token).</summary>
    private async Task<(string Token, TimeSpan Lifetime, string? Identity)> FetchTokenAsync(
        Dictionary<string, string> challenge, string scope, RegistryCredentials? credentials, CancellationToken cancel)
    {
        if (!challenge.TryGetValue("realm", out var realm) || !Uri.TryCreate(realm, UriKind.Absolute, out var uri) || uri.Scheme is not ("https" or "http"))
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"registry {_name} asks for a token but does not say where to get it");
        }

        if (uri.Scheme == "http" && _schemes is ["https"])
        {
            throw new EdgeHostException(ErrorKind.Denied, $"registry {_name} speaks TLS but wants its tokens to be fetched in clear from {uri.Host}, which is refused");
        }

        var service = challenge.GetValueOrDefault("service", string.Empty);
        using var request = new HttpRequestMessage();
        if (credentials?.IdentityToken is { } identity)
        {
            request.Method = HttpMethod.Post;
            request.RequestUri = uri;
            List<KeyValuePair<string, string>> form = [new("grant_type", "refresh_token"), new("refresh_token", identity), new("service", service), new("client_id", "edgehost")];
            if (scope.Length > 0)
            {
                form.Add(new("scope", scope));
            }

            request.Content = new FormUrlEncodedContent(form);
        }
        else
        {
            var query = scope.Length > 0 ? $"scope={Uri.EscapeDataString(scope)}" : "offline_token=true&client_id=edgehost";
            query += service.Length > 0 ? $"&service={Uri.EscapeDataString(service)}" : string.Empty;
            query += credentials is not null ? $"&account={Uri.EscapeDataString(credentials.User)}" : string.Empty;
            request.Method = HttpMethod.Get;
            request.RequestUri = new Uri(realm + (uri.Query.Length > 0 ? "&" : "?") + query);
            request.Headers.Authorization = credentials is null ? null : Basic(credentials);
        }

        using var response = await SendOnceAsync(request, cancel).ConfigureAwait(false);
        if (response.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden or HttpStatusCode.BadRequest)
        {
            throw new EdgeHostException(
                ErrorKind.Denied,
                credentials is null ? $"registry {_name} gives no token to anonymous users" : $"registry {_name} does not accept the credentials of {credentials}");
        }

        response.EnsureSuccessStatusCode();
        var bytes = await ReadBoundedAsync(response, MaximumTokenBytes, $"the token of registry {_name}", cancel).ConfigureAwait(false);
        TokenAnswer? answer;
        try
        {
            answer = JsonSerializer.Deserialize(bytes, RegistryJson.Default.TokenAnswer);
        }
        catch (JsonException e)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"registry {_name} answers with a token that cannot be read", e);
        }

        var token = answer?.Token is { Length: > 0 } plain ? plain : answer?.AccessToken;
        if (string.IsNullOrEmpty(token) || token.AsSpan().ContainsAnyExceptInRange('!', '~'))
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"registry {_name} answers without a token");
        }

        // The specification's default and least is 60 s; a token is not used in its last seconds.
        var seconds = Math.Clamp(answer!.ExpiresIn ?? 60, 60, 24 * 3600);
        return (token, TimeSpan.FromSeconds(seconds - 10), scope.Length == 0 && answer.RefreshToken is { Length: > 0 } refresh ? refresh : null);
    }

    /// <summary>Reads a small body.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: it is larger than allowed.</exception>
    internal async Task<byte[]> ReadBoundedAsync(HttpResponseMessage response, int maximum, string what, CancellationToken cancel)
    {
        if (response.Content.Headers.ContentLength > maximum)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{what} has {response.Content.Headers.ContentLength} bytes, more than {maximum}");
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        try
        {
            limit.CancelAfter(_stallTimeout);
            var body = await response.Content.ReadAsStreamAsync(limit.Token).ConfigureAwait(false);
            await using (body.ConfigureAwait(false))
            {
                using var bytes = new MemoryStream();
                var buffer = new byte[16 << 10];
                while (true)
                {
                    limit.CancelAfter(_stallTimeout);
                    var count = await body.ReadAsync(buffer, limit.Token).ConfigureAwait(false);
                    if (count == 0)
                    {
                        return bytes.ToArray();
                    }

                    bytes.Write(buffer, 0, count);
                    if (bytes.Length > maximum)
                    {
                        throw new EdgeHostException(ErrorKind.Corrupt, $"{what} has more than {maximum} bytes");
                    }
                }
            }
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new TimeoutException($"no byte for {_stallTimeout.TotalSeconds:0.#} s");
        }
    }

    private static AuthenticationHeaderValue Basic(RegistryCredentials credentials) =>
        new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{credentials.User}:{credentials.Password}")));

    private bool IsOwn(HttpResponseMessage response) =>
        response.RequestMessage?.RequestUri is { } asked && SameOrigin(asked, new Uri($"{_schemes[0]}://{Host}/"));

    private static bool SameOrigin(Uri one, Uri other) =>
        one.Scheme == other.Scheme && one.Port == other.Port && string.Equals(one.Host, other.Host, StringComparison.OrdinalIgnoreCase);

    private static bool IsLoopback(string host)
    {
        var name = new Uri($"http://{host}").DnsSafeHost;
        return name == "localhost" || (IPAddress.TryParse(name, out var address) && IPAddress.IsLoopback(address));
    }

    private static X509Certificate2Collection ReadAuthorities(string name, string file)
    {
        var authorities = new X509Certificate2Collection();
        try
        {
            authorities.ImportFromPemFile(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CryptographicException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"registry {name}: caFile {file} cannot be read: {e.Message}", e);
        }

        return authorities.Count > 0 ? authorities : throw new EdgeHostException(ErrorKind.Invalid, $"registry {name}: caFile {file} has no certificate in it");
    }

    /// <summary><c>realm="…",service="…"</c> of a challenge.</summary>
    private static Dictionary<string, string> Parameters(string? text)
    {
        var parameters = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        var rest = (text ?? string.Empty).AsSpan();
        while (true)
        {
            rest = rest.TrimStart(", ");
            var equals = rest.IndexOf('=');
            if (equals <= 0)
            {
                return parameters;
            }

            var key = rest[..equals].Trim().ToString();
            rest = rest[(equals + 1)..].TrimStart(' ');
            var value = new StringBuilder();
            if (rest.StartsWith("\""))
            {
                var i = 1;
                for (; i < rest.Length && rest[i] != '"'; i++)
                {
                    if (rest[i] == '\\' && i + 1 < rest.Length)
                    {
                        i++;
                    }

                    value.Append(rest[i]);
                }

                rest = rest[Math.Min(i + 1, rest.Length)..];
            }
            else
            {
                var comma = rest.IndexOf(',');
                value.Append(comma < 0 ? rest : rest[..comma]);
                rest = comma < 0 ? [] : rest[comma..];
            }

            parameters[key] = value.ToString();
        }
    }

    private bool IsTrusted(object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        if (errors == SslPolicyErrors.None)
        {
            return true;
        }

        // Not checking is for the registry itself, never for a host that it redirects to.
        var target = (sender as SslStream)?.TargetHostName;
        if (_insecure && string.Equals(target, new Uri($"https://{Host}").IdnHost, StringComparison.OrdinalIgnoreCase))
        {
            return true;
        }

        if (_authorities is null || certificate is null || errors != SslPolicyErrors.RemoteCertificateChainErrors)
        {
            return false;
        }

        using var own = new X509Chain();
        own.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        own.ChainPolicy.CustomTrustStore.AddRange(_authorities);
        own.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        own.ChainPolicy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.1"));
        if (chain is not null)
        {
            foreach (var element in chain.ChainElements)
            {
                own.ChainPolicy.ExtraStore.Add(element.Certificate);
            }
        }

        using var leaf = new X509Certificate2(certificate);
        return own.Build(leaf);
    }
}

/// <summary>What a token server answers.</summary>
internal sealed class TokenAnswer
{
    [JsonPropertyName("token")]
    public string? Token { get; init; }

    [JsonPropertyName("access_token")]
    public string? AccessToken { get; init; }

    [JsonPropertyName("refresh_token")]
    public string? RefreshToken { get; init; }

    [JsonPropertyName("expires_in")]
    public int? ExpiresIn { get; init; }
}

[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(TokenAnswer))]
internal sealed partial class RegistryJson : JsonSerializerContext;
