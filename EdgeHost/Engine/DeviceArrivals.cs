using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>Wakes who waits for a device, when the kernel or udev tells of one. While nobody waits nothing is open.</summary>
internal sealed class DeviceArrivals
{
    private const int Kernel = 1, Udev = 2;

    // Waiting is all it does.
    private const int StackBytes = 128 << 10;

    private static readonly TimeSpan Retry = TimeSpan.FromSeconds(30);

    private readonly Lock _lock = new();
    private TaskCompletionSource? _next;

    /// <summary>Done when something was told of after this call: ask first, then look, then wait.</summary>
    internal Task Next()
    {
        lock (_lock)
        {
            if (_next is { } waiting)
            {
                return waiting.Task;
            }

            NetlinkSocket socket;
            try
            {
                socket = NetlinkSocket.Open(NetlinkProtocol.Devices, Kernel, Udev);
            }
            catch (LinuxException)
            {
                // No memory or descriptors for the moment: whoever waits must not wait for ever.
                return Task.Delay(Retry);
            }

            _next = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            new Thread(() => Listen(socket), StackBytes) { IsBackground = true, Name = "devices" }.Start();
            return _next.Task;
        }
    }

    private void Listen(NetlinkSocket socket)
    {
        using (socket)
        {
            try
            {
                socket.WaitForAny();
            }
            catch (LinuxException)
            {
                // Who waits looks, and asks anew.
            }

            TaskCompletionSource told;
            lock (_lock)
            {
                (told, _next) = (_next!, null);
            }

            told.SetResult();
        }
    }
}
