using System.Diagnostics;
using System.Text.Json.Serialization;
using Edge.Tests.Images;
using EdgeHost.Errors;
using EdgeHost.State;
using Xunit;

namespace Edge.Tests.State;

public sealed record Sample(string Name, int Number);

[JsonSerializable(typeof(Sample))]
[JsonSerializable(typeof(string))]
internal sealed partial class SampleJson : JsonSerializerContext;

public sealed class StateDatabaseTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    private string Path => _directory.Sub("state.db");

    public void Dispose() => _directory.Dispose();

    private StateDatabase Open() => StateDatabase.Open(Path);

    private static StateTable<Sample> Samples(StateDatabase database) => database.Table("samples", SampleJson.Default.Sample);

    [Fact]
    public async Task A_flushed_row_is_there_when_the_file_is_opened_again()
    {
        using (var database = Open())
        {
            Assert.Equal(StateOutcome.Created, database.Report.Outcome);
            await Samples(database).UpsertDurablyAsync("a", new Sample("one", 1));
        }

        using var again = Open();
        Assert.Equal(StateOutcome.Opened, again.Report.Outcome);
        Assert.Equal(new Sample("one", 1), Samples(again).Find("a"));
    }

    [Fact]
    public async Task A_durable_row_survives_without_the_database_being_closed()
    {
        using var database = Open();
        var table = Samples(database);
        await table.UpsertDurablyAsync("a", new Sample("one", 1));
        using var copy = new TemporaryDirectory();
        foreach (var file in Directory.GetFiles(_directory.Path))
        {
            using var source = Process.Start("cp", [file, copy.Path]);
            await source.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        using var seen = StateDatabase.Open(copy.Sub("state.db"));
        Assert.Equal(1, Samples(seen).Find("a")!.Number);
    }

    [Fact]
    public void A_row_that_is_not_flushed_by_hand_is_written_when_the_database_is_closed()
    {
        using (var database = Open())
        {
            Samples(database).Upsert("a", new Sample("one", 1));
        }

        using var again = Open();
        Assert.NotNull(Samples(again).Find("a"));
    }

    [Fact]
    public async Task Ids_that_differ_in_case_are_different_rows_and_tables_do_not_mix()
    {
        using (var database = Open())
        {
            var table = Samples(database);
            table.Upsert("a", new Sample("small", 1));
            table.Upsert("A", new Sample("large", 2));
            database.Table("sample", SampleJson.Default.Sample).Upsert("s/a", new Sample("other", 3));
            await database.FlushAsync();
            table.Delete("nowhere");
        }

        using var again = Open();
        Assert.Equal(["A", "a"], Samples(again).Rows.Keys.Order(StringComparer.Ordinal));
        Assert.Equal("small", Samples2(again).Find("s/a") is { Name: "other" } ? "small" : "mixed");

        static StateTable<Sample> Samples2(StateDatabase database) => database.Table("sample", SampleJson.Default.Sample);
    }

    [Fact]
    public async Task A_deleted_row_stays_deleted()
    {
        using (var database = Open())
        {
            var table = Samples(database);
            await table.UpsertDurablyAsync("a", new Sample("one", 1));
            table.Delete("a");
            await database.FlushAsync();
        }

        using var again = Open();
        Assert.Empty(Samples(again).Rows);
    }

    [Fact]
    public async Task Many_threads_and_many_batches_lose_nothing()
    {
        using (var database = Open())
        {
            var table = Samples(database);
            await Parallel.ForEachAsync(Enumerable.Range(0, 8), async (thread, _) =>
            {
                for (var i = 0; i < 60; i++)
                {
                    table.Upsert($"{thread}-{i}", new Sample(new string('x', 300), i));
                    if (i % 20 == 0)
                    {
                        await database.FlushAsync();
                    }
                }
            });
        }

        using var again = Open();
        Assert.Equal(480, Samples(again).Rows.Count);
    }

    [Fact]
    public async Task What_was_overwritten_leaves_the_file_before_it_grows_without_bound()
    {
        using var database = Open();
        var table = Samples(database);
        for (var i = 0; i < 200; i++)
        {
            await table.UpsertDurablyAsync("a", new Sample(new string('x', 20_000), i));
        }

        Assert.InRange(new FileInfo(Path).Length, 20_000, (1 << 20) + (1 << 17));
        Assert.Equal(199, table.Find("a")?.Number);
        Assert.Equal([Path], Directory.GetFiles(_directory.Path));
    }

    [Fact]
    public async Task Nothing_is_written_while_nothing_changes()
    {
        using var database = Open();
        await Samples(database).UpsertDurablyAsync("a", new Sample("one", 1));
        var before = Directory.GetFiles(_directory.Path).Select(name => (name, new FileInfo(name).Length, File.GetLastWriteTimeUtc(name))).ToList();
        await database.FlushAsync();
        await database.FlushAsync();
        Assert.Equal(before, Directory.GetFiles(_directory.Path).Select(name => (name, new FileInfo(name).Length, File.GetLastWriteTimeUtc(name))));
    }

    [Fact]
    public void A_second_process_is_refused_in_words()
    {
        using var database = Open();
        var e = Assert.Throws<EdgeHostException>(Open);
        Assert.Equal(ErrorKind.Conflict, e.Kind);
        Assert.Contains("open in another process", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("garbage")]
    [InlineData("zeroed")]
    [InlineData("truncated to half")]
    [InlineData("truncated to a stump")]
    [InlineData("one bit in a row")]
    [InlineData("one page zeroed")]
    public async Task A_damaged_file_is_put_aside_and_a_new_one_made(string damage)
    {
        using (var database = Open())
        {
            var table = Samples(database);
            for (var i = 0; i < 200; i++)
            {
                table.Upsert($"row-{i}", new Sample("needle-" + new string('x', 1000), i));
            }

            await database.FlushAsync();
        }

        var bytes = File.ReadAllBytes(Path);
        switch (damage)
        {
            case "garbage":
                new Random(1).NextBytes(bytes);
                break;
            case "zeroed":
                Array.Clear(bytes);
                break;
            case "truncated to half":
                bytes = bytes[..(bytes.Length / 2)];
                break;
            case "truncated to a stump":
                bytes = bytes[..1000];
                break;
            case "one bit in a row":
                bytes[bytes.AsSpan().IndexOf("needle-"u8) + 20] ^= 1;
                break;
            case "one page zeroed":
                Array.Clear(bytes, bytes.Length / 8192 / 2 * 8192, 8192);
                break;
        }

        File.WriteAllBytes(Path, bytes);
        using (var database = Open())
        {
            Assert.Equal(StateOutcome.Damaged, database.Report.Outcome);
            Assert.StartsWith(Path + ".damaged-", database.Report.KeptAside, StringComparison.Ordinal);
            Assert.Equal(bytes.Length, new FileInfo(database.Report.KeptAside!).Length);
            Assert.Empty(Samples(database).Rows);
        }

        using var again = Open();
        Assert.Equal(StateOutcome.Opened, again.Report.Outcome);
    }

    [Fact]
    public void Of_damaged_files_only_the_last_three_are_kept()
    {
        for (var i = 0; i < 5; i++)
        {
            File.WriteAllBytes(Path, new byte[100 + i]);
            using var database = Open();
        }

        Assert.Equal([102, 103, 104], Directory.GetFiles(_directory.Path, "state.db.damaged-*Z").Order().Select(name => (int)new FileInfo(name).Length));
    }

    [Fact]
    public async Task A_row_that_is_no_longer_understood_is_told_of_and_the_others_are_read()
    {
        using (var database = Open())
        {
            database.Table("samples", SampleJson.Default.String).Upsert("odd", "just a string");
            await database.FlushAsync();
        }

        using (var database = Open())
        {
            var table = Samples(database);
            Assert.Empty(table.Rows);
            Assert.Contains("samples/odd", Assert.Single(table.Unreadable), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Rows_and_ids_that_are_too_large_are_refused()
    {
        using var database = Open();
        var table = Samples(database);
        Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => table.Upsert(new string('i', 513), new Sample("x", 1))).Kind);
        Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => table.Upsert("i", new Sample(new string('x', 1 << 20), 1))).Kind);
        Assert.Empty(table.Rows);
    }

    /// <summary>The file that a killed process leaves is a prefix of its writes, or has zeros where they were to be: each must open.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Killed_at_any_byte_of_a_batch_the_rows_of_the_last_whole_one_are_there(bool zeros)
    {
        var batches = new List<int>();
        byte[] written;
        using (var database = Open())
        {
            var table = Samples(database);
            for (var i = 0; i < 8; i++)
            {
                batches.Add((int)new FileInfo(Path).Length);
                table.Upsert("a", new Sample(new string('a', 300), i));
                table.Upsert("b", new Sample(new string('b', 900), i));
                await database.FlushAsync();
            }

            written = ReadShared(Path);
        }

        for (var length = batches[0]; length <= written.Length; length += 7)
        {
            using var copy = new TemporaryDirectory();
            var end = batches.FirstOrDefault(at => at > length, written.Length);
            File.WriteAllBytes(copy.Sub("state.db"), zeros && !batches.Contains(length) ? [.. written[..length], .. new byte[end - length]] : written[..length]);
            using var database = StateDatabase.Open(copy.Sub("state.db"));
            Assert.True(database.Report.Outcome == StateOutcome.Opened, $"{length}: {database.Report.Reason}");
            var table = Samples(database);
            var whole = batches.Count(at => at <= length) - (length == written.Length ? 0 : 1);
            Assert.Equal(whole == 0 ? null : whole - 1, table.Find("a")?.Number);
            Assert.Equal(table.Find("a")?.Number, table.Find("b")?.Number);

            // And it can be gone on with.
            await table.UpsertDurablyAsync("c", new Sample("c", 1));
        }
    }

    [Theory]
    [InlineData(4)]
    [InlineData(20)]
    [InlineData(600)]
    public async Task A_batch_that_is_damaged_before_others_is_no_cut_but_damage(int offset)
    {
        byte[] written;
        int first;
        using (var database = Open())
        {
            var table = Samples(database);
            first = (int)new FileInfo(Path).Length;
            for (var i = 0; i < 3; i++)
            {
                await table.UpsertDurablyAsync("a", new Sample(new string('a', 900), i));
            }

            written = ReadShared(Path);
        }

        written[first + offset] ^= 1;
        File.WriteAllBytes(Path, written);

        using var again = Open();
        Assert.Equal(StateOutcome.Damaged, again.Report.Outcome);
        Assert.Equal(written, File.ReadAllBytes(again.Report.KeptAside!));
    }

    [Fact]
    public async Task Of_a_damaged_file_the_rows_from_before_the_damage_are_kept()
    {
        byte[] written;
        var batches = new List<int>();
        using (var database = Open())
        {
            var table = Samples(database);
            for (var i = 0; i < 4; i++)
            {
                batches.Add((int)new FileInfo(Path).Length);
                await table.UpsertDurablyAsync($"row-{i}", new Sample("x", i));
            }

            written = ReadShared(Path);
        }

        written[batches[2] + 20] ^= 1;
        File.WriteAllBytes(Path, written);
        using (var database = Open())
        {
            Assert.Equal(StateOutcome.Damaged, database.Report.Outcome);
            Assert.Equal(["row-0", "row-1"], Samples(database).Rows.Keys.Order(StringComparer.Ordinal));
        }

        using var again = Open();
        Assert.Equal(StateOutcome.Opened, again.Report.Outcome);
        Assert.Equal(2, Samples(again).Rows.Count);
    }

    [Fact]
    public async Task A_damaged_file_stays_where_it_is_until_the_new_one_is_whole()
    {
        byte[] written;
        using (var database = Open())
        {
            var table = Samples(database);
            await table.UpsertDurablyAsync("first", new Sample("x", 1));
            await table.UpsertDurablyAsync("second", new Sample("x", 2));
            await table.UpsertDurablyAsync("third", new Sample("x", 3));
            written = ReadShared(Path);
        }

        written[written.AsSpan().IndexOf("second"u8)] ^= 1;
        File.WriteAllBytes(Path, written);

        // No new one can be made, as on a full disk.
        var obstacle = Directory.CreateDirectory(Path + ".new");
        _ = Assert.Throws<EdgeHostException>(Open);
        Assert.Equal(written, File.ReadAllBytes(Path));

        obstacle.Delete();
        using var again = Open();
        Assert.Equal(StateOutcome.Damaged, again.Report.Outcome);
        Assert.Equal(written, File.ReadAllBytes(again.Report.KeptAside!));
        Assert.NotNull(Samples(again).Find("first"));
    }

    /// <summary>A disk writes sectors in the order that it likes, and those it did not write hold what was there before.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(0xA5)]
    public async Task A_last_batch_of_which_any_sectors_are_missing_is_cut_off_and_said(byte before)
    {
        byte[] written;
        int last;
        using (var database = Open())
        {
            var table = Samples(database);
            await table.UpsertDurablyAsync("a", new Sample("kept", 1));
            last = (int)new FileInfo(Path).Length;
            await table.UpsertDurablyAsync("b", new Sample(new string('b', 1800), 2));
            written = ReadShared(Path);
        }

        var sectors = ((written.Length - 1) / 512) - (last / 512) + 1;
        Assert.InRange(sectors, 4, 6);
        for (var missing = 1; missing < 1 << sectors; missing++)
        {
            var torn = written.ToArray();
            for (var i = last; i < torn.Length; i++)
            {
                torn[i] = (missing >> ((i / 512) - (last / 512)) & 1) == 1 ? before : torn[i];
            }

            using var copy = new TemporaryDirectory();
            File.WriteAllBytes(copy.Sub("state.db"), torn);
            using var database = StateDatabase.Open(copy.Sub("state.db"));
            Assert.True(database.Report.Outcome == StateOutcome.Opened, $"{missing:b}: {database.Report.Reason}");
            Assert.Contains($"{written.Length - last} bytes", database.Report.Reason, StringComparison.Ordinal);
            Assert.Equal(["a"], Samples(database).Rows.Keys);
        }
    }

    [Fact]
    public async Task What_stands_behind_the_last_batch_and_is_none_is_cut_off_and_no_row_is_lost()
    {
        using (var database = Open())
        {
            await Samples(database).UpsertDurablyAsync("a", new Sample("one", 1));
        }

        var bytes = File.ReadAllBytes(Path);
        File.WriteAllBytes(Path, [.. bytes, .. bytes]);
        using var again = Open();
        Assert.Equal(StateOutcome.Opened, again.Report.Outcome);
        Assert.NotNull(Samples(again).Find("a"));
        Assert.Equal(bytes, ReadShared(Path));
    }

    [Fact]
    public async Task A_file_that_cannot_be_made_shorter_keeps_what_it_has_and_writes_nothing_twice()
    {
        using var database = Open();
        var table = Samples(database);
        var obstacle = Directory.CreateDirectory(Path + ".new");
        await table.UpsertDurablyAsync("a", new Sample(new string('a', 900_000), 1));
        await table.UpsertDurablyAsync("a", new Sample(new string('a', 900_000), 2));
        var length = new FileInfo(Path).Length;
        await database.FlushAsync();
        await table.UpsertDurablyAsync("b", new Sample("b", 3));
        Assert.InRange(new FileInfo(Path).Length, length + 1, length + 200);

        // And it is made shorter once that is possible.
        obstacle.Delete();
        await table.UpsertDurablyAsync("a", new Sample(new string('a', 1_000_000), 4));
        await table.UpsertDurablyAsync("a", new Sample(new string('a', 1_000_000), 5));
        Assert.InRange(new FileInfo(Path).Length, 1, length);
    }

    [Fact]
    public async Task A_large_database_is_not_rewritten_for_each_mebibyte()
    {
        using var database = Open();
        var table = Samples(database);
        for (var i = 0; i < 5; i++)
        {
            table.Upsert($"{i}", new Sample(new string('x', 1_000_000), i));
        }

        await database.FlushAsync();
        var rewritten = new FileInfo(Path).Length;
        for (var i = 0; i < 4; i++)
        {
            await table.UpsertDurablyAsync("0", new Sample(new string('y', 1_000_000), i));
        }

        Assert.InRange(new FileInfo(Path).Length, rewritten + 4_000_000, rewritten + 4_100_000);
        await table.UpsertDurablyAsync("0", new Sample(new string('y', 1_000_000), 4));
        await table.UpsertDurablyAsync("0", new Sample(new string('z', 1_000_000), 5));
        Assert.InRange(new FileInfo(Path).Length, 5_000_000, rewritten + 1_100_000);
    }

    [Fact]
    public async Task A_row_that_is_removed_before_its_batch_never_touches_the_disk()
    {
        using var database = Open();
        var length = new FileInfo(Path).Length;
        var table = Samples(database);
        await Batches(() =>
        {
            table.Upsert("a", new Sample("short-lived", 1));
            table.Delete("a");
        });
        Assert.Equal(length, new FileInfo(Path).Length);

        await table.UpsertDurablyAsync("a", new Sample("kept", 1));
        length = new FileInfo(Path).Length;
        await Batches(() => table.Delete("a"));
        Assert.InRange(new FileInfo(Path).Length, length + 1, length + 100);

        Task Batches(Action change)
        {
            change();
            return database.FlushAsync();
        }
    }

    [Fact]
    public void A_file_of_a_newer_version_is_put_aside_and_kept()
    {
        using (Open())
        {
        }

        var bytes = File.ReadAllBytes(Path);
        bytes[8]++;
        File.WriteAllBytes(Path, bytes);

        using var database = Open();
        Assert.Equal(StateOutcome.Newer, database.Report.Outcome);
        Assert.Contains("version 2", database.Report.Reason, StringComparison.Ordinal);
        Assert.Equal(bytes, File.ReadAllBytes(database.Report.KeptAside!));
    }

    private static byte[] ReadShared(string path)
    {
        // The database holds the file with flock, which .NET honours; cp does not.
        using var process = Process.Start(new ProcessStartInfo("cat", [path]) { RedirectStandardOutput = true })!;
        using var memory = new MemoryStream();
        process.StandardOutput.BaseStream.CopyTo(memory);
        process.WaitForExit();
        return memory.ToArray();
    }
}
