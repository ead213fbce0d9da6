using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>A system call that failed, in words: what was tried, on what, and what the kernel said.</summary>
public sealed class LinuxException : EdgeHostException
{
    /// <summary>Makes the exception for a failed call.</summary>
    /// <param name="what">What was tried and on what, as in <c>mount proc on /proc</c>.</param>
    /// <param name="errno">What the kernel said.</param>
    public LinuxException(string what, Errno errno)
        : base(KindOf(errno), $"{what}: {errno.InWords()}") => Errno = errno;

    /// <summary>What the kernel said.</summary>
    public Errno Errno { get; }

    private static ErrorKind KindOf(Errno errno) => errno switch
    {
        Errno.ENOSPC or Errno.EDQUOT => ErrorKind.Full,
        Errno.EACCES or Errno.EPERM => ErrorKind.Denied,
        _ => ErrorKind.Internal,
    };
}
