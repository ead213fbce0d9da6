using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using System.Threading.Channels;
using Xunit;

namespace Edge.Tests.Board;

/// <summary>
/// A disk of ATA behind a bridge to USB, as a board has it on its USB port: a mass storage device (Bulk-Only Transport 1.0) of which qemu
/// has only the port (<c>usb-redir</c>; protocol 0.7 of USB network redirection), and whose every answer is made here.
/// </summary>
internal sealed class BridgedDisk : IAsyncDisposable
{
    private const int Sector = 512, HelloHeaderLength = 12, HeaderLength = 16;
    private const byte Succeeded = 0, Cancelled = 1, Stalled = 4;
    private const byte BulkIn = 0x81, BulkOut = 0x02;
    private const uint Hello = 0, Connect = 1, Reset = 3, Interfaces = 4, Endpoints = 5, SetConfiguration = 6, ConfigurationStatus = 8, SetAlternate = 9, AlternateStatus = 11, Cancel = 21, Control = 100, Bulk = 101;

    // What was not in the first version of the protocol and xHCI needs: versions of devices, sizes of packets, long ids, long transfers.
    private const uint Capabilities = 0b111_0010;

    // An invalid command.
    private static readonly byte[] IllegalRequest = [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0];

    private static readonly byte[] Descriptor = [18, 1, 0, 2, 0, 0, 0, 64, 0x09, 0x12, 1, 0, 0, 1, 0, 0, 0, 1];
    private static readonly byte[] Configuration = [9, 2, 32, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 2, 8, 6, 0x50, 0, 7, 5, BulkIn, 2, 0, 2, 0, 7, 5, BulkOut, 2, 0, 2, 0];

    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly CancellationTokenSource _end = new();
    private readonly Channel<string> _asked = Channel.CreateUnbounded<string>();
    private readonly string _path;
    private readonly byte[] _data;
    private readonly Task _serving;
    private NetworkStream? _stream;

    // The command that is being carried out: what it still sends, what it still takes, and how it ends.
    private byte[] _wrapper = [];
    private ReadOnlyMemory<byte> _toSend;
    private int _due;
    private byte[] _taken = [];
    private int _took;
    private int _residue;
    private byte _status;
    private byte[] _sense = [];
    private bool _hangs;

    internal BridgedDisk(string path, int mebibytes)
    {
        _path = path;
        _data = new byte[mebibytes << 20];
        _listener.Bind(new UnixDomainSocketEndPoint(path));
        _listener.Listen();
        _serving = ServeAsync();
    }

    /// <summary>What the bridge does with a command for the disk.</summary>
    internal enum Manner
    {
        /// <summary>It hands it on, and back what the disk says.</summary>
        HandsOn,

        /// <summary>The same, but not the registers.</summary>
        HandsOnData,

        /// <summary>It knows no such command.</summary>
        Refuses,

        /// <summary>It never answers, until it is reset.</summary>
        Hangs,
    }

    /// <summary>What the bridge does.</summary>
    internal Manner Bridge { get; set; }

    /// <summary>Whether it says that its medium may be taken out, as sticks and readers of cards do.</summary>
    internal bool IsRemovable { get; init; }

    /// <summary>Whether the disk sleeps.</summary>
    internal bool Sleeps { get; set; }

    /// <summary>Whether the disk has something that turns.</summary>
    internal bool Turns { get; set; }

    /// <summary>Whether the disk has logs for which SMART is not needed.</summary>
    internal bool HasLogs { get; set; } = true;

    /// <summary>Whether SMART says that it fails.</summary>
    internal bool Fails { get; set; }

    /// <summary>How much of its life is used.</summary>
    internal byte PercentUsed { get; set; }

    /// <summary>As arguments of qemu, which needs a controller with the id <c>xhci</c> before them.</summary>
    /// <param name="id">What it is called there.</param>
    internal string Device(string id) => $"-chardev socket,id={id},path={_path} -device usb-redir,id={id},chardev={id},bus=xhci.0";

    /// <summary>Waits until the disk is asked for something beside what is on it, and says for what, in the words of ACS-4.</summary>
    internal async Task<string> AskedAsync()
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(EmulatedBoard.UsualPatience);
        return await _asked.Reader.ReadAsync(patience.Token);
    }

    /// <summary>What else it was asked for since then.</summary>
    internal IEnumerable<string> Asked()
    {
        while (_asked.Reader.TryRead(out var question))
        {
            yield return question;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await _serving;
        _listener.Dispose();
        _end.Dispose();
    }

    private async Task ServeAsync()
    {
        try
        {
            _stream = new NetworkStream(await _listener.AcceptAsync(_end.Token), ownsSocket: true);
            await using var stream = _stream;
            var hello = new byte[68];
            _ = Encoding.ASCII.GetBytes("edgehost tests", hello);
            BinaryPrimitives.WriteUInt32LittleEndian(hello.AsSpan(64), Capabilities);
            await SendAsync(Hello, 0, hello);
            var header = new byte[HeaderLength];
            for (var length = HelloHeaderLength; ; length = HeaderLength)
            {
                await stream.ReadExactlyAsync(header.AsMemory(0, length), _end.Token);
                var (type, id) = (BinaryPrimitives.ReadUInt32LittleEndian(header), BinaryPrimitives.ReadUInt64LittleEndian(header.AsSpan(8)));
                var body = new byte[BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(4))];
                await stream.ReadExactlyAsync(body, _end.Token);
                await TakeAsync(type, id, body);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or EndOfStreamException or IOException or SocketException)
        {
            // The board is off, or the test at its end.
        }
    }

    private async Task TakeAsync(uint type, ulong id, byte[] body)
    {
        switch (type)
        {
            case Hello:
                await PlugInAsync();
                break;
            case Reset:
                (_hangs, _toSend, _due, _took, _taken) = (false, default, 0, 0, []);
                break;
            case SetConfiguration:
                await SendAsync(ConfigurationStatus, id, [Succeeded, body[0]]);
                break;
            case SetAlternate:
                await SendAsync(AlternateStatus, id, [Succeeded, body[0], body[1]]);
                break;
            case Control:
                await TakeControlAsync(id, body);
                break;
            case Bulk:
                await TakeBulkAsync(id, body);
                break;
            case Cancel:
                await SendAsync(Bulk, id, [BulkIn, Cancelled, 0, 0, 0, 0, 0, 0, 0, 0]);
                break;
        }
    }

    private async Task PlugInAsync()
    {
        // By endpoint, those of the way in after those of the way out.
        const byte None = 255, ControlEndpoint = 0, BulkEndpoint = 2, HighSpeed = 2;
        const int In = 16, Kinds = 32;
        var interfaces = new byte[4 + (4 * Kinds)];
        (interfaces[0], interfaces[4 + Kinds], interfaces[4 + (2 * Kinds)], interfaces[4 + (3 * Kinds)]) = (1, 8, 6, 0x50);
        var endpoints = new byte[5 * Kinds];
        endpoints.AsSpan(0, Kinds).Fill(None);
        (endpoints[0], endpoints[In]) = (ControlEndpoint, ControlEndpoint);
        foreach (var endpoint in (int[])[BulkOut, In + (BulkIn & 0xF)])
        {
            endpoints[endpoint] = BulkEndpoint;
            BinaryPrimitives.WriteUInt16LittleEndian(endpoints.AsSpan((3 * Kinds) + (2 * endpoint)), 512);
        }

        await SendAsync(Interfaces, 0, interfaces);
        await SendAsync(Endpoints, 0, endpoints);
        await SendAsync(Connect, 0, [HighSpeed, 0, 0, 0, .. Descriptor.AsSpan(8, 6)]);
    }

    private Task TakeControlAsync(ulong id, byte[] body)
    {
        const int FixedLength = 10;
        var (request, kind, value) = (body[1], body[2], BinaryPrimitives.ReadUInt16LittleEndian(body.AsSpan(4)));
        byte[]? answer = (kind, request, value >> 8) switch
        {
            (0x80, 6, 1) => Descriptor,
            (0x80, 6, 2) => Configuration,
            (0x80, 0, _) => [0, 0],
            (0xA1, 0xFE, _) => [0],
            (0x21, 0xFF, _) or (0x02, 1, _) => [],
            _ => null,
        };
        var header = body[..FixedLength];
        var length = Math.Min(answer?.Length ?? 0, BinaryPrimitives.ReadUInt16LittleEndian(body.AsSpan(8)));
        header[3] = answer is null ? Stalled : Succeeded;
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(8), (ushort)length);
        return SendAsync(Control, id, [.. header, .. (answer ?? []).AsSpan(0, length)]);
    }

    private async Task TakeBulkAsync(ulong id, byte[] body)
    {
        const int FixedLength = 10, StatusLength = 13;
        var length = BinaryPrimitives.ReadUInt16LittleEndian(body.AsSpan(2)) | (BinaryPrimitives.ReadUInt16LittleEndian(body.AsSpan(8)) << 16);
        var data = ReadOnlyMemory<byte>.Empty;
        if (body[0] == BulkOut)
        {
            Take(body.AsSpan(FixedLength));
        }
        else if (_hangs)
        {
            return;
        }
        else if (_due == 0)
        {
            var status = new byte[StatusLength];
            "USBS"u8.CopyTo(status);
            _wrapper.AsSpan(4, 4).CopyTo(status.AsSpan(4));
            BinaryPrimitives.WriteInt32LittleEndian(status.AsSpan(8), _residue);
            status[^1] = _status;
            data = status;
        }
        else
        {
            // A packet that is not full is the last, be it empty.
            data = _toSend[..Math.Min(length, _toSend.Length)];
            _toSend = _toSend[data.Length..];
            _due = data.Length < length ? 0 : _due - data.Length;
        }

        length = body[0] == BulkOut ? length : data.Length;
        var header = body[..FixedLength];
        header[1] = Succeeded;
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(2), (ushort)length);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(8), (ushort)(length >> 16));
        await SendAsync(Bulk, id, [.. header, .. data.Span]);
    }

    private void Take(ReadOnlySpan<byte> data)
    {
        const int WrapperLength = 31;
        if (_took < _taken.Length)
        {
            data.CopyTo(_taken.AsSpan(_took));
            _took += data.Length;
            if (_took == _taken.Length)
            {
                _taken.CopyTo(_data.AsSpan(At(_wrapper.AsSpan(15))));
            }
        }
        else if (data.Length == WrapperLength && data.StartsWith("USBC"u8))
        {
            _wrapper = data.ToArray();
            _status = 0;
            const byte ToHost = 0x80;
            var asked = BinaryPrimitives.ReadInt32LittleEndian(_wrapper.AsSpan(8));
            var answer = Answer(_wrapper.AsSpan(15));
            _due = (_wrapper[12] & ToHost) != 0 ? asked : 0;
            _toSend = answer.AsMemory(0, Math.Min(answer.Length, _due));
            _residue = _due - _toSend.Length;
        }
    }

    private byte[] Answer(ReadOnlySpan<byte> command)
    {
        const byte TestUnitReady = 0x00, RequestSense = 0x03, Inquiry = 0x12, ModeSense = 0x1A, ReadCapacity = 0x25, Read = 0x28, Write = 0x2A, SynchronizeCache = 0x35, PassThrough = 0x85;
        switch (command[0])
        {
            case TestUnitReady or SynchronizeCache:
                return [];
            case RequestSense:
                return _sense;
            case Inquiry when (command[1] & 1) == 0:
                // Of SCSI-2, as older bridges: of these the kernel takes no more sense data than that had, until it has seen longer ones.
                return [0, IsRemovable ? (byte)0x80 : (byte)0, 2, 2, 31, 0, 0, 0, .. "Edgehost"u8, .. "bridged disk    "u8, .. "1.0 "u8];
            case ModeSense:
                return [3, 0, 0, 0];
            case ReadCapacity:
                var capacity = new byte[8];
                BinaryPrimitives.WriteInt32BigEndian(capacity, (_data.Length / Sector) - 1);
                BinaryPrimitives.WriteInt32BigEndian(capacity.AsSpan(4), Sector);
                return capacity;
            case Read:
                return _data.AsSpan(At(command), Length(command)).ToArray();
            case Write:
                (_taken, _took) = (new byte[Length(command)], 0);
                return [];
            case PassThrough:
                return HandOn(command);
            default:
                return Fail(IllegalRequest);
        }
    }

    private byte[] HandOn(ReadOnlySpan<byte> command)
    {
        const byte TellsRegisters = 0x20;
        var (low, page) = (command[8], command[10]);
        var (question, answer, count, lba) = (command[14], command[4]) switch
        {
            (0xE5, _) => ("CHECK POWER MODE", [], Sleeps ? 0x00 : 0xFF, 0),
            (0xEC, _) => ("IDENTIFY DEVICE", Words((82, 1), (83, 0x4000), (84, HasLogs ? 0x4021 : 0x4001), (85, 1), (87, 0x4000), (217, Turns ? 7200 : 1)), 0, 0),
            (0xB0, 0xDA) when IsSmart(command) => ("SMART RETURN STATUS", [], 0, Fails ? 0x2CF4 : 0xC24F),
            (0xB0, 0xD5) when IsSmart(command) => ($"SMART READ LOG {low}, {command[6]} pages", low == 0 ? Words((0, 1), (4, 8)) : [.. Statistics(0), .. new byte[6 * Sector], .. Statistics(7)], 0, 0),
            (0x2F, _) when HasLogs => ($"READ LOG EXT {low}, page {page}", low == 0 ? Words((0, 1), (4, 8)) : Statistics(page), 0, 0),
            var (code, features) => ($"{code:X2} {features:X2}", (byte[]?)null, 0, 0),
        };
        if (Bridge is Manner.Refuses or Manner.Hangs)
        {
            Note(question + (Bridge is Manner.Refuses ? ", refused" : ", unanswered"));
            _hangs = Bridge is Manner.Hangs;
            return Fail(IllegalRequest);
        }

        Note(question);

        // Aborted, or that there is something to tell (SAT-4, 12.2.2.6); with the status of the disk in the end.
        return answer switch
        {
            null => Fail([0x72, 0x0B, 0, 0, 0, 0, 0, 14, 9, 12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x51]),
            _ when (command[2] & TellsRegisters) != 0 && Bridge is Manner.HandsOn => Fail([0x72, 1, 0, 0x1D, 0, 0, 0, 14, 9, 12, 0, 0, 0, (byte)count, 0, 0, 0, (byte)lba, 0, (byte)(lba >> 8), 0, 0x50]),
            _ => answer,
        };
    }

    private void Note(string question) => Assert.True(_asked.Writer.TryWrite(question));

    private static bool IsSmart(ReadOnlySpan<byte> command) => (command[10], command[12]) == (0x4F, 0xC2);

    // The first of its pages says which others there are.
    private byte[] Statistics(byte page) => page == 0 ? Words((0, 1), (4, 2), (5, 7)) : Words((0, 1), (1, page), (4, PercentUsed), (7, 0xC000));

    private byte[] Fail(byte[] sense)
    {
        (_sense, _status) = (sense, 1);
        return [];
    }

    private static byte[] Words(params (int Word, int Value)[] words)
    {
        var page = new byte[Sector];
        foreach (var (word, value) in words)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(page.AsSpan(2 * word), (ushort)value);
        }

        return page;
    }

    private static int At(ReadOnlySpan<byte> command) => BinaryPrimitives.ReadInt32BigEndian(command[2..]) * Sector;

    private static int Length(ReadOnlySpan<byte> command) => BinaryPrimitives.ReadUInt16BigEndian(command[7..]) * Sector;

    private async Task SendAsync(uint type, ulong id, byte[] body)
    {
        var header = new byte[type == Hello ? HelloHeaderLength : HeaderLength];
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(4), body.Length);
        if (type != Hello)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), id);
        }

        await _stream!.WriteAsync((byte[])[.. header, .. body], _end.Token);
    }
}
