using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;
using EdgeHost.Runtime.Shepherd;
using Xunit;

namespace Edge.Tests.Runtime;

/// <summary>What a shepherd leaves to its successor is understood whole, or refused.</summary>
public sealed class ShepherdStateTests
{
    [Fact]
    public void What_was_written_is_what_is_read()
    {
        var read = ShepherdState.Read(Whole().Write(out var descriptors));

        Assert.Equal([100, 101, 102, 104, 105, 106, 107], descriptors);
        Assert.Equal("/usr/bin/edgehost", read.StartedFrom);
        Assert.Equal(100, read.Lock!.Value);
        Assert.Equal(101, read.Listener!.Value);
        Assert.Equal(102, Assert.Single(read.Clients).Value);
        Assert.Equal([4711], read.Strays);
        Assert.Equal((7, 0, 9), (read.NextRank, read.AskedBy, read.Request));
        var logger = Assert.Single(read.Loggers);
        Assert.Equal((42, 104), (logger.Pid, logger.Socket.Fd.Value));
        Assert.Equal(2, read.Containers.Count);
        var runs = read.Containers[0];
        Assert.Equal(("runs", 1000, 105, 5L), (runs.Id, runs.Process.Pid, runs.Process.PidFd.Value, runs.StartTime));
        Assert.Equal(106, runs.Streams[0]!.Value);
        Assert.Null(runs.Streams[1]);
        Assert.Equal(new LogPolicy("/log", 1 << 20, 3), runs.Log);
        Assert.Equal((15, 10_000, 6), (runs.StopSignal, runs.GraceMilliseconds, runs.Rank));
        Assert.True(runs is { Running: true, Exit: null, TellAt: null, IsDraining: false, HasGap: true });
        Assert.Same(logger, runs.Logger);
        var ended = read.Containers[1];
        Assert.True(ended is { Running: false, TellAt: 123, IsDraining: true, HasGap: false, Logger: null });
        Assert.Equal(new ContainerExit(137, DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_123)), ended.Exit);
    }

    [Fact]
    public void One_that_is_cut_short_anywhere_is_refused()
    {
        var whole = Whole().Write(out _);
        for (var length = 0; length < whole.Length; length++)
        {
            // Between two fields nothing is torn; then what every shepherd has is missing, or what follows was a list.
            try
            {
                var read = ShepherdState.Read(whole[..length]);
                Assert.True(read is { Lock: not null, Listener: not null });
            }
            catch (EdgeHostException e)
            {
                Assert.Equal(ErrorKind.Unsupported, e.Kind);
            }
        }
    }

    [Fact]
    public void One_of_a_version_that_is_not_known_is_refused_and_both_numbers_are_said()
    {
        var newer = new StateWriter();
        newer.Put((ushort)StateField.Version, ShepherdState.Version + 1);

        var refusal = Assert.Throws<EdgeHostException>(() => ShepherdState.Read([.. newer.Written]));

        Assert.Contains($"it has version {ShepherdState.Version + 1}, this build takes over {ShepherdState.OldestVersion} to {ShepherdState.Version}", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_field_that_is_not_known_is_refused_unless_it_may_be_ignored()
    {
        var known = Whole().Write(out _);
        var more = new StateWriter();
        more.Put(StateWriter.MayBeIgnored + 1, "more");
        Assert.Equal(2, ShepherdState.Read([.. known, .. more.Written]).Containers.Count);

        more.Put(999, "needed");
        Assert.Contains("the field 999", Assert.Throws<EdgeHostException>(() => ShepherdState.Read([.. known, .. more.Written])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_descriptor_that_was_not_handed_over_is_refused()
    {
        var state = new StateWriter();
        state.Put((ushort)StateField.Version, ShepherdState.Version);
        state.Put((ushort)StateField.Descriptors, [5, 0, 0, 0]);
        state.Put((ushort)StateField.Lock, 6);

        Assert.Contains("descriptor 6", Assert.Throws<EdgeHostException>(() => ShepherdState.Read([.. state.Written])).Message, StringComparison.Ordinal);
    }

    // Numbers that nobody has: nothing of it is opened, closed or used.
    private static ShepherdState Whole()
    {
        var logger = new LoggerPeer(new PacketSocket(new Fd(104)), 42, null);
        var state = new ShepherdState { StartedFrom = "/usr/bin/edgehost", Lock = new Fd(100), Listener = new Fd(101), NextRank = 7, AskedBy = 0, Request = 9 };
        state.Clients.Add(new Fd(102));
        state.Loggers.Add(logger);
        state.Strays.Add(4711);
        state.Containers.Add(new ShepherdContainer("runs", new LaunchedProcess(1000, new Fd(105)), new Fd(106), null, new LogPolicy("/log", 1 << 20, 3), 15, 10_000, 6)
        {
            StartTime = 5,
            Running = true,
            HasGap = true,
            Logger = logger,
        });
        state.Containers.Add(new ShepherdContainer("ended", new LaunchedProcess(1001, new Fd(107)), null, null, new LogPolicy("/other", 1, 1), 9, 0, 2)
        {
            Exit = new ContainerExit(137, DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_123)),
            TellAt = 123,
            IsDraining = true,
        });
        return state;
    }
}
