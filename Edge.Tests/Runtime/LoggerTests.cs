using Edge.Tests.Images;
using EdgeHost.Linux;
using EdgeHost.Runtime.Logger;
using EdgeHost.Runtime.Shepherd;
using Xunit;

namespace Edge.Tests.Runtime;

/// <summary>The logger beside a shepherd that this test is.</summary>
public sealed class LoggerTests : IDisposable
{
    private const int Run = 7;

    private readonly TemporaryDirectory _host = new();

    public void Dispose() => _host.Dispose();

    [Fact]
    public async Task A_shepherd_that_dies_before_it_has_given_on_what_a_logger_gave_back_costs_the_container_no_pipe()
    {
        var path = _host.Sub("logger.sock");
        var log = _host.Sub("log");
        Directory.CreateDirectory(log);
        using var listener = PacketSocket.Listen(path);
        var (shepherd, theirs) = PacketSocket.MakePair();
        var logger = Task.Factory.StartNew(() => LoggerProcess.Run(theirs, listener), TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        var pipe = Pipe.Make();
        using var container = pipe.Write;
        using (shepherd)
        using (pipe.Read)
        {
            Give(shepherd, log, pipe.Read);
            Finish(shepherd);
            ReadUntilReleased(shepherd).ForEach(static held => held.Dispose());
        }

        Assert.Equal(7, Pipe.TryWrite(container, "a line\n"u8));

        using (var next = PacketSocket.TryConnect(path)!)
        {
            Finish(next);
            using var held = Assert.Single(ReadUntilReleased(next));
            var taken = new ShepherdMessageWriter(new byte[64], ShepherdMessageKind.Taken);
            taken.Put(Run);
            Assert.True(next.Send(taken.Written));
            Assert.Equal(0, await logger.WaitAsync(TestContext.Current.CancellationToken));
            var left = new byte[64];
            var logged = Directory.EnumerateFiles(log).Sum(static file => new FileInfo(file).Length);
            Assert.True(Pipe.Read(held, left) == 7 || logged > 7, $"{logged} bytes in the log");
        }
    }

    private static void Give(PacketSocket shepherd, string log, Fd pipe)
    {
        var add = new ShepherdMessageWriter(new byte[1024], ShepherdMessageKind.AddStreams);
        add.Put(Run);
        add.Put(log);
        add.Put(1L << 20);
        add.Put(2);
        add.Put(0);
        add.Put(1);
        Assert.True(shepherd.Send(add.Written, pipe.Value));
    }

    private static void Finish(PacketSocket shepherd)
    {
        var finish = new ShepherdMessageWriter(new byte[64], ShepherdMessageKind.Finish);
        finish.Put(1);
        Assert.True(shepherd.Send(finish.Written));
    }

    private static List<Fd> ReadUntilReleased(PacketSocket shepherd)
    {
        var buffer = new byte[PacketSocket.MaximumLength];
        var held = new List<Fd>();
        while (shepherd.Receive(buffer, held) is > 0 and var length)
        {
            var reader = new ShepherdMessageReader(buffer.AsSpan(0, length));
            if (reader.Kind == ShepherdMessageKind.Released)
            {
                Assert.Equal(Run, reader.TakeInt32());
                return held;
            }
        }

        throw new InvalidOperationException("the logger has ended");
    }
}
