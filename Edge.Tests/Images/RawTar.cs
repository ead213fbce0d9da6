using System.Text;

namespace Edge.Tests.Images;

/// <summary>Writes tar headers byte by byte, also those that no honest program writes.</summary>
internal sealed class RawTar
{
    private readonly MemoryStream _output = new();

    internal static string Octal(long value, int width) => Convert.ToString(value, 8).PadLeft(width - 1, '0') + "\0";

    internal RawTar Add(
        string name,
        char type = '0',
        string content = "",
        string link = "",
        int mode = 0x1ED,
        long uid = 0,
        long gid = 0,
        long mtime = 1_700_000_000,
        int major = 0,
        int minor = 0,
        string? size = null,
        Action<byte[]>? change = null)
    {
        var body = Encoding.Latin1.GetBytes(content);
        var header = new byte[512];
        void Put(int at, string text) => Encoding.Latin1.GetBytes(text).CopyTo(header, at);
        Put(0, name.Length > 100 ? name[..100] : name);
        Put(100, Octal(mode, 8));
        Put(108, Octal(uid, 8));
        Put(116, Octal(gid, 8));
        Put(124, size ?? Octal(body.Length, 12));
        Put(136, Octal(mtime, 12));
        header[156] = (byte)type;
        Put(157, link.Length > 100 ? link[..100] : link);
        Put(257, "ustar\0" + "00");
        Put(329, Octal(major, 8));
        Put(337, Octal(minor, 8));
        change?.Invoke(header);
        Put(148, "        ");
        Put(148, Octal(header.Sum(b => (int)b), 7) + " ");
        _output.Write(header);
        _output.Write(body);
        _output.Write(new byte[(512 - (body.Length % 512)) % 512]);
        return this;
    }

    internal RawTar Directory(string name, int mode = 0x1ED) => Add(name, '5', mode: mode);

    internal RawTar Link(string name, string target) => Add(name, '1', link: target);

    internal RawTar Symlink(string name, string target) => Add(name, '2', link: target);

    internal RawTar Pax(params (string Key, string Value)[] records) => Add("PaxHeaders/x", 'x', string.Concat(records.Select(record =>
    {
        var rest = $" {record.Key}={record.Value}\n";
        var length = rest.Length + 1;
        while (length != rest.Length + length.ToString().Length)
        {
            length = rest.Length + length.ToString().Length;
        }

        return length + rest;
    })));

    internal RawTar GnuName(string name, char type = 'L') => Add("././@LongLink", type, name + "\0", change: header => Encoding.ASCII.GetBytes("ustar  \0").CopyTo(header, 257));

    /// <summary>Without zeros at its end, and without what fills up the last block.</summary>
    internal byte[] EndAfterContent(int contentLength)
    {
        var all = _output.ToArray();
        return all[..^((512 - (contentLength % 512)) % 512)];
    }

    internal byte[] End(bool zeros = true)
    {
        _output.Write(new byte[zeros ? 1024 : 0]);
        return _output.ToArray();
    }
}
