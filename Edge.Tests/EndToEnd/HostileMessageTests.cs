using System.Buffers.Binary;
using EdgeHost.Linux;
using EdgeHost.Runtime.Shepherd;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Thousands of messages that no daemon sends, and plans that no compiler makes, to a shepherd with a container.</summary>
public sealed class HostileMessageTests
{
    private const int Messages = 4000;

    private static readonly ShepherdMessageKind[] Kinds =
    [
        ShepherdMessageKind.Hello, ShepherdMessageKind.Launch, ShepherdMessageKind.Signal, ShepherdMessageKind.List, ShepherdMessageKind.Acknowledge,
        ShepherdMessageKind.Check, ShepherdMessageKind.CancelCheck, ShepherdMessageKind.Replace, ShepherdMessageKind.AddStreams, ShepherdMessageKind.Finish,
        ShepherdMessageKind.Held, ShepherdMessageKind.Released, ShepherdMessageKind.Exited, (ShepherdMessageKind)999,
    ];

    [Fact]
    public async Task No_message_ends_the_shepherd_or_a_container_or_costs_a_descriptor()
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        var container = await daemon.RunDetachedAsync("busybox", "sleep", "1000");
        var (shepherd, pid) = (await daemon.ShepherdPidAsync(), await daemon.PidOfAsync(container));
        var before = Directory.GetFileSystemEntries($"/proc/{shepherd}/fd").Length;

        await Task.Run(() => Attack(daemon.Run + "/shepherd.sock", container, new Random(20261127)), TestContext.Current.CancellationToken).WaitAsync(DaemonUnderTest.Patience, TestContext.Current.CancellationToken);

        // All of them were taken: the answer to this comes after the last.
        (await daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
        Assert.Equal(shepherd, await daemon.ShepherdPidAsync());
        Assert.True(DaemonUnderTest.Lives(shepherd));
        Assert.Equal(pid, await daemon.PidOfAsync(container));
        Assert.True(DaemonUnderTest.Lives(pid));
        Assert.Equal("running", await daemon.InspectAsync(container, "{{.State.Status}}"));
        Assert.Equal(before, Directory.GetFileSystemEntries($"/proc/{shepherd}/fd").Length);
        (await daemon.DockerAsync("rm", "-f", container)).Succeeds();
    }

    private static void Attack(string path, string container, Random random)
    {
        var plan = new byte[512];
        for (var sent = 0; sent < Messages;)
        {
            // One connection takes what it takes: after a message that is cut short it is let go.
            using var shepherd = PacketSocket.TryConnect(path)!;
            for (var alive = true; alive && sent < Messages; sent++)
            {
                var kind = Kinds[random.Next(Kinds.Length)];
                random.NextBytes(plan);
                if (random.Next(2) == 0)
                {
                    // A header that is right, and anything after it.
                    "EHLP"u8.CopyTo(plan);
                    BinaryPrimitives.WriteInt32LittleEndian(plan.AsSpan(4), 1);
                    BinaryPrimitives.WriteInt32LittleEndian(plan.AsSpan(8), random.Next(1, 10));
                    BinaryPrimitives.WriteInt32LittleEndian(plan.AsSpan(12), random.Next(0, 4));
                    BinaryPrimitives.WriteInt64LittleEndian(plan.AsSpan(16), 0);
                    BinaryPrimitives.WriteInt32LittleEndian(plan.AsSpan(24), plan.Length);
                }

                using var memory = SealedMemory.Create("hostile", plan);
                int[] descriptors = random.Next(3) switch { 0 => [], 1 => [memory.Value], _ => [memory.Value, memory.Value] };
                alive = shepherd.Send(Message(kind, container, random), descriptors);
                while (alive && SingleThread.WaitReadable([shepherd.Fd.Value], 0) == 0)
                {
                    alive = shepherd.Receive(new byte[PacketSocket.MaximumLength], []) > 0;
                }
            }
        }
    }

    private static byte[] Message(ShepherdMessageKind kind, string container, Random random)
    {
        var buffer = new byte[4096];
        var writer = new ShepherdMessageWriter(buffer, kind);
        if (random.Next(2) == 0 && kind is ShepherdMessageKind.Launch or ShepherdMessageKind.Check)
        {
            // In the order in which they are read; what they say and the plan are anything.
            writer.Put(random.Next());
            writer.Put(kind == ShepherdMessageKind.Check ? container : $"hostile{random.Next()}");
            writer.Put("/nowhere");
            if (kind == ShepherdMessageKind.Launch)
            {
                writer.Put(random.NextInt64());
                writer.Put(random.Next());
                writer.Put(random.Next(-1, 70));
            }

            writer.Put(random.Next(-1, 1000));
            writer.Put(random.Next(2));
            return [.. writer.Written];
        }

        for (var fields = random.Next(8); fields > 0; fields--)
        {
            switch (random.Next(5))
            {
                case 0:
                    // No signal that there is; the container's own end would say nothing.
                    writer.Put(random.Next(2) == 0 ? random.Next(65, int.MaxValue) : -random.Next(1, int.MaxValue));
                    break;
                case 1:
                    writer.Put(random.NextInt64());
                    break;
                case 2:
                    writer.Put(random.Next(2) == 0 ? container : "../../etc");
                    break;
                case 3:
                    writer.Put("/nowhere");
                    break;
                default:
                    var bytes = new byte[random.Next(200)];
                    Array.Fill(bytes, (byte)0xFF);
                    writer.Put(bytes);
                    break;
            }
        }

        return buffer[..random.Next(1, writer.Written.Length + 1)];
    }
}
