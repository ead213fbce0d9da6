using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Linux.Launch;

/// <summary>
/// One step: an operation, descriptor slots, offsets into the plan's block (-1 for none) and three numbers.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = Size)]
internal struct LaunchStep
{
    internal const int Size = 48;

    internal LaunchOp Op;
    internal int Slot;
    internal int Slot2;
    internal int Text1;
    internal int Text2;
    internal int Text3;
    internal long A;
    internal long B;
    internal long C;
}

/// <summary>
/// A container start, compiled: a header, a flat list of steps, and every string and table that they need, in one
/// block without pointers. It can be printed, compared, sent through a sealed memfd, and executed by
/// <see cref="Launcher"/> in a child that does not allocate. Little-endian, as every board is.
/// </summary>
/// <remarks>
/// Header, 32 bytes: magic <c>EHLP</c>, version, number of steps, number of slots that the caller fills, clone flags (8 bytes),
/// bytes in all, zero.
/// </remarks>
public sealed partial class LaunchPlan
{
    /// <summary>The version of the format and of the operations.</summary>
    public const int Version = 1;

    /// <summary>How many descriptor slots a plan has; the caller fills the first ones.</summary>
    public const int SlotCount = 64;

    /// <summary>The longest plan, in bytes.</summary>
    public const int MaximumLength = 4 << 20;

    internal const int HeaderSize = 32;

    /// <summary>What stands before the program's arguments in those of an init: its own name, and the program's path.</summary>
    internal const int InitArguments = 2;

    /// <summary>In the place of a step in a report: the plan goes on in the process whose pid follows.</summary>
    internal const uint Entered = uint.MaxValue;

    private const uint Magic = 0x504C4845;

    private readonly byte[] _block;

    private LaunchPlan(byte[] block) => _block = block;

    /// <summary>The whole block.</summary>
    public ReadOnlyMemory<byte> Block => _block;

    /// <summary>How many descriptors the caller hands over, into slots 0, 1, …</summary>
    public int CallerSlots => BinaryPrimitives.ReadInt32LittleEndian(_block.AsSpan(12));

    /// <summary>The namespaces that the clone makes (CLONE_NEW… flags).</summary>
    public ulong CloneFlags => BinaryPrimitives.ReadUInt64LittleEndian(_block.AsSpan(16));

    /// <summary>The user namespace that is made before the clone, the slot for it, and that for a network namespace of its own or -1.</summary>
    internal (string Users, string Groups, int Slot, int NetworkSlot)? UserNamespace
    {
        get
        {
            foreach (ref readonly var step in Steps)
            {
                if (step.Op == LaunchOp.MakeUserNamespace)
                {
                    return (Text(step.Text1), Text(step.Text2), step.Slot, step.Slot2);
                }
            }

            return null;
        }
    }

    internal byte[] Bytes => _block;

    internal int StepCount => BinaryPrimitives.ReadInt32LittleEndian(_block.AsSpan(8));

    internal ReadOnlySpan<LaunchStep> Steps =>
        MemoryMarshal.Cast<byte, LaunchStep>(_block.AsSpan(HeaderSize, StepCount * LaunchStep.Size));

    /// <summary>Takes a block that came from elsewhere, after checking every offset, slot and number in it.</summary>
    /// <param name="block">The bytes; copied by the caller if they can change.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not a plan of this version, or out of bounds.</exception>
    public static LaunchPlan Parse(byte[] block)
    {
        if (block.Length is < HeaderSize or > MaximumLength || BinaryPrimitives.ReadUInt32LittleEndian(block) != Magic)
        {
            throw Bad("it has no plan header");
        }

        var version = BinaryPrimitives.ReadInt32LittleEndian(block.AsSpan(4));
        if (version != Version)
        {
            throw Bad($"it has version {version}, this program executes version {Version}");
        }

        var plan = new LaunchPlan(block);
        if (plan.StepCount is < 1 or > 65536
            || HeaderSize + ((long)plan.StepCount * LaunchStep.Size) > block.Length
            || BinaryPrimitives.ReadInt32LittleEndian(block.AsSpan(24)) != block.Length
            || plan.CallerSlots is < 0 or > SlotCount)
        {
            throw Bad("its header does not fit its length");
        }

        const ulong allowed = Libc.CLONE_NEWNS | Libc.CLONE_NEWCGROUP | Libc.CLONE_NEWUTS | Libc.CLONE_NEWIPC
            | Libc.CLONE_NEWPID | Libc.CLONE_NEWNET | Libc.CLONE_NEWUSER;
        if ((plan.CloneFlags & ~allowed) != 0)
        {
            throw Bad($"its clone flags 0x{plan.CloneFlags:x} are not namespaces");
        }

        var index = 0;
        foreach (ref readonly var step in plan.Steps)
        {
            plan.CheckStep(index++, in step);
        }

        return plan;
    }

    /// <summary>What a step does and on what, in words: the subject of its error.</summary>
    /// <param name="index">Which step; one that is not there is named as such.</param>
    public string Describe(int index)
    {
        if (index < 0 || index >= StepCount)
        {
            return $"step {index} of the launch";
        }

        ref readonly var step = ref Steps[index];
        return step.Op switch
        {
            LaunchOp.JoinCgroup => $"join cgroup {Path.GetDirectoryName(Text(step.Text1))}",
            LaunchOp.NewSession => "make a session",
            LaunchOp.NewKeyring => "make a session keyring",
            LaunchOp.Unshare => $"make namespaces 0x{step.A:x}",
            LaunchOp.JoinNamespace => $"join namespace {Text(step.Text1)}",
            LaunchOp.Propagation => "set mount propagation",
            LaunchOp.ChangeDirectory => $"change directory to {Text(step.Text1)}",
            LaunchOp.OpenHost or LaunchOp.OpenNamespace => $"open {Text(step.Text1)}",
            LaunchOp.OpenInRoot => $"open {Text(step.Text1)} in the container",
            LaunchOp.Mount or LaunchOp.MountByData => $"mount {Text(step.Text1)} on {TargetOf(index)}",
            LaunchOp.Bind or LaunchOp.BindMapped => $"bind {Text(step.Text1)} on {TargetOf(index)}",
            LaunchOp.BindSlot => $"bind a device on {TargetOf(index)}",
            LaunchOp.MakeNode => $"make device {Text(step.Text1)}",
            LaunchOp.MakeLink => $"make link {Text(step.Text1)}",
            LaunchOp.Pivot => "change the root",
            LaunchOp.Mask => $"mask {Text(step.Text1)}",
            LaunchOp.MakeReadOnly => $"make {Text(step.Text1)} read-only",
            LaunchOp.WriteProc => $"write \"{Text(step.Text2)}\" to /proc/{Text(step.Text1)}",
            LaunchOp.WriteHost when Confines(index) => $"confine it by AppArmor profile {Text(step.Text2)["exec ".Length..]}",
            LaunchOp.WriteHost => $"write \"{Text(step.Text2)}\" to {Text(step.Text1)}",
            LaunchOp.SetHostname => $"set host name {Text(step.Text1)}",
            LaunchOp.SetDomainname => $"set domain name {Text(step.Text1)}",
            LaunchOp.SetMountAttributes => $"set attributes of mount {TargetOf(index)}",
            LaunchOp.LoopbackUp => "bring the loopback interface up",
            LaunchOp.SetRlimit => $"set resource limit {step.A} to {(ulong)step.B}:{(ulong)step.C}",
            LaunchOp.LimitBounding => "limit the bounding set",
            LaunchOp.KeepCapabilities => "keep capabilities",
            LaunchOp.SetGroups => "set supplementary groups",
            LaunchOp.SetGid => $"become group {step.A}",
            LaunchOp.SetUid => $"become user {step.A}",
            LaunchOp.SetCapabilities => "set capabilities",
            LaunchOp.SetAmbient => "set ambient capabilities",
            LaunchOp.NoNewPrivileges => "set no_new_privs",
            LaunchOp.LoadSeccomp => $"load the system call filter ({step.A} instructions)",
            LaunchOp.SetUmask => "set the umask",
            LaunchOp.Duplicate => $"set descriptor {step.A}",
            LaunchOp.WaitForStart => "wait for start",
            LaunchOp.OpenFifo => $"open {Text(step.Text1)}",
            LaunchOp.CloseFrom => "mark descriptors",
            LaunchOp.ResetSignals => "reset signals",
            LaunchOp.Execute or LaunchOp.ExecuteWithInit => $"exec {NameOfProgram(in step)}",
            LaunchOp.NotDumpable => "hide from other processes",
            LaunchOp.CloseOthers => "close descriptors",
            LaunchOp.JoinProcess or LaunchOp.EnterProcess => "join the container's namespaces",
            LaunchOp.CloneAgain => "clone a process in the container",
            LaunchOp.MakeUserNamespace => "make a user namespace",
            LaunchOp.JoinUserNamespace => "join the container's user namespace",
            LaunchOp.MakeAs => $"make files as user {step.A} and group {step.B}",
            LaunchOp.GivePipe => $"give standard streams to user {step.A}",
            LaunchOp.OpenInit => "make an init",
            LaunchOp.OpenTerminal => "open a terminal in /dev/pts of the container",
            LaunchOp.ControlTerminal => "take control of the terminal",
            LaunchOp.EndWithParent => "follow the end of the shepherd",
            _ => $"step {index} ({step.Op})",
        };
    }

    /// <summary>Whether a failure of this step means that the program itself cannot be executed (exit codes 126 and 127).</summary>
    public bool IsExecute(int index) => index >= 0 && index < StepCount && Steps[index].Op is LaunchOp.Execute or LaunchOp.ExecuteWithInit;

    /// <summary>Whether a step maps the ids of a mount.</summary>
    internal bool IsMapping(int index) => index >= 0 && index < StepCount && Steps[index].Op == LaunchOp.BindMapped;

    /// <summary>Whether a step shows files of the host at a place of the container.</summary>
    internal bool IsBind(int index) => index >= 0 && index < StepCount && Steps[index].Op is LaunchOp.Bind or LaunchOp.BindMapped;

    /// <summary>Whether a step maps the ids of all mounts beneath as well.</summary>
    internal bool MapsAll(int index) => Steps[index].C != 0;

    /// <summary>Whether a step mounts layers on each other.</summary>
    internal bool IsOverlay(int index) => index >= 0 && index < StepCount && Steps[index].Op == LaunchOp.MountByData;

    /// <summary>The plan as text, a step a line: what <c>edgehost oci plan</c> prints and tests compare.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"plan v{Version} clone=0x{CloneFlags:x} slots={CallerSlots} bytes={_block.Length}\n");
        foreach (ref readonly var step in Steps)
        {
            text.Append(step.Op.ToString());
            Append(text, " slot=", step.Slot);
            Append(text, " slot2=", step.Slot2);
            switch (step.Op)
            {
                case LaunchOp.OpenInit:
                    text.Append(CultureInfo.InvariantCulture, $" bytes={step.A}");
                    break;
                case LaunchOp.Execute or LaunchOp.ExecuteWithInit:
                    text.Append(CultureInfo.InvariantCulture, $" try=[{string.Join(' ', List(step.Text1))}] args=[{string.Join(' ', Table(step.Text2, step.B))}] env=[{string.Join(' ', Table(step.Text3, step.C))}]");
                    break;
                case LaunchOp.Mount:
                    text.Append(CultureInfo.InvariantCulture, $" {Text(step.Text1)} source={Text(step.Text2)} options=[{string.Join(' ', List(step.Text3))}] attr=0x{step.A:x}");
                    break;
                case LaunchOp.SetGroups:
                    var ids = MemoryMarshal.Cast<byte, uint>(_block.AsSpan(step.Text1, (int)step.A * 4));
                    text.Append(" [").AppendJoin(' ', ids.ToArray()).Append(']');
                    break;
                case LaunchOp.LoadSeccomp:
                    text.Append(CultureInfo.InvariantCulture, $" instructions={step.A} flags=0x{step.B:x}");
                    break;
                default:
                    foreach (var offset in (ReadOnlySpan<int>)[step.Text1, step.Text2, step.Text3])
                    {
                        if (offset >= 0)
                        {
                            text.Append(' ').Append(Text(offset));
                        }
                    }

                    AppendHex(text, " a=", step.A);
                    AppendHex(text, " b=", step.B);
                    AppendHex(text, " c=", step.C);
                    break;
            }

            text.Append('\n');
        }

        return text.ToString();
    }

    /// <summary>Whether a step says which AppArmor profile the program is to have.</summary>
    internal bool Confines(int index) => Steps[index] is { Op: LaunchOp.WriteHost } step && Text(step.Text1) == AppArmor.OnExec;

    private static void Append(StringBuilder text, string name, int slot)
    {
        if (slot >= 0)
        {
            text.Append(name).Append(slot);
        }
    }

    private static void AppendHex(StringBuilder text, string name, long value)
    {
        if (value != 0)
        {
            text.Append(name).Append(CultureInfo.InvariantCulture, $"0x{value:x}");
        }
    }

    private static EdgeHostException Bad(string why) => new(ErrorKind.Invalid, $"launch plan refused: {why}");

    private string NameOfProgram(in LaunchStep step)
    {
        var own = step.Op == LaunchOp.ExecuteWithInit ? InitArguments : 0;
        var first = step.B > own ? Table(step.Text2, own + 1)[own] : string.Empty;
        return first.Length > 0 ? first : Text(step.Text1);
    }

    /// <summary>The path that the last step before this one opened into its slot.</summary>
    private string TargetOf(int index)
    {
        var slot = Steps[index].Slot;
        for (var i = index - 1; i >= 0; i--)
        {
            ref readonly var step = ref Steps[i];
            if (step.Slot == slot && step.Op is LaunchOp.OpenInRoot or LaunchOp.OpenHost)
            {
                return Text(step.Text1);
            }
        }

        return "its target";
    }

    private string Text(int offset)
    {
        if (offset < 0)
        {
            return string.Empty;
        }

        var rest = _block.AsSpan(offset);
        return Encoding.UTF8.GetString(rest[..rest.IndexOf((byte)0)]);
    }

    private List<string> List(int offset)
    {
        var items = new List<string>();
        while (offset >= 0 && _block[offset] != 0)
        {
            var item = Text(offset);
            items.Add(item);
            offset += Encoding.UTF8.GetByteCount(item) + 1;
        }

        return items;
    }

    private List<string> Table(int offset, long count)
    {
        var items = new List<string>((int)count);
        for (var i = 0; i < count; i++)
        {
            items.Add(Text((int)BinaryPrimitives.ReadInt64LittleEndian(_block.AsSpan(offset + (i * 8)))));
        }

        return items;
    }

    private void CheckStep(int index, in LaunchStep step)
    {
        if (step.Op <= LaunchOp.None || step.Op > LaunchOp.ExecuteWithInit)
        {
            throw Bad($"step {index} has the unknown operation {(int)step.Op}");
        }

        if (step.Slot is < -1 or >= SlotCount || step.Slot2 is < -1 or >= SlotCount)
        {
            throw Bad($"step {index} ({step.Op}) names a slot that does not exist");
        }

        switch (step.Op)
        {
            case LaunchOp.OpenInit when step.Slot >= 0:
                CheckArray(index, step.Text1, step.A, 1);
                break;
            case LaunchOp.ExecuteWithInit when step.B < InitArguments:
                throw Bad($"step {index} ({step.Op}) has {step.B} arguments");
            case LaunchOp.ExecuteWithInit when step.Slot >= 0:
            case LaunchOp.Execute:
                CheckList(index, step.Text1);
                CheckTable(index, step.Text2, step.B);
                CheckTable(index, step.Text3, step.C);
                break;
            case LaunchOp.OpenInit or LaunchOp.ExecuteWithInit or LaunchOp.JoinProcess or LaunchOp.EnterProcess or LaunchOp.MakeUserNamespace or LaunchOp.JoinUserNamespace or LaunchOp.OpenNamespace when step.Slot < 0:
            case LaunchOp.BindMapped when step.Slot2 < 0:
                throw Bad($"step {index} ({step.Op}) names no slot");
            case LaunchOp.Mount:
                CheckText(index, step.Text1);
                CheckText(index, step.Text2);
                CheckList(index, step.Text3);
                break;
            case LaunchOp.SetGroups:
                CheckArray(index, step.Text1, step.A, 4);
                break;
            case LaunchOp.LoadSeccomp:
                CheckArray(index, step.Text1, step.A, 8);
                break;
            default:
                CheckText(index, step.Text1);
                CheckText(index, step.Text2);
                CheckText(index, step.Text3);
                break;
        }
    }

    private void CheckText(int index, int offset)
    {
        if (offset == -1)
        {
            return;
        }

        if (offset < HeaderSize || offset >= _block.Length || !_block.AsSpan(offset).Contains((byte)0))
        {
            throw Bad($"a text of step {index} lies outside of it");
        }
    }

    private void CheckList(int index, int offset)
    {
        if (offset == -1)
        {
            return;
        }

        CheckText(index, offset);
        while (_block[offset] != 0)
        {
            offset += _block.AsSpan(offset).IndexOf((byte)0) + 1;
            CheckText(index, offset);
        }
    }

    private void CheckArray(int index, int offset, long count, int size)
    {
        if (offset < HeaderSize || offset % 8 != 0 || count < 0 || count > (_block.Length - offset) / size)
        {
            throw Bad($"a table of step {index} lies outside of it");
        }
    }

    // One more entry than it has: the child turns offsets into pointers and ends the table with a null.
    private void CheckTable(int index, int offset, long count)
    {
        CheckArray(index, offset, count + 1, 8);
        for (var i = 0; i < count; i++)
        {
            var entry = BinaryPrimitives.ReadInt64LittleEndian(_block.AsSpan(offset + (i * 8)));
            if (entry is < HeaderSize or > int.MaxValue)
            {
                throw Bad($"a table of step {index} leads outside of it");
            }

            CheckText(index, (int)entry);
        }
    }
}
