using EdgeHost.Errors;

namespace EdgeHost.Engine;

/// <summary>Gives containers what they are told at each start and what stands in no record of theirs.</summary>
public interface IStartSecrets
{
    /// <summary>What a container is told; null for most.</summary>
    /// <param name="container">About to start, with its place in networks.</param>
    /// <exception cref="EdgeHostException">It cannot have what it was granted, and is not started.</exception>
    StartSecrets? Of(ContainerStatus container);
}

/// <summary>What a container is told at a start.</summary>
/// <param name="Environment">Variables as <c>NAME=value</c>, over its own.</param>
/// <param name="File">The path in it at which <paramref name="Content"/> can be read; on a tmpfs of the host's.</param>
/// <param name="Content">The content of that file.</param>
public sealed record StartSecrets(IReadOnlyList<string> Environment, string File, ReadOnlyMemory<byte> Content);
