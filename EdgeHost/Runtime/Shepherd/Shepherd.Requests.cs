using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>The daemons that are connected, and what they ask.</summary>
internal sealed partial class Shepherd
{
    private void OnConnection()
    {
        while (TryAccept() is { } client)
        {
            if (client.ReadPeer().Uid != Processes.EffectiveUser)
            {
                client.Dispose();
                continue;
            }

            _clients.Add(client);
            _loop.Add(client.Fd, () => OnMessage(client));
        }
    }

    // Without a free descriptor the connection stays in the queue, and the listener would be ready for ever: it rests.
    private PacketSocket? TryAccept()
    {
        try
        {
            return PacketSocket.TryAccept(_listener);
        }
        catch (LinuxException e)
        {
            SingleThread.PrintError($"edgehost shepherd: {e.Message}; it is tried again in a second\n");
            _loop.Remove(_listener);
            _listenAt = Environment.TickCount64 + ListenPauseMilliseconds;
            return null;
        }
    }

    private void Drop(PacketSocket client)
    {
        if (_clients.Remove(client))
        {
            _loop.Remove(client.Fd);
            client.Dispose();
            foreach (var check in _checks)
            {
                if (check.Client == client)
                {
                    // Nobody hears of it any more, and the next daemon begins its own.
                    Cancel(check);
                }
            }
        }
    }

    private void OnMessage(PacketSocket client)
    {
        var descriptors = new List<Fd>();
        try
        {
            var length = client.Receive(_buffer, descriptors);
            if (length == 0)
            {
                Drop(client);
                return;
            }

            Handle(client, new ShepherdMessageReader(_buffer.AsSpan(0, length)), descriptors);
        }
        catch (EdgeHostException e)
        {
            // A client that cannot be understood is let go; the containers are none of its business any more.
            SingleThread.PrintError($"edgehost shepherd: a daemon was disconnected: {e.Message}\n");
            Drop(client);
        }
        catch (Exception e)
        {
            // A defect on one request must not take the parent of all containers with it.
            SingleThread.PrintError($"edgehost shepherd: internal error; a daemon was disconnected: {e}\n");
            Drop(client);
        }
        finally
        {
            foreach (var descriptor in descriptors)
            {
                descriptor.Dispose();
            }
        }
    }

    private void Handle(PacketSocket client, ShepherdMessageReader reader, List<Fd> descriptors)
    {
        if (reader.Kind == ShepherdMessageKind.Hello)
        {
            // A daemon that is older than this process speaks its own version, and refuses to speak to a newer one.
            var welcome = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Welcome);
            welcome.Put(Math.Clamp(reader.TakeInt32(), 1, ProtocolVersion));
            welcome.Put(Environment.ProcessId);
            Answer(client, welcome);
            if (IsEnding)
            {
                TellEnding(client);
            }

            return;
        }

        var request = reader.TakeInt32();
        try
        {
            switch (reader.Kind)
            {
                case ShepherdMessageKind.Launch or ShepherdMessageKind.LaunchWithStreams:
                    Launch(client, request, ref reader, descriptors, withStreams: reader.Kind == ShepherdMessageKind.LaunchWithStreams);
                    return;
                case ShepherdMessageKind.Check:
                    Check(client, request, ref reader, descriptors);
                    return;
                case ShepherdMessageKind.Replace:
                    BeginHandover(client, request, reader.IsAtEnd ? string.Empty : reader.TakeText());
                    return;
                case ShepherdMessageKind.Exec:
                    Exec(client, request, ref reader, descriptors);
                    return;
                case ShepherdMessageKind.MakeNamespaces:
                    MakeNamespaces(client, request, reader.TakeText(), reader.TakeText());
                    return;
                case ShepherdMessageKind.TakeInput:
                    TakeInput(client, request, reader.TakeText());
                    return;
                case ShepherdMessageKind.CloseInput:
                    CloseInput(reader.TakeText());
                    break;
                case ShepherdMessageKind.Resize:
                    Resize(reader.TakeText(), reader.TakeInt32(), reader.TakeInt32());
                    break;
                case ShepherdMessageKind.CancelCheck:
                    CancelCheck(client, reader.TakeInt32());
                    break;
                case ShepherdMessageKind.Signal:
                    SendSignal(reader.TakeText(), reader.TakeInt32());
                    break;
                case ShepherdMessageKind.List:
                    foreach (var container in _containers.Values.Where(container => container.Running || container.Exit is not null))
                    {
                        var entry = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Entry);
                        entry.Put(request);
                        container.Status.Write(ref entry);
                        Answer(client, entry);
                    }

                    break;
                case ShepherdMessageKind.Acknowledge:
                    Acknowledge(reader.TakeText(), reader.TakeInt32());
                    break;
                case ShepherdMessageKind.Shutdown:
                    EndAll();
                    break;
                default:
                    throw new EdgeHostException(ErrorKind.Unsupported, $"the shepherd (protocol {ProtocolVersion}) does not know the request {(int)reader.Kind}");
            }

            var done = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Done);
            done.Put(request);
            Answer(client, done);
        }
        catch (EdgeHostException e)
        {
            Fail(client, request, e);
        }
    }

    private void Fail(PacketSocket client, int request, EdgeHostException e)
    {
        var failed = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Failed);
        failed.Put(request);
        failed.Put((int)e.Kind);
        failed.Put(e.Message.Length > 2000 ? e.Message[..2000] : e.Message);
        Answer(client, failed);
    }

    // A daemon that does not read would stop the reaping: it is let go, and asks again when it is back. It may have been
    // let go already, in the middle of a longer answer or while its launch was under way.
    private void Answer(PacketSocket client, ShepherdMessageWriter message, params ReadOnlySpan<int> descriptors)
    {
        if (_clients.Contains(client) && client.TrySend(message.Written, descriptors) is not true)
        {
            Drop(client);
        }
    }

    private void TellEnding(PacketSocket client)
    {
        var ending = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Ending);
        ending.Put(0);
        Answer(client, ending);
    }
}
