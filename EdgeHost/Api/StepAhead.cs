namespace EdgeHost.Api;

/// <summary>
/// Reads a sequence one step ahead: the first step is taken at once, which is when the engine counts a reader, and a
/// step that is under way is settled before the sequence is let go. A compiler-made iterator cannot be disposed in the
/// middle of a step: it would throw, and what it holds (a follower, a watcher) would be held for ever.
/// </summary>
internal sealed class StepAhead<T> : IAsyncDisposable
{
    private readonly CancellationTokenSource _end;
    private readonly IAsyncEnumerator<T> _steps;

    /// <summary>Takes the first step.</summary>
    /// <param name="open">Makes the sequence; its token ends it.</param>
    /// <param name="cancel">Ends it too.</param>
    internal StepAhead(Func<CancellationToken, IAsyncEnumerable<T>> open, CancellationToken cancel)
    {
        _end = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        try
        {
            _steps = open(_end.Token).GetAsyncEnumerator(_end.Token);
            Next = _steps.MoveNextAsync().AsTask();
        }
        catch
        {
            _end.Dispose();
            throw;
        }
    }

    /// <summary>Whether there is a next item, once it is known.</summary>
    internal Task<bool> Next { get; private set; }

    /// <summary>Fires when the sequence is to end.</summary>
    internal CancellationToken Ended => _end.Token;

    /// <summary>The item of the step that <see cref="Next"/> has told of, and goes on to the one after it.</summary>
    internal T Take()
    {
        var current = _steps.Current;
        Next = _steps.MoveNextAsync().AsTask();
        return current;
    }

    /// <summary>Ends the sequence from outside.</summary>
    internal void End() => _end.Cancel();

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await ((Task)Next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _steps.DisposeAsync();
        _end.Dispose();
    }
}
