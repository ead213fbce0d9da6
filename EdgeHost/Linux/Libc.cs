using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace EdgeHost.Linux;

/// <summary>
/// The gate to the kernel. All calls go through <c>syscall(2)</c> by number, so that neither the age of glibc nor the
/// dynamic loader decides what can be called; each wrapper in the other parts of this class has its man-page name,
/// returns what the kernel returned, and leaves the error in <see cref="LastErrno"/>.
/// </summary>
internal static unsafe partial class Libc
{
    internal const int AT_FDCWD = -100;
    internal const int AT_EMPTY_PATH = 0x1000;
    internal const int AT_SYMLINK_NOFOLLOW = 0x100;
    internal const int AT_REMOVEDIR = 0x200;
    internal const int AT_RECURSIVE = 0x8000;

    internal static Errno LastErrno => (Errno)Marshal.GetLastPInvokeError();

    [DllImport("libc", EntryPoint = "syscall", SetLastError = true)]
    internal static extern nint syscall(nint number, nint a = 0, nint b = 0, nint c = 0, nint d = 0, nint e = 0, nint f = 0);

    /// <summary>The words of the error that the last call left, as an exception.</summary>
    internal static LinuxException Failure(string what) => new(what, LastErrno);

    /// <summary>Throws when a call returned -1.</summary>
    /// <param name="result">What the call returned.</param>
    /// <param name="what">What was tried and on what; evaluated only on failure by its handler.</param>
    internal static nint Check(nint result, [InterpolatedStringHandlerArgument(nameof(result))] ref WhatHandler what)
    {
        if (result == -1)
        {
            var errno = LastErrno;
            throw new LinuxException(what.ToStringAndClear(), errno);
        }

        return result;
    }

    /// <summary>Throws when a call returned -1.</summary>
    internal static nint Check(nint result, string what) => result == -1 ? throw Failure(what) : result;

    /// <summary>A zero-terminated UTF-8 copy; a name with a zero byte inside is refused, since the kernel would cut it.</summary>
    internal static byte[] Z(string text)
    {
        if (text.Contains('\0', StringComparison.Ordinal))
        {
            throw new LinuxException($"path \"{text.Replace("\0", "\\0", StringComparison.Ordinal)}\"", Errno.EINVAL);
        }

        var bytes = new byte[Encoding.UTF8.GetByteCount(text) + 1];
        Encoding.UTF8.GetBytes(text, bytes);
        return bytes;
    }

    /// <summary>Builds the words of a failure only when the call did fail.</summary>
    [InterpolatedStringHandler]
    internal ref struct WhatHandler
    {
        private readonly StringBuilder? _text;

        /// <summary>Called by the compiler.</summary>
        public WhatHandler(int literalLength, int formattedCount, nint result, out bool wanted)
        {
            wanted = result == -1;
            _text = wanted ? new StringBuilder(literalLength + (formattedCount * 16)) : null;
        }

        /// <summary>Called by the compiler.</summary>
        public readonly void AppendLiteral(string text) => _text!.Append(text);

        /// <summary>Called by the compiler.</summary>
        public readonly void AppendFormatted<T>(T value) => _text!.Append(value);

        internal readonly string ToStringAndClear() => _text?.ToString() ?? string.Empty;
    }
}
