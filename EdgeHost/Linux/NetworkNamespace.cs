using System.Runtime.ExceptionServices;

namespace EdgeHost.Linux;

/// <summary>
/// A network namespace, held by a descriptor (network_namespaces(7)): it lives as long as a process is in it or somebody
/// holds this. What has to run inside of one that is there does so in a thread of its own, which ends with that.
/// </summary>
public sealed unsafe class NetworkNamespace : IDisposable
{
    private const string OfThisThread = "/proc/thread-self/ns/net";

    private NetworkNamespace(Fd fd) => Fd = fd;

    /// <summary>The descriptor: of a file of nsfs.</summary>
    public Fd Fd { get; }

    /// <summary>
    /// Makes an empty one, and runs something in it at once. This thread does it and comes back: each start of a container
    /// waits for it, and where all processors are busy another thread is waited for twice.
    /// </summary>
    /// <param name="inside">Run within the new namespace; nothing that starts a thread or is waited for.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static NetworkNamespace Create(Action inside)
    {
        using var before = Open(OfThisThread);
        Libc.Check(Libc.unshare(Libc.CLONE_NEWNET), "make a network namespace");
        Fd? made = null;
        try
        {
            made = Open(OfThisThread);
            inside();
            return new NetworkNamespace(made);
        }
        catch
        {
            made?.Dispose();
            throw;
        }
        finally
        {
            ComeBack(before);
        }
    }

    /// <summary>As <see cref="Create"/>, of one that was made for somebody, and that nothing is in yet.</summary>
    /// <param name="made">A file of nsfs; taken over when this returns.</param>
    /// <param name="inside">As there.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static NetworkNamespace Take(Fd made, Action inside)
    {
        using var before = Open(OfThisThread);
        Libc.Check(Libc.setns(made.Value, Libc.CLONE_NEWNET), "enter a network namespace");
        try
        {
            inside();
        }
        finally
        {
            ComeBack(before);
        }

        return new NetworkNamespace(new Fd(made.Release()));
    }

    /// <summary>The one that a process is in.</summary>
    /// <exception cref="LinuxException">There is no such process, or the kernel refuses.</exception>
    public static NetworkNamespace Of(int pid) => new(Open($"/proc/{pid}/ns/net"));

    /// <summary>Runs something inside.</summary>
    /// <exception cref="LinuxException">The kernel refuses, or what runs throws it.</exception>
    public T Run<T>(Func<T> inside) => InThread(() =>
    {
        Libc.Check(Libc.setns(Fd.Value, Libc.CLONE_NEWNET), "enter a network namespace");
        return inside();
    });

    /// <inheritdoc/>
    public void Dispose() => Fd.Dispose();

    private static void ComeBack(Fd before)
    {
        if (Libc.setns(before.Value, Libc.CLONE_NEWNET) == -1)
        {
            // This thread would serve others in the wrong place: better no daemon, for there is another one soon.
            Environment.FailFast($"a thread cannot come back from a new network namespace: {Libc.LastErrno.InWords()}");
        }
    }

    private static Fd Open(string path)
    {
        fixed (byte* name = Libc.Z(path))
        {
            return new Fd((int)Libc.Check(Libc.openat(Libc.AT_FDCWD, name, Libc.O_RDONLY | Libc.O_CLOEXEC), $"open {path}"));
        }
    }

    /// <summary>The thread ends with the work, so that none of the pool is left behind in another namespace.</summary>
    private static T InThread<T>(Func<T> work)
    {
        T result = default!;
        ExceptionDispatchInfo? failure = null;
        var thread = new Thread(Guarded, 256 << 10) { IsBackground = true, Name = "netns" };
        thread.Start();
        thread.Join();
        failure?.Throw();
        return result;

        void Guarded()
        {
            try
            {
                result = work();
            }
            catch (Exception e)
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
        }
    }
}
