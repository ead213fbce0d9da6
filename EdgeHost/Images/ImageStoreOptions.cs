using EdgeHost.Oci;

namespace EdgeHost.Images;

/// <summary>How the image store works.</summary>
public sealed record ImageStoreOptions
{
    /// <summary>What is special about a registry, by its name as in references (<c>docker.io</c>, <c>registry.lan:5000</c>).</summary>
    public IReadOnlyDictionary<string, RegistryOptions> Registries { get; init; } = new Dictionary<string, RegistryOptions>();

    /// <summary>
    /// Who to be at a registry that asks, where <see cref="Registries"/> says nothing; null for nobody. Called when a
    /// registry asks, so that what cannot be read keeps nobody from a registry that is open to all.
    /// </summary>
    public Func<string, CancellationToken, Task<RegistryCredentials?>>? Logins { get; init; }

    /// <summary>What images must be built for.</summary>
    public Platform Platform { get; init; } = Platform.Host;

    /// <summary>How many layers are fetched and unpacked at once, all pulls together; 1 to 16.</summary>
    public int ConcurrentLayers { get; init; } = 3;

    /// <summary>A connection on which no byte arrived for so long is given up and made again.</summary>
    public TimeSpan StallTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How often in a row a request may fail before the pull does; a received byte starts the count anew.</summary>
    public int Attempts { get; init; } = 6;

    /// <summary>The wait after the first failure; it doubles up to 10 s, each time with up to half of it more by chance.</summary>
    public TimeSpan RetryDelay { get; init; } = TimeSpan.FromMilliseconds(200);

    /// <summary>Bytes of the disk that pulls and loads leave to others.</summary>
    public long ReservedBytes { get; init; } = 64L << 20;

    /// <summary>How long what an interrupted pull has fetched is kept for the next one.</summary>
    public TimeSpan KeepInterrupted { get; init; } = TimeSpan.FromDays(7);
}

/// <summary>What is special about a registry.</summary>
public sealed record RegistryOptions
{
    /// <summary>It speaks HTTP without TLS.</summary>
    public bool PlainHttp { get; init; }

    /// <summary>As in Docker's <c>insecure-registries</c>: its certificate is not checked, and HTTP is taken when it does not speak TLS. Names of the loopback are treated so.</summary>
    public bool Insecure { get; init; }

    /// <summary>A PEM file with certificates of authorities to trust besides the system's.</summary>
    public string? CaFile { get; init; }

    /// <summary>Who to be; null for nobody.</summary>
    public RegistryCredentials? Credentials { get; init; }
}

/// <summary>Credentials for a registry: a name with a password, or an identity token (OAuth2 refresh token).</summary>
/// <param name="User">The name; empty with an identity token.</param>
/// <param name="Password">The password.</param>
/// <param name="IdentityToken">The token, in place of a password.</param>
public sealed record RegistryCredentials(string User, string Password, string? IdentityToken = null)
{
    /// <summary>Never the secret.</summary>
    public override string ToString() => $"{(IdentityToken is null ? User : "identity token")}:***";
}
