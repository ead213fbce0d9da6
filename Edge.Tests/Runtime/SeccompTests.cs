using System.Buffers.Binary;
using EdgeHost.Linux;
using EdgeHost.Oci;
using EdgeHost.Runtime.Launch;
using EdgeHost.Runtime.Seccomp;
using Xunit;

namespace Edge.Tests.Runtime;

/// <summary>The filter's decisions, by running its instructions as the kernel does.</summary>
public sealed class SeccompTests
{
    private const uint X64 = 0xC000003E, I386 = 0x40000003, Arm64 = 0xC00000B7, Arm = 0x40000028;
    private const uint Allow = 0x7FFF0000, Eperm = 0x50001, Enosys = 0x50026, Eafnosupport = 0x50061;

    public static TheoryData<string, uint> Decisions => new()
    {
        { "read", Allow }, { "openat2", Allow }, { "execve", Allow }, { "futex", Allow }, { "seccomp", Allow },
        { "mount", Eperm }, { "bpf", Eperm }, { "setns", Eperm }, { "unshare", Eperm }, { "io_uring_setup", Eperm }, { "userfaultfd", Eperm },
        { "keyctl", Eperm }, { "reboot", Eperm }, { "kexec_load", Eperm }, { "open_by_handle_at", Eperm },
        { "clone3", Enosys }, { "afs_syscall", Enosys }, { "statmount", Enosys },
    };

    [Theory]
    [MemberData(nameof(Decisions))]
    public void Each_call_is_allowed_forbidden_or_missing_on_every_architecture(string name, uint action)
    {
        Assert.True(SyscallTable.TryFind(name, out var number));
        var filter = SeccompFilter.Compile(DefaultSeccomp.For(CapabilitySets.Default), arm64: false);
        var armFilter = SeccompFilter.Compile(DefaultSeccomp.For(CapabilitySets.Default), arm64: true);

        if (number.X64 >= 0)
        {
            Assert.Equal(action, Run(filter, X64, (uint)number.X64));
        }

        if (number.Arm64 >= 0)
        {
            Assert.Equal(action, Run(armFilter, Arm64, (uint)number.Arm64));
        }

        if (number.Arm >= 0)
        {
            Assert.Equal(action, Run(armFilter, Arm, (uint)number.Arm));
        }
    }

    [Fact]
    public void A_thread_may_be_made_but_no_namespace()
    {
        var filter = SeccompFilter.Compile(DefaultSeccomp.For(CapabilitySets.Default), arm64: false);
        const uint Clone = 56;

        Assert.Equal(Allow, Run(filter, X64, Clone, 0x3D0F00));
        foreach (var flag in (ulong[])[0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000])
        {
            Assert.Equal(Eperm, Run(filter, X64, Clone, 0x3D0F00 | flag));
        }
    }

    [Fact]
    public void Sockets_of_the_kernels_crypto_and_the_hypervisor_do_not_exist()
    {
        var filter = SeccompFilter.Compile(DefaultSeccomp.For(CapabilitySets.Default), arm64: false);

        Assert.Equal(Allow, Run(filter, X64, 41, 1));
        Assert.Equal(Allow, Run(filter, X64, 41, 10));
        Assert.Equal(Eafnosupport, Run(filter, X64, 41, 38));
        Assert.Equal(Eafnosupport, Run(filter, X64, 41, 40));

        // The kernel cuts the argument to an int.
        Assert.Equal(Eafnosupport, Run(filter, X64, 41, 0x1_0000_0026));
        Assert.Equal(Eafnosupport, Run(filter, X64, 41, 0xFFFF_FFFF_0000_0028));
    }

    [Fact]
    public void Calls_of_another_architecture_and_the_x32_numbers_do_not_exist()
    {
        var filter = SeccompFilter.Compile(DefaultSeccomp.For(CapabilitySets.Default), arm64: false);

        Assert.Equal(Enosys, Run(filter, I386, 3));
        Assert.Equal(Enosys, Run(filter, X64, 0x40000000));
        Assert.Equal(Enosys, Run(filter, X64, 0xFFFFFFFF));
    }

    [Fact]
    public void A_call_that_comes_with_a_capability_is_allowed_with_it_only()
    {
        Assert.True(Capabilities.TryParse("CAP_SYS_TIME", out var time));
        var with = SeccompFilter.Compile(DefaultSeccomp.For(CapabilitySets.Default | time), arm64: false);
        var without = SeccompFilter.Compile(DefaultSeccomp.For(CapabilitySets.Default), arm64: false);

        Assert.Equal(Allow, Run(with, X64, 164));
        Assert.Equal(Eperm, Run(without, X64, 164));
    }

    [Theory]
    [InlineData("SCMP_CMP_EQ", 5, 5, true)]
    [InlineData("SCMP_CMP_EQ", 5, 0x100000005, false)]
    [InlineData("SCMP_CMP_NE", 5, 5, false)]
    [InlineData("SCMP_CMP_NE", 5, 0x100000005, true)]
    [InlineData("SCMP_CMP_GT", 5, 6, true)]
    [InlineData("SCMP_CMP_GT", 5, 5, false)]
    [InlineData("SCMP_CMP_GT", 5, 0x100000000, true)]
    [InlineData("SCMP_CMP_GE", 5, 5, true)]
    [InlineData("SCMP_CMP_GE", 5, 4, false)]
    [InlineData("SCMP_CMP_LT", 5, 4, true)]
    [InlineData("SCMP_CMP_LT", 5, 5, false)]
    [InlineData("SCMP_CMP_LT", 5, 0x100000000, false)]
    [InlineData("SCMP_CMP_LE", 5, 5, true)]
    [InlineData("SCMP_CMP_LE", 5, 6, false)]
    [InlineData("SCMP_CMP_LE", 0x100000005, 6, true)]
    public void Comparisons_of_arguments_see_all_64_bits(string op, ulong value, ulong argument, bool holds)
    {
        var filter = SeccompFilter.Compile(
            new RuntimeSeccomp
            {
                DefaultAction = "SCMP_ACT_ERRNO",
                Syscalls = [new() { Names = ["read"], Action = "SCMP_ACT_ALLOW", Args = [new() { Index = 0, Value = value, Op = op }] }],
            },
            arm64: false);

        Assert.Equal(holds ? Allow : Eperm, Run(filter, X64, 0, argument));
    }

    [Fact]
    public void Every_name_in_the_default_filter_is_a_system_call()
    {
        var filter = DefaultSeccomp.For(Capabilities.All);

        Assert.All(filter.Syscalls!.SelectMany(rule => rule.Names!), name => Assert.True(SyscallTable.TryFind(name, out _), name));
    }

    // Classic BPF as seccomp(2) uses it, over struct seccomp_data.
    private static uint Run(SeccompFilter filter, uint architecture, uint number, ulong argument0 = 0)
    {
        var data = new byte[64];
        BinaryPrimitives.WriteUInt32LittleEndian(data, number);
        BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(4), architecture);
        BinaryPrimitives.WriteUInt64LittleEndian(data.AsSpan(16), argument0);
        var program = filter.ToBytes();
        uint accumulator = 0;
        for (var at = 0; ; at++)
        {
            var instruction = program.AsSpan(at * 8, 8);
            var k = BinaryPrimitives.ReadUInt32LittleEndian(instruction[4..]);
            switch (BinaryPrimitives.ReadUInt16LittleEndian(instruction))
            {
                case 0x20: accumulator = BinaryPrimitives.ReadUInt32LittleEndian(data.AsSpan((int)k)); break;
                case 0x54: accumulator &= k; break;
                case 0x05: at += (int)k; break;
                case 0x15: at += accumulator == k ? instruction[2] : instruction[3]; break;
                case 0x25: at += accumulator > k ? instruction[2] : instruction[3]; break;
                case 0x35: at += accumulator >= k ? instruction[2] : instruction[3]; break;
                case 0x06: return k;
                default: throw new InvalidOperationException("an instruction that seccomp does not know");
            }
        }
    }
}
