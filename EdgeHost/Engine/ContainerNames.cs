using System.Security.Cryptography;
using EdgeHost.Errors;

namespace EdgeHost.Engine;

/// <summary>Names of containers.</summary>
internal static class ContainerNames
{
    private static readonly string[] Adjectives = ["amber", "brave", "calm", "clear", "deft", "eager", "fair", "gentle", "happy", "keen", "lively", "mild", "neat", "quiet", "rapid", "sharp", "steady", "tidy", "vivid", "warm"];

    private static readonly string[] Nouns = ["alder", "beacon", "brook", "cedar", "comet", "delta", "ember", "fjord", "grove", "harbor", "island", "lantern", "meadow", "orbit", "pebble", "quartz", "ridge", "spruce", "tundra", "willow"];

    internal static string Generate() =>
        $"{Adjectives[RandomNumberGenerator.GetInt32(Adjectives.Length)]}_{Nouns[RandomNumberGenerator.GetInt32(Nouns.Length)]}_{RandomNumberGenerator.GetHexString(4, lowercase: true)}";

    /// <summary>Refuses what Docker refuses.</summary>
    internal static string Check(string name)
    {
        name = name.TrimStart('/');
        return name.Length is > 1 and <= 255 && char.IsAsciiLetterOrDigit(name[0]) && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '-')
            ? name
            : throw new EdgeHostException(ErrorKind.Invalid, $"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    }
}
