namespace EdgeHost.Linux;

/// <summary>
/// What is owed to nobody's answer: one thing after the other, in the order in which it came, while the answers go on.
/// Only for what a start finds and does again where this process has ended before it.
/// </summary>
public static class Afterwards
{
    // Who comes with more waits: what is removed must not pile up on a disk that is slower than its users.
    private const int Most = 64;

    private static readonly Lock Gate = new();
    private static Task _last = Task.CompletedTask;
    private static int _count;

    /// <summary>Done when everything is that came until now.</summary>
    public static Task Done
    {
        get
        {
            lock (Gate)
            {
                return _last;
            }
        }
    }

    /// <summary>Adds something; it may not throw.</summary>
    /// <returns>Done when it is.</returns>
    public static Task Add(Action what)
    {
        if (Volatile.Read(ref _count) >= Most)
        {
            Done.Wait();
        }

        lock (Gate)
        {
            _count++;
            return _last = _last.ContinueWith(Do, what, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }
    }

    private static void Do(Task before, object? what)
    {
        try
        {
            ((Action)what!)();
        }
        finally
        {
            lock (Gate)
            {
                _count--;
            }
        }
    }
}
