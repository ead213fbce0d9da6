using System.Diagnostics.CodeAnalysis;
using EdgeHost.Errors;

namespace EdgeHost.Oci;

/// <summary>
/// The name of an image in full form, by Docker's rules (distribution/reference): <c>busybox</c> is
/// <c>docker.io/library/busybox:latest</c>, <c>localhost:5000/a</c> is <c>localhost:5000/a:latest</c>.
/// </summary>
public sealed record ImageReference
{
    /// <summary>Docker's registry, in the form that names have.</summary>
    public const string DockerHub = "docker.io";

    private const int MaximumNameLength = 255;
    private const int MaximumTagLength = 128;
    private const string Lower = "abcdefghijklmnopqrstuvwxyz0123456789";
    private const string Letters = Lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    private ImageReference(string registry, string repository, string? tag, Digest? digest) =>
        (Registry, Repository, Tag, Digest) = (registry, repository, tag, digest);

    /// <summary>The registry with its port: <c>docker.io</c>, <c>localhost:5000</c>, <c>[::1]:5000</c>.</summary>
    public string Registry { get; }

    /// <summary>The path in it: <c>library/busybox</c>.</summary>
    public string Repository { get; }

    /// <summary>The tag; null when only a digest was given.</summary>
    public string? Tag { get; }

    /// <summary>The digest, which decides when both are given.</summary>
    public Digest? Digest { get; }

    /// <summary>Registry and repository: <c>docker.io/library/busybox</c>.</summary>
    public string Name => $"{Registry}/{Repository}";

    /// <summary>Name and tag, without the digest; null without a tag.</summary>
    public string? Tagged => Tag is null ? null : $"{Name}:{Tag}";

    /// <summary>As people write it: without <c>docker.io</c> and <c>library</c>.</summary>
    public string Familiar
    {
        get
        {
            var text = ToString();
            return text.StartsWith("docker.io/library/", StringComparison.Ordinal) && !Repository["library/".Length..].Contains('/', StringComparison.Ordinal)
                ? text["docker.io/library/".Length..]
                : text.StartsWith("docker.io/", StringComparison.Ordinal) && Repository.Contains('/', StringComparison.Ordinal)
                    ? text["docker.io/".Length..]
                    : text;
        }
    }

    /// <summary>Parses what a user wrote.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>, saying what is wrong with it.</exception>
    public static ImageReference Parse(string text) => Read(text, out var reference) is { } problem
        ? throw new EdgeHostException(ErrorKind.Invalid, $"image reference \"{Shown(text)}\": {problem}")
        : reference!;

    /// <summary>Parses what a user wrote.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out ImageReference? reference)
    {
        reference = null;
        return text is not null && Read(text, out reference) is null && reference is not null;
    }

    /// <inheritdoc/>
    public override string ToString() => (Tagged ?? Name) + (Digest is { } digest ? "@" + digest : string.Empty);

    private static string? Read(string text, out ImageReference? reference)
    {
        reference = null;
        if (text.Length == 0)
        {
            return "it is empty";
        }

        if (text.Length > 1024)
        {
            return $"{text.Length} characters are too many";
        }

        if (text.Length == 64 && !text.AsSpan().ContainsAnyExcept("0123456789abcdef"))
        {
            return "64 hex digits are an image id, not a name";
        }

        var rest = text;
        Digest? digest = null;
        var at = rest.IndexOf('@', StringComparison.Ordinal);
        if (at >= 0)
        {
            if (!Oci.Digest.TryParse(rest[(at + 1)..], out var parsed))
            {
                return "after the @ stands a digest, sha256:<64 hex digits>";
            }

            digest = parsed;
            rest = rest[..at];
        }

        string? tag = null;
        var colon = rest.LastIndexOf(':');
        if (colon > rest.LastIndexOf('/'))
        {
            tag = rest[(colon + 1)..];
            rest = rest[..colon];
            if (tag.Length is 0 or > MaximumTagLength)
            {
                return $"a tag has 1 to {MaximumTagLength} characters";
            }

            if (tag[0] is '.' or '-' || tag.AsSpan().ContainsAnyExcept(Letters + "_.-"))
            {
                return $"tag \"{Shown(tag)}\" is not letters, digits, _, . and -, beginning with none of the last two";
            }
        }

        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        var first = slash < 0 ? string.Empty : rest[..slash];
        string registry;
        string repository;
        if (slash >= 0 && (first == "localhost" || first.AsSpan().ContainsAny('.', ':') || first.Any(char.IsAsciiLetterUpper)))
        {
            (registry, repository) = (first, rest[(slash + 1)..]);
            if (!IsRegistry(registry))
            {
                return $"\"{Shown(registry)}\" is not a registry: host, host:port or [address]:port";
            }
        }
        else
        {
            (registry, repository) = (DockerHub, rest);
        }

        if (registry == "index.docker.io")
        {
            registry = DockerHub;
        }

        if (repository.Any(char.IsAsciiLetterUpper))
        {
            return "a repository is lower case";
        }

        foreach (var component in repository.Split('/'))
        {
            if (!IsComponent(component))
            {
                return component.Length == 0
                    ? "a part of the repository is empty"
                    : $"\"{Shown(component)}\" is not lower-case letters and digits, separated by one . or _, two _, or hyphens";
            }
        }

        if (registry == DockerHub && !repository.Contains('/', StringComparison.Ordinal))
        {
            repository = "library/" + repository;
        }

        if (registry.Length + 1 + repository.Length > MaximumNameLength)
        {
            return $"registry and repository have {registry.Length + 1 + repository.Length} characters, more than {MaximumNameLength}";
        }

        reference = new ImageReference(registry, repository, tag ?? (digest is null ? "latest" : null), digest);
        return null;
    }

    private static bool IsRegistry(string text)
    {
        string host;
        string port;
        if (text.StartsWith('['))
        {
            var end = text.IndexOf(']', StringComparison.Ordinal);
            if (end < 2 || text.AsSpan(1, end - 1).ContainsAnyExcept("0123456789abcdefABCDEF:."))
            {
                return false;
            }

            (host, port) = ("address", text[(end + 1)..]);
            if (port.Length > 0 && port[0] != ':')
            {
                return false;
            }

            port = port.Length > 0 ? port[1..] : "0";
        }
        else
        {
            var colon = text.IndexOf(':', StringComparison.Ordinal);
            (host, port) = colon < 0 ? (text, "0") : (text[..colon], text[(colon + 1)..]);
        }

        return port.Length is > 0 and <= 5
            && !port.AsSpan().ContainsAnyExcept("0123456789")
            && host.Split('.').All(label => label.Length > 0
                && !label.AsSpan().ContainsAnyExcept(Letters + "-")
                && label[0] != '-'
                && label[^1] != '-');
    }

    // [a-z0-9]+ separated by one ".", one or two "_", or any number of "-".
    private static bool IsComponent(string text)
    {
        var i = 0;
        while (true)
        {
            var start = i;
            while (i < text.Length && Lower.Contains(text[i], StringComparison.Ordinal))
            {
                i++;
            }

            if (i == start)
            {
                return false;
            }

            if (i == text.Length)
            {
                return true;
            }

            start = i;
            while (i < text.Length && text[i] is '.' or '_' or '-')
            {
                i++;
            }

            var separator = text[start..i];
            if (separator is not ("." or "_" or "__") && (separator.Length == 0 || separator.AsSpan().ContainsAnyExcept('-')))
            {
                return false;
            }
        }
    }

    private static string Shown(string text)
    {
        var shown = text.Length > 80 ? text[..80] + "…" : text;
        return new string(shown.Select(c => char.IsControl(c) ? '?' : c).ToArray());
    }
}
