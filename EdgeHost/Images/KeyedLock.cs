namespace EdgeHost.Images;

/// <summary>A lock for each key, for as long as anybody wants it.</summary>
internal sealed class KeyedLock
{
    private readonly Dictionary<string, (SemaphoreSlim Turn, int Users)> _turns = new(StringComparer.Ordinal);

    internal async Task<IDisposable> EnterAsync(string key, CancellationToken cancel)
    {
        SemaphoreSlim turn;
        lock (_turns)
        {
            var there = _turns.TryGetValue(key, out var entry) ? entry : (new SemaphoreSlim(1), 0);
            turn = there.Item1;
            _turns[key] = (turn, there.Item2 + 1);
        }

        try
        {
            await turn.WaitAsync(cancel).ConfigureAwait(false);
        }
        catch
        {
            Leave(key, entered: false);
            throw;
        }

        return new Entered(this, key);
    }

    private void Leave(string key, bool entered)
    {
        lock (_turns)
        {
            var (turn, users) = _turns[key];
            if (entered)
            {
                turn.Release();
            }

            if (users == 1)
            {
                _turns.Remove(key);
                turn.Dispose();
            }
            else
            {
                _turns[key] = (turn, users - 1);
            }
        }
    }

    private sealed class Entered(KeyedLock owner, string key) : IDisposable
    {
        private bool _left;

        public void Dispose()
        {
            if (!_left)
            {
                _left = true;
                owner.Leave(key, entered: true);
            }
        }
    }
}
