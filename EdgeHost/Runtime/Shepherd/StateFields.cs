using System.Buffers.Binary;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// Fields of a state that a program leaves to its successor: each a number that says what it is, a length, and so many
/// bytes. A field that is repeated is a list; one that holds fields of its own is a record.
/// </summary>
/// <remarks>
/// To add one: take the next number of <see cref="StateField"/> or <see cref="ContainerField"/>, put it where its owner is
/// written, take it where its owner is read, and let what has no such field mean what was before it. A build that does not
/// know a number refuses the hand-over, so that nothing is lost by it; from <see cref="MayBeIgnored"/> on it goes on without
/// (and closes the descriptor that came with it). No number is ever given another meaning; a change that is more than one
/// more field raises <see cref="ShepherdState.Version"/>, and <see cref="ShepherdState.OldestVersion"/> stays two behind.
/// </remarks>
internal sealed class StateWriter
{
    /// <summary>From this number on a field may be left out by whoever does not know it.</summary>
    internal const ushort MayBeIgnored = 0x8000;

    private readonly MemoryStream _content = new();

    /// <summary>Whether descriptors are left out: of what is written down for a process that does not inherit them.</summary>
    internal bool WithoutDescriptors { get; init; }

    /// <summary>The numbers of the descriptors that belong to it.</summary>
    internal List<int> Descriptors { get; } = [];

    internal ReadOnlySpan<byte> Written => _content.GetBuffer().AsSpan(0, (int)_content.Length);

    internal void Put(ushort field, ReadOnlySpan<byte> content)
    {
        Span<byte> header = stackalloc byte[StateReader.HeaderSize];
        BinaryPrimitives.WriteUInt16LittleEndian(header, field);
        BinaryPrimitives.WriteInt32LittleEndian(header[2..], content.Length);
        _content.Write(header);
        _content.Write(content);
    }

    internal void Put(ushort field, long? number)
    {
        if (number is { } value)
        {
            Span<byte> content = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(content, value);
            Put(field, content);
        }
    }

    internal void Put(ushort field, string text) => Put(field, Encoding.UTF8.GetBytes(text));

    internal void Put(ushort field, Fd? descriptor)
    {
        if (descriptor is not null && !WithoutDescriptors)
        {
            Descriptors.Add(descriptor.Value);
            Put(field, (long)descriptor.Value);
        }
    }

    internal void Put(ushort field, StateWriter record)
    {
        Descriptors.AddRange(record.Descriptors);
        Put(field, record.Written);
    }
}

/// <summary>Reads fields, one after the other; what is too short is refused, not guessed.</summary>
internal ref struct StateReader
{
    internal const int HeaderSize = 6;

    private ReadOnlySpan<byte> _rest;

    internal StateReader(ReadOnlySpan<byte> fields) => _rest = fields;

    /// <summary>What the field is.</summary>
    internal ushort Field { get; private set; }

    internal ReadOnlySpan<byte> Content { get; private set; }

    internal readonly long Number => Content.Length == 8 ? BinaryPrimitives.ReadInt64LittleEndian(Content) : throw Bad($"field {Field} is no number");

    internal readonly int Int32 => checked((int)Number);

    internal readonly string Text => Encoding.UTF8.GetString(Content);

    internal readonly Fd Descriptor => new(Int32);

    /// <summary>Goes to the next field.</summary>
    /// <returns>False at the end.</returns>
    internal bool TryNext()
    {
        if (_rest.Length == 0)
        {
            return false;
        }

        var length = _rest.Length < HeaderSize ? -1 : BinaryPrimitives.ReadInt32LittleEndian(_rest[2..]);
        if (length < 0 || length > _rest.Length - HeaderSize)
        {
            throw Bad("it is cut short");
        }

        Field = BinaryPrimitives.ReadUInt16LittleEndian(_rest);
        Content = _rest.Slice(HeaderSize, length);
        _rest = _rest[(HeaderSize + length)..];
        return true;
    }

    /// <summary>For a field that is not known.</summary>
    /// <exception cref="EdgeHostException">It may not be left out.</exception>
    internal readonly void Skip(string owner)
    {
        if (Field < StateWriter.MayBeIgnored)
        {
            throw Bad($"{owner} has the field {Field}, which this build does not know; a newer one wrote it");
        }
    }

    internal static EdgeHostException Bad(string why) => new(ErrorKind.Unsupported, $"the state of the shepherd is not understood: {why}");
}
