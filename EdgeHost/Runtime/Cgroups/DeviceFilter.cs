using System.Buffers.Binary;

namespace EdgeHost.Runtime.Cgroups;

/// <summary>
/// Compiles device rules into the eBPF program that the kernel asks on cgroup v2 before a device is opened or its node
/// made (BPF_PROG_TYPE_CGROUP_DEVICE): it returns 1 for yes and 0 for no.
/// </summary>
internal static class DeviceFilter
{
    // Instructions: linux/bpf.h and Documentation/bpf/standardization/instruction-set.rst.
    private const byte LoadWord = 0x61;
    private const byte Move = 0xBF;
    private const byte MoveImmediate = 0xB7;
    private const byte And = 0x57;
    private const byte ShiftRight = 0x77;
    private const byte JumpIfEqual = 0x15;
    private const byte JumpIfNotEqual = 0x55;
    private const byte Exit = 0x95;

    // Registers: the answer, the question (struct bpf_cgroup_dev_ctx), and what was read of it.
    private const byte Answer = 0;
    private const byte Context = 1;
    private const byte Kind = 2;
    private const byte Access = 3;
    private const byte Major = 4;
    private const byte Minor = 5;

    private const int BlockDevice = 1;
    private const int CharacterDevice = 2;

    /// <summary>Compiles; each instruction is eight bytes.</summary>
    internal static byte[] Compile(DeviceRules rules)
    {
        var program = new MemoryStream();
        Add(program, LoadWord, Kind, Context, offset: 0);
        Add(program, Move, Access, Kind);
        Add(program, And, Kind, value: 0xFFFF);
        Add(program, ShiftRight, Access, value: 16);
        Add(program, LoadWord, Major, Context, offset: 4);
        Add(program, LoadWord, Minor, Context, offset: 8);
        foreach (var rule in rules.Exceptions)
        {
            // What an exception allows must be all that is asked for; what it denies, any of it.
            var left = 5 + (rule.Major is null ? 0 : 1) + (rule.Minor is null ? 0 : 1);
            Add(program, JumpIfNotEqual, Kind, offset: left--, value: rule.Block ? BlockDevice : CharacterDevice);
            Add(program, Move, Answer, Access);
            left--;
            Add(program, And, Answer, value: (int)(rules.AllowsOthers ? rule.Access : ~rule.Access & DeviceAccess.All));
            left--;
            Add(program, rules.AllowsOthers ? JumpIfEqual : JumpIfNotEqual, Answer, offset: left--, value: 0);
            if (rule.Major is { } major)
            {
                Add(program, JumpIfNotEqual, Major, offset: left--, value: (int)major);
            }

            if (rule.Minor is { } minor)
            {
                Add(program, JumpIfNotEqual, Minor, offset: left--, value: (int)minor);
            }

            AddAnswer(program, !rules.AllowsOthers);
        }

        AddAnswer(program, rules.AllowsOthers);
        return program.ToArray();
    }

    private static void AddAnswer(MemoryStream program, bool allowed)
    {
        Add(program, MoveImmediate, Answer, value: allowed ? 1 : 0);
        Add(program, Exit);
    }

    private static void Add(MemoryStream program, byte code, byte target = 0, byte source = 0, int offset = 0, int value = 0)
    {
        Span<byte> instruction = stackalloc byte[8];
        instruction[0] = code;
        instruction[1] = (byte)(target | (source << 4));
        BinaryPrimitives.WriteInt16LittleEndian(instruction[2..], (short)offset);
        BinaryPrimitives.WriteInt32LittleEndian(instruction[4..], value);
        program.Write(instruction);
    }
}
