namespace EdgeHost.Linux;

/// <summary>
/// An open file descriptor and the duty to close it. It has no finalizer: an owner that forgets it is a defect that
/// the tests find, and the shepherd may not have finalizers that run at the moment of a clone.
/// </summary>
public sealed class Fd : IDisposable
{
    private int _value;

    /// <summary>Takes over an open descriptor.</summary>
    /// <param name="value">The number, 0 or more.</param>
    public Fd(int value)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(value);
        _value = value;
    }

    /// <summary>The number of the descriptor.</summary>
    /// <exception cref="ObjectDisposedException">It was closed or given away.</exception>
    public int Value => _value >= 0 ? _value : throw new ObjectDisposedException(nameof(Fd));

    /// <summary>Whether it is still ours to close.</summary>
    public bool IsOpen => _value >= 0;

    /// <summary>Gives the descriptor away: the caller closes it from now on.</summary>
    /// <returns>The number.</returns>
    public int Release()
    {
        var value = Value;
        _value = -1;
        return value;
    }

    /// <summary>Says whether a program that takes the place of this one finds a descriptor open.</summary>
    /// <exception cref="LinuxException">There is none with this number.</exception>
    public static void SetInherited(int number, bool inherited) =>
        Libc.Check(Libc.fcntl(number, Libc.F_SETFD, inherited ? 0 : Libc.FD_CLOEXEC), $"hand descriptor {number} over");

    /// <summary>
    /// Closes it. Errors that close(2) reports are those of earlier writes; who needs them calls fsync first, as
    /// <see cref="DurableFile"/> does.
    /// </summary>
    public void Dispose()
    {
        if (_value >= 0)
        {
            _ = Libc.close(_value);
            _value = -1;
        }
    }
}
