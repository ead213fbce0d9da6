using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Shepherd;

/// <summary><c>edgehost shepherd --replace</c>: the shepherd that runs is replaced, in place, by the program that runs this command.</summary>
internal static class ShepherdReplacement
{
    // Longer than the shepherd itself gives a hand-over.
    private const int PatienceMilliseconds = 60_000;

    /// <summary>Asks for it and waits until it is done.</summary>
    /// <returns>The exit code.</returns>
    /// <exception cref="EdgeHostException">There is no shepherd, it is too old, or it refuses.</exception>
    internal static int Ask(string runDirectory)
    {
        var path = runDirectory + "/shepherd.sock";
        using var socket = PacketSocket.TryConnect(path) ?? throw new EdgeHostException(ErrorKind.Unavailable, $"no shepherd answers at {path}");
        var buffer = new byte[PacketSocket.MaximumLength];
        var hello = new ShepherdMessageWriter(buffer, ShepherdMessageKind.Hello);
        hello.Put(Shepherd.ProtocolVersion);
        _ = socket.Send(hello.Written);
        var welcome = Receive(socket, buffer);
        var (version, pid) = (welcome.TakeInt32(), welcome.TakeInt32());
        if (version < Shepherd.VersionWithHandover)
        {
            throw new EdgeHostException(
                ErrorKind.Unsupported, $"the shepherd (pid {pid}) speaks protocol {version}, which has no hand-over; a new one takes its place at the next boot, or when it is restarted, which ends all containers");
        }

        var program = Environment.ProcessPath ?? throw new EdgeHostException(ErrorKind.Internal, "the path of this program is not known: is /proc mounted?");
        var replace = new ShepherdMessageWriter(buffer, ShepherdMessageKind.Replace);
        replace.Put(1);
        replace.Put(program);
        _ = socket.Send(replace.Written);
        while (true)
        {
            var reader = Receive(socket, buffer);
            switch (reader.Kind)
            {
                case ShepherdMessageKind.Done when reader.TakeInt32() == 1:
                    SingleThread.Print(string.Create(CultureInfo.InvariantCulture, $"the shepherd (pid {pid}) is now {program}; the containers went on\n"));
                    return 0;
                case ShepherdMessageKind.Failed when reader.TakeInt32() == 1:
                    throw new EdgeHostException((ErrorKind)reader.TakeInt32(), reader.TakeText());
            }
        }
    }

    private static ShepherdMessageReader Receive(PacketSocket socket, byte[] buffer)
    {
        if (SingleThread.WaitReadable([socket.Fd.Value], PatienceMilliseconds) != 0)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"the shepherd has not answered within {PatienceMilliseconds / 1000} s");
        }

        var length = socket.Receive(buffer, []);
        return length > 0
            ? new ShepherdMessageReader(buffer.AsSpan(0, length))
            : throw new EdgeHostException(ErrorKind.Unavailable, "the shepherd has ended before it answered; its own messages say why");
    }
}
