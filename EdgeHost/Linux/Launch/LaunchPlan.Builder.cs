using System.Buffers.Binary;
using System.Runtime.InteropServices;
using EdgeHost.Errors;

namespace EdgeHost.Linux.Launch;

/// <summary>How a plan is put together.</summary>
public sealed partial class LaunchPlan
{
    /// <summary>Puts a plan together: steps in order, texts behind them.</summary>
    internal sealed class Builder
    {
        private readonly List<LaunchStep> _steps = [];
        private readonly MemoryStream _block = new();
        private readonly List<(int Offset, int Count)> _tables = [];
        private int _nextSlot;

        internal Builder(int callerSlots) => _nextSlot = CallerSlots = callerSlots;

        internal int CallerSlots { get; }

        internal ulong CloneFlags { get; set; }

        internal int TakeSlot() => _nextSlot < SlotCount
            ? _nextSlot++
            : throw new EdgeHostException(ErrorKind.Infeasible, $"the container needs more than {SlotCount} open files at its start; take away mounts");

        internal void Add(
            LaunchOp op, int slot = -1, int slot2 = -1, string? text1 = null, string? text2 = null, string? text3 = null, long a = 0, long b = 0, long c = 0) =>
            AddRaw(op, slot, slot2, Put(text1), Put(text2), Put(text3), a, b, c);

        internal void AddRaw(LaunchOp op, int slot, int slot2, int text1, int text2, int text3, long a, long b, long c) =>
            _steps.Add(new LaunchStep { Op = op, Slot = slot, Slot2 = slot2, Text1 = text1, Text2 = text2, Text3 = text3, A = a, B = b, C = c });

        internal int Put(string? text)
        {
            if (text is null)
            {
                return -1;
            }

            var offset = (int)_block.Length;
            _block.Write(Libc.Z(text));
            return offset;
        }

        internal int PutList(IEnumerable<string> items)
        {
            var offset = (int)_block.Length;
            foreach (var item in items)
            {
                _block.Write(Libc.Z(item));
            }

            _block.WriteByte(0);
            return offset;
        }

        internal int PutBytes(ReadOnlySpan<byte> bytes)
        {
            Align();
            var offset = (int)_block.Length;
            _block.Write(bytes);
            return offset;
        }

        internal int PutTable(IReadOnlyList<string> items)
        {
            var offsets = new long[items.Count + 1];
            for (var i = 0; i < items.Count; i++)
            {
                offsets[i] = Put(items[i]);
            }

            _tables.Add((PutBytes(MemoryMarshal.AsBytes<long>(offsets)), items.Count));
            return _tables[^1].Offset;
        }

        internal LaunchPlan Build()
        {
            Align();
            var start = HeaderSize + (_steps.Count * LaunchStep.Size);
            var texts = _block.ToArray();
            var block = new byte[start + texts.Length];
            BinaryPrimitives.WriteUInt32LittleEndian(block, Magic);
            BinaryPrimitives.WriteInt32LittleEndian(block.AsSpan(4), Version);
            BinaryPrimitives.WriteInt32LittleEndian(block.AsSpan(8), _steps.Count);
            BinaryPrimitives.WriteInt32LittleEndian(block.AsSpan(12), CallerSlots);
            BinaryPrimitives.WriteUInt64LittleEndian(block.AsSpan(16), CloneFlags);
            BinaryPrimitives.WriteInt32LittleEndian(block.AsSpan(24), block.Length);
            texts.CopyTo(block, start);
            foreach (var (offset, count) in _tables)
            {
                for (var i = 0; i < count; i++)
                {
                    var entry = block.AsSpan(start + offset + (i * 8));
                    BinaryPrimitives.WriteInt64LittleEndian(entry, BinaryPrimitives.ReadInt64LittleEndian(entry) + start);
                }
            }

            var steps = MemoryMarshal.Cast<byte, LaunchStep>(block.AsSpan(HeaderSize, _steps.Count * LaunchStep.Size));
            for (var i = 0; i < _steps.Count; i++)
            {
                var step = _steps[i];
                step.Text1 = Shift(step.Text1, start);
                step.Text2 = Shift(step.Text2, start);
                step.Text3 = Shift(step.Text3, start);
                steps[i] = step;
            }

            return Parse(block);
        }

        private static int Shift(int offset, int by) => offset < 0 ? -1 : offset + by;

        private void Align()
        {
            while (_block.Length % 8 != 0)
            {
                _block.WriteByte(0);
            }
        }
    }
}
