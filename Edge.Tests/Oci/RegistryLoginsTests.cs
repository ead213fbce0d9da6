using System.Text;
using EdgeHost.Errors;
using EdgeHost.Oci;
using Xunit;

namespace Edge.Tests.Oci;

/// <summary>Docker's config.json, read and written.</summary>
public sealed class RegistryLoginsTests
{
    private const string File = """
        {
          "auths": {
            "https://index.docker.io/v1/": {"auth": "bWFyaWE6c2U6Y3JldA=="},
            "http://registry.lan:5000/v2/": {"username": "u", "password": "p"},
            "token.lan": {"auth": "PHRva2VuPjo=", "identitytoken": "t"},
            "kept.lan": {}
          },
          "credHelpers": {"helped.lan": "pass"}
        }
        """;

    private static RegistryLogins Parse(string json) => RegistryLogins.Parse(Encoding.UTF8.GetBytes(json), "config.json");

    [Fact]
    public void Keys_are_found_in_all_forms_that_docker_has_written_over_the_years()
    {
        var logins = Parse(File);
        Assert.Equal(("maria", "se:cret"), (logins.Find("docker.io")!.User, logins.Find("docker.io")!.Password));
        Assert.Equal("u", logins.Find("registry.lan:5000")!.User);
        Assert.Equal("t", logins.Find("token.lan")!.IdentityToken);
        Assert.Null(logins.Find("kept.lan"));
        Assert.Null(logins.Find("registry.lan"));
        Assert.Equal("pass", logins.HelperOf("helped.lan"));
        Assert.Null(logins.HelperOf("docker.io"));
        Assert.Equal("all", Parse("""{"credsStore": "all", "credHelpers": {"a": "b"}}""").HelperOf("docker.io"));
    }

    [Fact]
    public void A_login_takes_the_place_of_all_others_of_its_registry()
    {
        var changed = RegistryLogins.Parse(Parse(File).With("registry.lan:5000", new RegistryLogin("new", "s", null)), "config.json");
        Assert.Equal("new", changed.Find("registry.lan:5000")!.User);
        var text = Encoding.UTF8.GetString(changed.With("registry.lan:5000", null));
        Assert.DoesNotContain("registry.lan:5000", text, StringComparison.Ordinal);
        Assert.Contains("\"helped.lan\": \"pass\"", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "")]
    [InlineData("""{"auths": null, "credHelpers": null, "credsStore": null}""", "")]
    [InlineData("null", "not a JSON object")]
    [InlineData("[]", "not a JSON object")]
    [InlineData("{\n\"auths\": {,}}", "config.json, line 2: ")]
    [InlineData("""{"auths": []}""", "auths is not an object")]
    [InlineData("""{"auths": {"a": 1}}""", "auths.\"a\" is not an object")]
    [InlineData("""{"auths": {"a": {"auth": "c2VjcmV0"}}}""", "auths.\"a\".auth is not base64 of USER:PASSWORD")]
    [InlineData("""{"auths": {"a": {"auth": "%secret%"}}}""", "auths.\"a\".auth is not base64 of USER:PASSWORD")]
    [InlineData("""{"auths": {"a": {"username": {}}}}""", "auths.\"a\".username is not a text")]
    [InlineData("""{"credsStore": 1}""", "credsStore is not a text")]
    public void What_is_broken_is_named_and_nothing_that_is_hidden_with_it(string json, string words)
    {
        if (words.Length == 0)
        {
            Assert.Null(Parse(json).Find("a"));
            return;
        }

        var e = Assert.Throws<EdgeHostException>(() => Parse(json));
        Assert.Equal(ErrorKind.Invalid, e.Kind);
        Assert.Contains(words, e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", e.ToString(), StringComparison.Ordinal);
    }
}
