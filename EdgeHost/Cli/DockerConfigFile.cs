using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Cli;

/// <summary>
/// The file in which logins of registries are kept, in Docker's format: <c>config.json</c> in <c>$DOCKER_CONFIG</c> or
/// <c>~/.docker</c>. Where it names a credential helper, that program keeps the secret.
/// </summary>
internal sealed class DockerConfigFile
{
    private const uint Owner = 0x180; // 0600
    private const uint OwnerDirectory = 0x1C0; // 0700

    private readonly RegistryLogins _logins;

    private DockerConfigFile(string path, RegistryLogins logins) => (Path, _logins) = (path, logins);

    /// <summary>Where it is, or will be.</summary>
    internal string Path { get; }

    /// <summary>Reads it; one that is not there has no logins.</summary>
    /// <param name="path">Null for the user's own.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: it cannot be read, or is broken.</exception>
    internal static DockerConfigFile Read(string? path = null)
    {
        path = System.IO.Path.GetFullPath(path ?? OwnPath());
        try
        {
            // As docker: who keeps it elsewhere and links to it keeps the link.
            var there = new FileInfo(path);
            path = there.LinkTarget is null ? path : there.ResolveLinkTarget(returnFinalTarget: true)!.FullName;
            if (!File.Exists(path))
            {
                return new DockerConfigFile(path, RegistryLogins.Parse([], path));
            }

            return new FileInfo(path).Length <= RegistryLogins.MaximumBytes
                ? new DockerConfigFile(path, RegistryLogins.Parse(File.ReadAllBytes(path), path))
                : throw new EdgeHostException(ErrorKind.Invalid, $"{path} has more than {RegistryLogins.MaximumBytes} bytes");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the logins of registries cannot be read: {e.Message}", e);
        }
    }

    /// <summary>The login of a registry; null without one.</summary>
    internal async Task<RegistryLogin?> FindAsync(string registry) => _logins.HelperOf(registry) is not { } helper
        ? _logins.Find(registry)
        : await CredentialHelper.RunAsync(helper, "get", RegistryLogins.KeyOf(registry), CancellationToken.None) is { } answer
            ? RegistryLogins.FromHelper(helper, answer)
            : null;

    /// <summary>Keeps a login.</summary>
    /// <returns>Whether the secret lies in the file itself.</returns>
    internal async Task<bool> StoreAsync(string registry, RegistryLogin login)
    {
        if (_logins.HelperOf(registry) is not { } helper)
        {
            Write(_logins.With(registry, login));
            return true;
        }

        await CredentialHelper.RunAsync(helper, "store", RegistryLogins.ForHelper(registry, login), CancellationToken.None);
        Write(_logins.With(registry, new RegistryLogin(string.Empty, string.Empty, null)));
        return false;
    }

    /// <summary>Forgets a login; without one nothing is written.</summary>
    internal async Task EraseAsync(string registry)
    {
        if (_logins.HelperOf(registry) is { } helper)
        {
            await CredentialHelper.RunAsync(helper, "erase", RegistryLogins.KeyOf(registry), CancellationToken.None);
        }

        if (_logins.Mentions(registry))
        {
            Write(_logins.With(registry, null));
        }
    }

    private static string OwnPath() => System.IO.Path.Combine(
        Environment.GetEnvironmentVariable("DOCKER_CONFIG") is { Length: > 0 } given ? given : System.IO.Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".docker"),
        "config.json");

    private void Write(byte[] content)
    {
        var directory = System.IO.Path.GetDirectoryName(Path)!;
        OwnedDirectory.Create(directory, OwnerDirectory, null);
        using var parent = Files.OpenDirectoryForPaths(directory);

        // As docker: under sudo it may be the file of somebody else, who wants to read it afterwards.
        var before = Environment.IsPrivilegedProcess ? RootedDirectory.Stat(parent, Encoding.UTF8.GetBytes(System.IO.Path.GetFileName(Path))) : null;
        DurableFile.Write(Path, content, Owner, before?.Gid, before?.Uid);
    }
}
