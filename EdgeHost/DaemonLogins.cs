using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using EdgeHost.Oci;
using Microsoft.Extensions.Logging;

namespace EdgeHost;

/// <summary>
/// Who the daemon is at registries that the configuration says nothing of: <c>auth.json</c> beside the configuration file,
/// in the format of Docker's <c>config.json</c>. It is read when a registry asks, so that a login counts from then on.
/// </summary>
internal sealed partial class DaemonLogins(string file, ILogger log)
{
    private const UnixFileMode Others = UnixFileMode.OtherRead | UnixFileMode.GroupRead;

    private bool _told;

    /// <summary>The file of a daemon.</summary>
    internal static string FileOf(DaemonPaths paths) => Path.Combine(Path.GetDirectoryName(paths.ConfigFile) ?? "/", "auth.json");

    /// <summary>Finds who to be.</summary>
    /// <param name="registry">As in references.</param>
    /// <param name="cancel">Ends the waiting for a credential helper.</param>
    /// <returns>Null when the file is not there or has nothing of the registry.</returns>
    /// <exception cref="EdgeHostException">The file cannot be read or is broken, or a credential helper failed.</exception>
    internal async Task<RegistryCredentials?> FindAsync(string registry, CancellationToken cancel)
    {
        byte[] bytes;
        try
        {
            if (!File.Exists(file))
            {
                return null;
            }

            if (!_told && (File.GetUnixFileMode(file) & Others) != 0)
            {
                _told = true;
                LogReadable(log, file);
            }

            bytes = await File.ReadAllBytesAsync(file, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the logins of registries cannot be read: {e.Message}", e);
        }

        var logins = RegistryLogins.Parse(bytes, file);
        var login = logins.HelperOf(registry) is { } helper ? await AskAsync(helper, registry, cancel).ConfigureAwait(false) : logins.Find(registry);
        return login is null ? null : new RegistryCredentials(login.User, login.Password, login.IdentityToken);
    }

    private static async Task<RegistryLogin?> AskAsync(string helper, string registry, CancellationToken cancel)
    {
        var answer = await CredentialHelper.RunAsync(helper, "get", RegistryLogins.KeyOf(registry), cancel).ConfigureAwait(false);
        return answer is null ? null : RegistryLogins.FromHelper(helper, answer);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{File} has passwords in it and others than its owner can read it: chmod 600 {File}")]
    private static partial void LogReadable(ILogger log, string file);
}
