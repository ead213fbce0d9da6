using System.Text.Json.Nodes;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Logging in to registries, with our own command, with Docker's client, and for the daemon itself.</summary>
public sealed class LoginTests(SharedDaemon shared) : IClassFixture<SharedDaemon>, IDisposable
{
    private readonly TemporaryDirectory _home = new();

    private DaemonUnderTest Daemon => shared.Daemon;

    private string ConfigFile => _home.Sub("config.json");

    public void Dispose() => _home.Dispose();

    [Fact]
    public async Task A_login_is_checked_kept_for_the_owner_alone_used_by_pulls_and_forgotten()
    {
        await using var registry = await WithImageAsync("a:1");
        (await CommandRun.RunAsync("install", ["-o", "4321", "-g", "1234", "/dev/null", ConfigFile])).Succeeds();
        File.WriteAllText(ConfigFile, """{"psFormat": "x", "auths": {"other.lan": {"auth": "YTpi", "extra": 1}}, "HttpHeaders": {"A": "b"}}""");

        Assert.Contains("does not accept", (await EdgehostAsync("guess", "login", "-u", "maria", "--password-stdin", registry.Host)).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("asks for credentials", (await EdgehostAsync(null, "pull", $"{registry.Host}/a:1")).Exits(1).Error, StringComparison.Ordinal);

        var login = (await EdgehostAsync("secret\n", "login", "-u", "maria", "--password-stdin", registry.Host)).Succeeds();
        Assert.Equal("Login Succeeded\n", login.Output);
        Assert.Contains($"unencrypted in '{ConfigFile}'", login.Error, StringComparison.Ordinal);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(ConfigFile));
        Assert.Equal("4321:1234\n", (await CommandRun.RunAsync("stat", ["-c", "%u:%g", ConfigFile])).Output);
        var file = JsonNode.Parse(File.ReadAllText(ConfigFile))!;
        Assert.Equal(Convert.ToBase64String("maria:secret"u8), (string)file["auths"]![registry.Host]!["auth"]!);
        Assert.Equal(("x", "b", "YTpi", 1), ((string)file["psFormat"]!, (string)file["HttpHeaders"]!["A"]!, (string)file["auths"]!["other.lan"]!["auth"]!, (int)file["auths"]!["other.lan"]!["extra"]!));

        (await EdgehostAsync(null, "pull", "-q", $"{registry.Host}/a:1")).Succeeds();
        Assert.Contains("[Username: maria]", (await EdgehostAsync(null, "login", registry.Host)).Succeeds().Output, StringComparison.Ordinal);

        // What one wrote the other reads, both ways.
        (await DockerAsync(null, "pull", "-q", $"{registry.Host}/a:1")).Succeeds();
        Assert.Equal($"Removing login credentials for {registry.Host}\n", (await EdgehostAsync(null, "logout", registry.Host)).Succeeds().Output);
        file = JsonNode.Parse(File.ReadAllText(ConfigFile))!;
        Assert.Null(file["auths"]![registry.Host]);
        Assert.NotNull(file["auths"]!["other.lan"]);
        (await DockerAsync("secret", "login", "-u", "maria", "--password-stdin", registry.Host)).Succeeds();
        Assert.Contains("Authenticating with existing credentials", (await EdgehostAsync(null, "login", registry.Host)).Succeeds().Output, StringComparison.Ordinal);
        (await EdgehostAsync(null, "logout", registry.Host)).Succeeds();
        Assert.Contains("non TTY", (await EdgehostAsync(null, "login", registry.Host)).Exits(1).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Docker_is_told_of_a_wrong_password_and_of_a_registry_that_is_not_there()
    {
        await using var registry = await RegistryFixture.StartAsync(user: "maria");
        Assert.Contains("does not accept the credentials of maria:***", (await DockerAsync("guess", "login", "-u", "maria", "--password-stdin", registry.Host)).Exits(1).Error, StringComparison.Ordinal);
        var gone = $"127.0.0.1:{Mqtt.BrokerUnderTest.FreePort()}";
        var nobody = (await EdgehostAsync("secret", "login", "-u", "maria", "--password-stdin", gone)).Exits(1);
        Assert.Contains($"registry {gone} cannot be asked", nobody.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", nobody.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(ConfigFile));
        Assert.Contains("is not the address of a registry", (await EdgehostAsync("x", "login", "-u", "a", "--password-stdin", "a b")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("requires --username", (await EdgehostAsync("x", "login", "--password-stdin", gone)).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("Use --password-stdin", (await EdgehostAsync(null, "login", "-u", "a", "-p", "b", gone)).Exits(1).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_credential_helper_keeps_the_secret_in_place_of_the_file()
    {
        await using var registry = await WithImageAsync("b:1");
        MakeHelper("test");
        File.WriteAllText(ConfigFile, """{"credsStore": "test"}""");
        Assert.Equal(string.Empty, (await EdgehostAsync("secret", "login", "-u", "maria", "--password-stdin", registry.Host)).Succeeds().Error);
        Assert.Equal("{}", JsonNode.Parse(File.ReadAllText(ConfigFile))!["auths"]![registry.Host]!.ToJsonString());
        Assert.Equal("secret", (string)JsonNode.Parse(File.ReadAllText(_home.Sub("kept")))!["Secret"]!);
        (await EdgehostAsync(null, "pull", "-q", $"{registry.Host}/b:1")).Succeeds();
        (await EdgehostAsync(null, "logout", registry.Host)).Succeeds();
        Assert.False(File.Exists(_home.Sub("kept")));
        Assert.Contains("asks for credentials", (await EdgehostAsync(null, "pull", $"{registry.Host}/b:1")).Exits(1).Error, StringComparison.Ordinal);

        File.WriteAllText(ConfigFile, $$$"""{"credHelpers": {"{{{registry.Host}}}": "nosuch"}}""");
        Assert.Contains("docker-credential-nosuch cannot be run", (await EdgehostAsync(null, "pull", $"{registry.Host}/b:1")).Exits(1).Error, StringComparison.Ordinal);

        // Docker Desktop leaves such a file behind; what is open to all is still to be had.
        await using var open = await RegistryFixture.StartAsync();
        using var layout = new OciLayout();
        layout.AddImage("a", [Layer.Gzip(Layer.Files(("open", "a")))], PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64");
        await open.PushAsync(layout.Path + ":a", "a:1");
        File.WriteAllText(ConfigFile, """{"credsStore": "nosuch"}""");
        Assert.Contains("WARNING: credential helper docker-credential-nosuch cannot be run", (await EdgehostAsync(null, "pull", "-q", $"{open.Host}/a:1")).Succeeds().Error, StringComparison.Ordinal);
        File.WriteAllText(ConfigFile, """{"credsStore": "../test"}""");
        Assert.Contains("not a path", (await EdgehostAsync(null, "pull", $"{registry.Host}/b:1")).Exits(1).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_daemon_has_logins_of_its_own_and_says_what_is_wrong_with_their_file()
    {
        await using var registry = await WithImageAsync("c:1");
        var file = Path.Combine(Path.GetDirectoryName(Daemon.ConfigFile)!, "auth.json");
        try
        {
            (await EdgehostAsync("secret", "login", "--authfile", file, "-u", "maria", "--password-stdin", registry.Host)).Succeeds();
            Assert.False(File.Exists(ConfigFile));
            var good = File.ReadAllText(file);
            File.WriteAllText(file, good.Replace("\"auth\":", "\"auth\"", StringComparison.Ordinal));
            Assert.Contains($"{file}, line 4: ", (await EdgehostAsync(null, "pull", $"{registry.Host}/c:1")).Exits(1).Error, StringComparison.Ordinal);
            File.WriteAllText(file, good);
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
            (await EdgehostAsync(null, "pull", "-q", $"{registry.Host}/c:1")).Succeeds();
            await Daemon.SaysAsync($"chmod 600 {file}");
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static async Task<RegistryFixture> WithImageAsync(string name)
    {
        using var layout = new OciLayout();
        layout.AddImage("a", [Layer.Gzip(Layer.Files((Guid.NewGuid().ToString(), "a")))], PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64");
        var registry = await RegistryFixture.StartAsync(user: "maria");
        await registry.PushAsync(layout.Path + ":a", name, "maria:secret");
        return registry;
    }

    // The protocol of docker-credential-helpers, with a file for a key ring.
    private void MakeHelper(string name)
    {
        var program = _home.Sub("docker-credential-" + name);
        File.WriteAllText(program, $$"""
            #!/bin/sh
            case $1 in
            store) cat >{{_home.Sub("kept")}} ;;
            get) cat >/dev/null; cat {{_home.Sub("kept")}} 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
            erase) cat >/dev/null; rm -f {{_home.Sub("kept")}} ;;
            esac
            """);
        File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserExecute);
    }

    private async Task<CommandRun> EdgehostAsync(string? input, params string[] arguments) => await CommandRun.RunAsync(
        await PublishedBinary.NativeAsync(), arguments, input, environment: new Dictionary<string, string?>(Environment) { ["EDGEHOST_HOST"] = "unix://" + Daemon.Socket });

    private Task<CommandRun> DockerAsync(string? input, params string[] arguments) =>
        CommandRun.RunAsync("docker", ["-H", "unix://" + Daemon.Socket, .. arguments], input, environment: Environment);

    private Dictionary<string, string?> Environment => new()
    {
        ["DOCKER_CONFIG"] = _home.Path,
        ["DOCKER_HOST"] = null,
        ["PATH"] = _home.Path + ":" + System.Environment.GetEnvironmentVariable("PATH"),
    };
}
