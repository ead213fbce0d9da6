using System.Buffers.Binary;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Seccomp;

/// <summary>
/// Compiles a system call filter (runtime-spec, config-linux.md, "Seccomp") to classic BPF (seccomp(2)). Numbers are
/// found by binary search, so that a call costs about ten instructions however long the list is.
/// </summary>
/// <remarks>
/// Every architecture that the kernel lets a process use is covered: on x86_64 neither i386 nor the x32 numbers are
/// let through, on arm64 AArch32 has the same rules under its own numbers.
/// </remarks>
public sealed class SeccompFilter
{
    private const ushort LoadWord = 0x20, JumpEqual = 0x15, JumpGreaterEqual = 0x35, JumpGreater = 0x25, JumpAlways = 0x05, And = 0x54, Return = 0x06;
    private const uint OffsetNumber = 0, OffsetArchitecture = 4, OffsetArguments = 16;
    private const uint AuditX64 = 0xC000003E, AuditArm64 = 0xC00000B7, AuditArm = 0x40000028;
    private const uint X32Bit = 0x40000000;

    private readonly Instruction[] _instructions;

    private SeccompFilter(Instruction[] instructions, uint flags)
    {
        _instructions = instructions;
        Flags = flags;
    }

    /// <summary>How many instructions; the kernel takes 4096.</summary>
    public int Count => _instructions.Length;

    /// <summary>The flags of seccomp(2).</summary>
    public uint Flags { get; }

    /// <summary>The instructions as <c>struct sock_filter</c>.</summary>
    public byte[] ToBytes()
    {
        var bytes = new byte[_instructions.Length * 8];
        for (var i = 0; i < _instructions.Length; i++)
        {
            var at = bytes.AsSpan(i * 8);
            BinaryPrimitives.WriteUInt16LittleEndian(at, _instructions[i].Code);
            at[2] = _instructions[i].True;
            at[3] = _instructions[i].False;
            BinaryPrimitives.WriteUInt32LittleEndian(at[4..], _instructions[i].K);
        }

        return bytes;
    }

    /// <summary>Compiles a filter for this machine's architecture.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/> or <see cref="ErrorKind.Infeasible"/>: a rule that cannot be kept.</exception>
    public static SeccompFilter Compile(RuntimeSeccomp seccomp) => Compile(
        seccomp, System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.Arm64);

    internal static SeccompFilter Compile(RuntimeSeccomp seccomp, bool arm64)
    {
        if (seccomp.ListenerPath is not null)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, "linux.seccomp.listenerPath: this version cannot notify; take it out");
        }

        var defaultAction = ActionOf(seccomp.DefaultAction, seccomp.DefaultErrnoRet);
        var program = new List<Instruction> { new(LoadWord, 0, 0, OffsetArchitecture) };
        if (arm64)
        {
            AddArchitecture(program, AuditArm64, CompileNumbers(seccomp, defaultAction, number => number.Arm64, 0));
            AddArchitecture(program, AuditArm, CompileNumbers(seccomp, defaultAction, number => number.Arm, 0));
        }
        else
        {
            AddArchitecture(program, AuditX64, CompileNumbers(seccomp, defaultAction, number => number.X64, X32Bit));
        }

        // A foreign architecture: none of its calls is known, so each is missing.
        program.Add(new Instruction(Return, 0, 0, Failing((uint)Linux.Errno.ENOSYS)));
        return program.Count <= 4096
            ? new SeccompFilter([.. program], FlagsOf(seccomp.Flags))
            : throw new EdgeHostException(ErrorKind.Infeasible, $"linux.seccomp: {program.Count} instructions, the kernel takes 4096; give fewer rules with arguments");
    }

    private static void AddArchitecture(List<Instruction> program, uint architecture, List<Instruction> body)
    {
        program.Add(new Instruction(JumpEqual, 1, 0, architecture));
        program.Add(new Instruction(JumpAlways, 0, 0, (uint)body.Count));
        program.AddRange(body);
    }

    private static List<Instruction> CompileNumbers(RuntimeSeccomp seccomp, uint defaultAction, Func<SyscallNumber, int> select, uint foreignFrom)
    {
        var rules = new SortedDictionary<uint, List<RuntimeSyscall>>();
        foreach (var rule in seccomp.Syscalls ?? [])
        {
            foreach (var name in rule.Names ?? [])
            {
                // A name that this table lacks is a newer call than it: it stays with the default action.
                if (SyscallTable.TryFind(name, out var number) && select(number) is >= 0 and var n)
                {
                    if (!rules.TryGetValue((uint)n, out var list))
                    {
                        rules[(uint)n] = list = [];
                    }

                    list.Add(rule);
                }
            }
        }

        var leaves = new List<(uint From, List<Instruction> Code)>();
        var fallback = new List<Instruction> { new(Return, 0, 0, defaultAction) };
        uint next = 0;
        foreach (var (number, list) in rules)
        {
            if (number > next)
            {
                AddLeaf(leaves, next, fallback);
            }

            AddLeaf(leaves, number, CompileRules(list, defaultAction));
            next = number + 1;
        }

        AddLeaf(leaves, next, fallback);
        if (foreignFrom > 0)
        {
            AddLeaf(leaves, foreignFrom, [new Instruction(Return, 0, 0, Failing((uint)Linux.Errno.ENOSYS))]);
        }

        var code = new List<Instruction> { new(LoadWord, 0, 0, OffsetNumber) };
        code.AddRange(Search(leaves, 0, leaves.Count));
        return code;
    }

    private static void AddLeaf(List<(uint From, List<Instruction> Code)> leaves, uint from, List<Instruction> code)
    {
        if (leaves.Count == 0 || !leaves[^1].Code.SequenceEqual(code))
        {
            leaves.Add((from, code));
        }
    }

    private static List<Instruction> Search(List<(uint From, List<Instruction> Code)> leaves, int low, int high)
    {
        if (high - low == 1)
        {
            return leaves[low].Code;
        }

        var middle = (low + high) / 2;
        var left = Search(leaves, low, middle);
        var right = Search(leaves, middle, high);
        var code = new List<Instruction>(left.Count + right.Count + 2);
        if (left.Count <= byte.MaxValue)
        {
            code.Add(new Instruction(JumpGreaterEqual, (byte)left.Count, 0, leaves[middle].From));
        }
        else
        {
            code.Add(new Instruction(JumpGreaterEqual, 0, 1, leaves[middle].From));
            code.Add(new Instruction(JumpAlways, 0, 0, (uint)left.Count));
        }

        code.AddRange(left);
        code.AddRange(right);
        return code;
    }

    // The first rule whose conditions all hold decides; an unconditional one decides for all calls that come to it.
    private static List<Instruction> CompileRules(List<RuntimeSyscall> rules, uint defaultAction)
    {
        var code = new List<Instruction>();
        foreach (var rule in rules.Where(rule => rule.Args is { Count: > 0 }))
        {
            var action = ActionOf(rule.Action, rule.ErrnoRet);
            var checks = rule.Args!.SelectMany(CompileCheck).ToList();
            for (var i = 0; i < checks.Count; i++)
            {
                // A failed check leaves the rule: past the remaining checks and its return.
                var skip = checks.Count - i;
                var check = checks[i];
                if (check.Code is JumpEqual or JumpGreater or JumpGreaterEqual)
                {
                    checks[i] = check with
                    {
                        True = check.True == Fail ? (byte)skip : check.True,
                        False = check.False == Fail ? (byte)skip : check.False,
                    };
                }
            }

            code.AddRange(checks);
            code.Add(new Instruction(Return, 0, 0, action));
        }

        var unconditional = rules.FirstOrDefault(rule => rule.Args is not { Count: > 0 });
        code.Add(new Instruction(Return, 0, 0, unconditional is null ? defaultAction : ActionOf(unconditional.Action, unconditional.ErrnoRet)));
        return code;
    }

    private const byte Fail = byte.MaxValue;

    // Arguments are 64 bits, compared in two halves. Within one check "true" goes to its end, Fail out of the rule.
    private static List<Instruction> CompileCheck(RuntimeSyscallArgument argument)
    {
        if (argument.Index > 5)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"linux.seccomp: argument {argument.Index} of a system call, there are 0 to 5");
        }

        var low = OffsetArguments + (argument.Index * 8);
        var high = low + 4;
        uint valueLow = (uint)argument.Value, valueHigh = (uint)(argument.Value >> 32);
        switch (argument.Op)
        {
            case "SCMP_CMP_EQ":
                return [new(LoadWord, 0, 0, high), new(JumpEqual, 0, Fail, valueHigh), new(LoadWord, 0, 0, low), new(JumpEqual, 0, Fail, valueLow)];
            case "SCMP_CMP_NE":
                return [new(LoadWord, 0, 0, high), new(JumpEqual, 0, 2, valueHigh), new(LoadWord, 0, 0, low), new(JumpEqual, Fail, 0, valueLow)];
            case "SCMP_CMP_MASKED_EQ":
                return
                [
                    new(LoadWord, 0, 0, high), new(And, 0, 0, valueHigh), new(JumpEqual, 0, Fail, (uint)(argument.ValueTwo >> 32)),
                    new(LoadWord, 0, 0, low), new(And, 0, 0, valueLow), new(JumpEqual, 0, Fail, (uint)argument.ValueTwo),
                ];
            case "SCMP_CMP_GT":
                return [new(LoadWord, 0, 0, high), new(JumpGreater, 3, 0, valueHigh), new(JumpEqual, 0, Fail, valueHigh), new(LoadWord, 0, 0, low), new(JumpGreater, 0, Fail, valueLow)];
            case "SCMP_CMP_GE":
                return [new(LoadWord, 0, 0, high), new(JumpGreater, 3, 0, valueHigh), new(JumpEqual, 0, Fail, valueHigh), new(LoadWord, 0, 0, low), new(JumpGreaterEqual, 0, Fail, valueLow)];
            case "SCMP_CMP_LT":
                return [new(LoadWord, 0, 0, high), new(JumpGreater, Fail, 0, valueHigh), new(JumpEqual, 0, 2, valueHigh), new(LoadWord, 0, 0, low), new(JumpGreaterEqual, Fail, 0, valueLow)];
            case "SCMP_CMP_LE":
                return [new(LoadWord, 0, 0, high), new(JumpGreater, Fail, 0, valueHigh), new(JumpEqual, 0, 2, valueHigh), new(LoadWord, 0, 0, low), new(JumpGreater, Fail, 0, valueLow)];
            default:
                throw new EdgeHostException(ErrorKind.Invalid, $"linux.seccomp: comparison \"{argument.Op}\" is not known");
        }
    }

    private static uint ActionOf(string? action, uint? errno) => action switch
    {
        "SCMP_ACT_ALLOW" => 0x7FFF0000,
        "SCMP_ACT_LOG" => 0x7FFC0000,
        "SCMP_ACT_ERRNO" => 0x00050000 | ((errno ?? 1) & 0xFFFF),
        "SCMP_ACT_TRAP" => 0x00030000,
        "SCMP_ACT_KILL_PROCESS" => 0x80000000,
        "SCMP_ACT_KILL" or "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_TRACE" => 0x7FF00000 | ((errno ?? 0) & 0xFFFF),
        _ => throw new EdgeHostException(ErrorKind.Invalid, $"linux.seccomp: action \"{action}\" is not known"),
    };

    private static uint Failing(uint errno) => 0x00050000 | errno;

    private static uint FlagsOf(IReadOnlyList<string>? names)
    {
        uint flags = 0;
        foreach (var name in names ?? [])
        {
            flags |= name switch
            {
                "SECCOMP_FILTER_FLAG_TSYNC" => 0u, // one thread: nothing to synchronise
                "SECCOMP_FILTER_FLAG_LOG" => 2u,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4u,
                _ => throw new EdgeHostException(ErrorKind.Invalid, $"linux.seccomp: flag \"{name}\" is not known"),
            };
        }

        return flags;
    }

    private readonly record struct Instruction(ushort Code, byte True, byte False, uint K);
}
