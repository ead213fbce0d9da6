using System.Diagnostics.CodeAnalysis;
using EdgeHost.Errors;

namespace EdgeHost.Oci;

/// <summary>The content digest of a blob, <c>algorithm:hex</c> (OCI image-spec, descriptor.md). Only sha256 and sha512 are accepted.</summary>
public readonly record struct Digest
{
    private readonly string? _text;

    private Digest(string text) => _text = text;

    /// <summary>The algorithm, <c>sha256</c> or <c>sha512</c>.</summary>
    public string Algorithm => Text[..Text.IndexOf(':', StringComparison.Ordinal)];

    /// <summary>The lower-case hex digits.</summary>
    public string Hex => Text[(Text.IndexOf(':', StringComparison.Ordinal) + 1)..];

    private string Text => _text ?? throw new InvalidOperationException("a digest that was never set was read");

    /// <summary>Parses a digest.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not of the form, or another algorithm.</exception>
    public static Digest Parse(string text) => TryParse(text, out var digest)
        ? digest
        : throw new EdgeHostException(ErrorKind.Invalid, $"digest \"{text}\" is not sha256:<64 hex digits> or sha512:<128 hex digits>");

    /// <summary>Parses a digest.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out Digest digest)
    {
        digest = default;
        var length = text switch
        {
            null => 0,
            _ when text.StartsWith("sha256:", StringComparison.Ordinal) => 7 + 64,
            _ when text.StartsWith("sha512:", StringComparison.Ordinal) => 7 + 128,
            _ => 0,
        };
        if (text is null || length == 0 || text.Length != length || text.AsSpan(7).ContainsAnyExcept("0123456789abcdef"))
        {
            return false;
        }

        digest = new Digest(text);
        return true;
    }

    /// <summary>The digest of bytes, by sha256.</summary>
    public static Digest OfSha256(ReadOnlySpan<byte> bytes)
    {
        Span<byte> hash = stackalloc byte[32];
        System.Security.Cryptography.SHA256.HashData(bytes, hash);
        return new Digest("sha256:" + Convert.ToHexStringLower(hash));
    }

    /// <inheritdoc/>
    public override string ToString() => Text;
}
