using Xunit;

namespace Edge.Tests.Fixtures;

/// <summary>
/// Tests beside which no other runs: what the kernel counts in a time is to be what it would count on a machine that does
/// nothing else, and the CPUs of an emulated board are threads of this one.
/// </summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class Alone
{
    internal const string Name = "alone";
}
