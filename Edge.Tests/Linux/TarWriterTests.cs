using System.Text;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using EdgeHost.Linux.Archives;
using Xunit;

namespace Edge.Tests.Linux;

/// <summary>What we write, GNU tar and our own reader read.</summary>
public sealed class TarWriterTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Names_owners_times_and_attributes_of_all_sizes_are_read_back()
    {
        TarEntry[] entries =
        [
            Entry("plain", TarType.File, size: 3),
            Entry(new string('a', 100), TarType.File),
            Entry(new string('b', 101), TarType.File),
            Entry(string.Concat(Enumerable.Repeat("deep/", 300)) + "f", TarType.File, size: 513),
            Entry("ümlaut", TarType.SymbolicLink, link: new string('c', 300)),
            Entry("dir/", TarType.Directory),
            Entry("old", TarType.Fifo, seconds: -86400),
            Entry("late", TarType.File, seconds: 99_999_999_999),
            Entry("owned", TarType.File, uid: 4_000_000_000, gid: 2_097_152),
            Entry("program", TarType.File, size: 1, attribute: "security.capability"),
            Entry("linked", TarType.HardLink, link: "plain"),
            Entry("device", TarType.CharacterDevice, major: 10, minor: 200),
        ];
        using var archive = new MemoryStream();
        var tar = new TarWriter(archive);
        foreach (var entry in entries)
        {
            tar.Begin(entry);
            tar.Write(new byte[entry.Size]);
        }

        tar.Finish();
        archive.Position = 0;
        var reader = new TarReader(archive, null);
        foreach (var entry in entries)
        {
            var read = reader.Next()!;
            Assert.Equal(Words(entry), Words(read));
        }

        Assert.Null(reader.Next());
        using var directory = new TemporaryDirectory();
        await File.WriteAllBytesAsync(directory.Sub("x.tar"), archive.ToArray(), Cancel);
        var listed = (await CommandRun.RunAsync("tar", ["--quoting-style=literal", "-tf", directory.Sub("x.tar")], environment: new Dictionary<string, string?> { ["LC_ALL"] = "C.UTF-8" })).Succeeds();
        Assert.Equal(entries.Select(entry => Encoding.UTF8.GetString(entry.Name)), listed.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void Content_that_is_not_what_the_header_says_is_a_defect()
    {
        var tar = new TarWriter(new MemoryStream());
        tar.Begin(Entry("f", TarType.File, size: 2));
        Assert.Throws<InvalidOperationException>(() => tar.Write(new byte[3]));
        tar.Write(new byte[1]);
        Assert.Throws<InvalidOperationException>(() => tar.Begin(Entry("g", TarType.File)));
    }

    private static string Words(TarEntry entry) =>
        $"{Encoding.UTF8.GetString(entry.Name)} {entry.Type} {Encoding.UTF8.GetString(entry.LinkName)} {entry.Mode} {entry.Uid}:{entry.Gid} {entry.Size} {entry.ModifiedSeconds} {entry.DeviceMajor}:{entry.DeviceMinor} {string.Join(' ', entry.Attributes.Select(each => $"{Encoding.ASCII.GetString(each.Key)}={Convert.ToHexString(each.Value)}"))}";

    private static TarEntry Entry(
        string name, TarType type, long size = 0, string link = "", long seconds = 1_700_000_000, uint uid = 1, uint gid = 2, uint major = 0, uint minor = 0, string? attribute = null)
    {
        return new TarEntry
        {
            Name = Encoding.UTF8.GetBytes(name),
            LinkName = Encoding.UTF8.GetBytes(link),
            Type = type,
            Mode = 0x9ED,
            Uid = uid,
            Gid = gid,
            Size = size,
            ModifiedSeconds = seconds,
            ModifiedNanoseconds = 0,
            DeviceMajor = major,
            DeviceMinor = minor,
            Attributes = attribute is null ? [] : [KeyValuePair.Create(Encoding.ASCII.GetBytes(attribute), new byte[] { 1, 0, (byte)'\n', 255 })],
        };
    }
}
