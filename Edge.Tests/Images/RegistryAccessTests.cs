using System.Text;
using EdgeHost.Errors;
using EdgeHost.Images;
using Xunit;

namespace Edge.Tests.Images;

/// <summary>How registries are reached, and who we are there.</summary>
public sealed class RegistryAccessTests : IDisposable
{
    private readonly OciLayout _layout = new();
    private readonly string _manifest;

    public RegistryAccessTests() => _manifest = (string)_layout.AddImage("a", [Layer.Gzip(Layer.Files(("a", "a")))])["digest"]!;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _layout.Dispose();

    private static StoreFixture With(string host, RegistryOptions options) =>
        new(new ImageStoreOptions { Registries = new Dictionary<string, RegistryOptions> { [host] = options } });

    private static async Task<EdgeHostException> FailAsync(StoreFixture fixture, string reference) =>
        await Assert.ThrowsAsync<EdgeHostException>(() => fixture.Store.PullAsync(reference, null, Cancel));

    [Fact]
    public async Task A_registry_with_a_password_takes_the_right_one_and_no_other()
    {
        await using var registry = await RegistryFixture.StartAsync(user: "maria");
        await registry.PushAsync(_layout.Path + ":a", "a:1", "maria:secret");
        using var right = With(registry.Host, new RegistryOptions { Credentials = new RegistryCredentials("maria", "secret") });
        using var wrong = With(registry.Host, new RegistryOptions { Credentials = new RegistryCredentials("maria", "guess") });
        using var none = new StoreFixture();
        Assert.NotNull(await right.Store.PullAsync($"{registry.Host}/a:1", null, Cancel));
        var refused = await FailAsync(wrong, $"{registry.Host}/a:1");
        Assert.Equal(ErrorKind.Denied, refused.Kind);
        Assert.DoesNotContain("guess", refused.ToString(), StringComparison.Ordinal);
        Assert.Equal(ErrorKind.Denied, (await FailAsync(none, $"{registry.Host}/a:1")).Kind);
    }

    [Fact]
    public async Task Credentials_given_with_a_pull_serve_that_pull_alone()
    {
        await using var registry = await RegistryFixture.StartAsync(user: "maria");
        using var layout = new OciLayout();
        layout.AddImage("b", [Layer.Gzip(Layer.Files(("b", "b")))]);
        await registry.PushAsync(_layout.Path + ":a", "a:1", "maria:secret");
        await registry.PushAsync(layout.Path + ":b", "a:2", "maria:secret");
        using var fixture = new StoreFixture();
        Assert.NotNull(await fixture.Store.PullAsync($"{registry.Host}/a:1", new RegistryCredentials("maria", "secret"), null, Cancel));
        Assert.Equal(ErrorKind.Denied, (await FailAsync(fixture, $"{registry.Host}/a:2")).Kind);
    }

    [Theory]
    [InlineData("Env")]
    [InlineData("Cmd")]
    [InlineData("Entrypoint")]
    public async Task A_configuration_with_a_null_or_a_zero_byte_where_a_text_belongs_is_refused(string field)
    {
        foreach (var bad in (string[])["[null]", """["a=\u0000b"]"""])
        {
            using var layout = new OciLayout();
            var manifest = (string)layout.AddImage("a", [Layer.Gzip(Layer.Files(("a", "a")))], change: config => config["config"]![field] = System.Text.Json.Nodes.JsonNode.Parse(bad))["digest"]!;
            await using var registry = new ScriptedRegistry(request => ScriptedRegistry.Serve(layout, manifest, request));
            using var fixture = new StoreFixture();
            var e = await FailAsync(fixture, $"{registry.Host}/a:1");
            Assert.Equal(ErrorKind.Corrupt, e.Kind);
            Assert.Contains(field, e.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_private_authority_is_trusted_where_it_is_configured_and_nowhere_else()
    {
        await using var registry = await RegistryFixture.StartAsync(tls: true);
        await registry.PushAsync(_layout.Path + ":a", "a:1");
        using var trusted = With(registry.Host, new RegistryOptions { CaFile = registry.Authority!.AuthorityFile });
        Assert.NotNull(await trusted.Store.PullAsync($"{registry.Host}/a:1", null, Cancel));

        using var other = new TemporaryDirectory();
        using var foreign = With(registry.Host, new RegistryOptions { CaFile = TestAuthority.Make(other.Path).AuthorityFile });
        var e = await FailAsync(foreign, $"{registry.Host}/a:1");
        Assert.Equal(ErrorKind.Unavailable, e.Kind);
        Assert.Contains("caFile", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_loopback_may_have_any_certificate_or_none_as_with_Docker()
    {
        await using var registry = await RegistryFixture.StartAsync(tls: true);
        await registry.PushAsync(_layout.Path + ":a", "a:1");
        using var fixture = new StoreFixture();
        Assert.NotNull(await fixture.Store.PullAsync($"{registry.Host}/a:1", null, Cancel));
    }

    [Fact]
    public async Task A_registry_elsewhere_that_speaks_plain_HTTP_is_refused_unless_configured()
    {
        await using var registry = await RegistryFixture.StartAsync();
        await registry.PushAsync(_layout.Path + ":a", "a:1");

        await using var address = await OtherAddress.FindAsync();
        await using var proxy = new TcpProxy(registry.Port, address.Value);
        var host = proxy.Host;
        using var strict = new StoreFixture(new ImageStoreOptions { Attempts = 2 });
        Assert.Equal(ErrorKind.Unavailable, (await FailAsync(strict, $"{host}/a:1")).Kind);
        using var plain = With(host, new RegistryOptions { PlainHttp = true });
        Assert.NotNull(await plain.Store.PullAsync($"{host}/a:1", null, Cancel));
        using var insecure = With(host, new RegistryOptions { Insecure = true });
        Assert.NotNull(await insecure.Store.PullAsync($"{host}/a:1", null, Cancel));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_token_is_fetched_once_for_a_repository_and_the_password_goes_to_its_server_only(bool anonymous)
    {
        ScriptedRegistry? tokens = null;
        var issued = 0;
        await using var server = tokens = new ScriptedRegistry(request =>
        {
            issued++;
            return request.Target.Contains("scope=repository%3Ateam%2Fa%3Apull", StringComparison.Ordinal) && request.Target.Contains("service=reg", StringComparison.Ordinal)
                && (anonymous == request.Header("Authorization") is null)
                    ? new Answer(200, """{"access_token":"the-token","expires_in":300}""")
                    : new Answer(401);
        });
        await using var registry = new ScriptedRegistry(request => request.Header("Authorization") == "Bearer the-token"
            ? ScriptedRegistry.Serve(_layout, _manifest, request)
            : new Answer(401, string.Empty, ("WWW-Authenticate", $"Bearer realm=\"http://{tokens.Host}/token\",service=\"reg\",scope=\"repository:team/a:pull\"")));
        using var fixture = With(registry.Host, new RegistryOptions { Credentials = anonymous ? null : new RegistryCredentials("maria", "secret") });
        Assert.NotNull(await fixture.Store.PullAsync($"{registry.Host}/team/a:1", null, Cancel));
        Assert.Equal(1, issued);
        Assert.DoesNotContain(registry.Seen, request => request.Header("Authorization")?.StartsWith("Basic", StringComparison.Ordinal) == true);
        if (!anonymous)
        {
            Assert.Equal("Basic " + Convert.ToBase64String("maria:secret"u8), server.Seen[0].Header("Authorization"));
        }
    }

    [Fact]
    public async Task A_login_at_a_token_server_gives_an_identity_token_in_place_of_the_password()
    {
        ScriptedRegistry? tokens = null;
        await using var server = tokens = new ScriptedRegistry(request =>
            request.Header("Authorization") == "Basic " + Convert.ToBase64String("maria:secret"u8) && request.Target.Contains("offline_token=true", StringComparison.Ordinal) && !request.Target.Contains("scope=", StringComparison.Ordinal)
                ? new Answer(200, """{"token":"t","refresh_token":"idtoken"}""")
                : new Answer(401));
        await using var registry = new ScriptedRegistry(request => request.Header("Authorization") == "Bearer t" && request.Target == "/v2/"
            ? new Answer(200, "{}")
            : new Answer(401, string.Empty, ("WWW-Authenticate", $"Bearer realm=\"http://{tokens.Host}/token\",service=\"s\"")));
        using var fixture = new StoreFixture();
        Assert.Equal("idtoken", await fixture.Store.LoginAsync(registry.Host, new RegistryCredentials("maria", "secret"), Cancel));
        var refused = await Assert.ThrowsAsync<EdgeHostException>(() => fixture.Store.LoginAsync(registry.Host, new RegistryCredentials("maria", "guess"), Cancel));
        Assert.Equal(ErrorKind.Denied, refused.Kind);
        Assert.DoesNotContain("guess", refused.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_identity_token_is_exchanged()
    {
        ScriptedRegistry? tokens = null;
        await using var server = tokens = new ScriptedRegistry(request =>
            request.Method == "POST" && request.Body.Contains("refresh_token=idtoken", StringComparison.Ordinal) ? new Answer(200, """{"token":"t"}""") : new Answer(401));
        await using var registry = new ScriptedRegistry(request => request.Header("Authorization") == "Bearer t"
            ? ScriptedRegistry.Serve(_layout, _manifest, request)
            : new Answer(401, string.Empty, ("WWW-Authenticate", $"Bearer realm=\"http://{tokens.Host}/token\"")));
        using var fixture = With(registry.Host, new RegistryOptions { Credentials = new RegistryCredentials(string.Empty, string.Empty, "idtoken") });
        Assert.NotNull(await fixture.Store.PullAsync($"{registry.Host}/a:1", null, Cancel));
    }

    [Fact]
    public async Task A_redirect_to_another_host_is_followed_without_the_credentials()
    {
        await using var elsewhere = new ScriptedRegistry(request => ScriptedRegistry.Serve(_layout, _manifest, request));
        await using var registry = new ScriptedRegistry(request => request.Header("Authorization") is null
            ? new Answer(401, string.Empty, ("WWW-Authenticate", "Basic realm=\"r\""))
            : request.Target.Contains("/blobs/", StringComparison.Ordinal)
                ? new Answer(307, string.Empty, ("Location", $"http://{elsewhere.Host}{request.Target}"))
                : ScriptedRegistry.Serve(_layout, _manifest, request));
        using var fixture = With(registry.Host, new RegistryOptions { Credentials = new RegistryCredentials("maria", "secret") });
        Assert.NotNull(await fixture.Store.PullAsync($"{registry.Host}/a:1", null, Cancel));
        Assert.Equal(2, elsewhere.Seen.Count);
        Assert.All(elsewhere.Seen, request => Assert.Null(request.Header("Authorization")));
    }

    [Theory]
    [InlineData("Basic realm=\"r\"")]
    [InlineData("Bearer realm=\"http://{0}/token\",service=\"s\"")]
    public async Task A_host_that_a_registry_redirects_to_cannot_ask_for_the_password(string challenge)
    {
        ScriptedRegistry? thief = null;
        await using var elsewhere = thief = new ScriptedRegistry(request => request.Target.StartsWith("/token", StringComparison.Ordinal)
            ? new Answer(200, """{"token":"t"}""")
            : new Answer(401, string.Empty, ("WWW-Authenticate", string.Format(System.Globalization.CultureInfo.InvariantCulture, challenge, thief!.Host))));
        await using var registry = new ScriptedRegistry(request => request.Target.Contains("/blobs/", StringComparison.Ordinal) || request.Target == "/v2/"
            ? new Answer(307, string.Empty, ("Location", $"http://{elsewhere.Host}{request.Target}"))
            : ScriptedRegistry.Serve(_layout, _manifest, request));
        using var fixture = With(registry.Host, new RegistryOptions { Credentials = new RegistryCredentials("maria", "secret") });
        Assert.Equal(ErrorKind.Denied, (await FailAsync(fixture, $"{registry.Host}/a:1")).Kind);
        Assert.Equal(ErrorKind.Denied, (await Assert.ThrowsAsync<EdgeHostException>(() => fixture.Store.LoginAsync(registry.Host, new RegistryCredentials("maria", "secret"), Cancel))).Kind);
        Assert.NotEmpty(elsewhere.Seen);
        Assert.All([.. elsewhere.Seen, .. registry.Seen], request => Assert.Null(request.Header("Authorization")));
        Assert.DoesNotContain(elsewhere.Seen, request => request.Target.StartsWith("/token", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Redirects_without_end_and_documents_without_end_are_given_up()
    {
        await using var circle = new ScriptedRegistry(request => new Answer(302, string.Empty, ("Location", request.Target)));
        await using var endless = new ScriptedRegistry(request => new Answer(200, new byte[(4 << 20) + 1]));
        using var fixture = new StoreFixture();
        Assert.Equal(ErrorKind.Unavailable, (await FailAsync(fixture, $"{circle.Host}/a:1")).Kind);
        Assert.Equal(ErrorKind.Corrupt, (await FailAsync(fixture, $"{endless.Host}/a:1")).Kind);
    }

    [Theory]
    [InlineData("not json")]
    [InlineData("{}")]
    [InlineData("""{"schemaVersion":1,"fsLayers":[]}""")]
    [InlineData("""{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}""")]
    [InlineData("""{"schemaVersion":2,"config":{"digest":"sha256:../../etc","size":1},"layers":[]}""")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":1},"layers":[]}""")]
    public async Task A_document_that_is_no_image_is_refused_in_words(string document)
    {
        await using var registry = new ScriptedRegistry(_ => new Answer(200, Encoding.UTF8.GetBytes(document)));
        using var fixture = new StoreFixture();
        var e = await FailAsync(fixture, $"{registry.Host}/a:1");
        Assert.True(e.Kind is ErrorKind.Corrupt or ErrorKind.Unsupported, e.ToString());
        Assert.DoesNotContain('\n', e.Message);
    }
}
