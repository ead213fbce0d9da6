namespace EdgeHost.Linux;

/// <summary>Netlink sockets (netlink(7)) and the namespaces they are opened in.</summary>
internal static unsafe partial class Libc
{
    internal const int AF_NETLINK = 16;
    internal const int SOCK_RAW = 3;
    internal const int SOL_NETLINK = 270;
    internal const int NETLINK_ADD_MEMBERSHIP = 1;
    internal const int NETLINK_CAP_ACK = 10;
    internal const int NETLINK_EXT_ACK = 11;
    internal const int NETLINK_GET_STRICT_CHK = 12;
    internal const int SO_RCVBUF = 8;

    internal static int setsockopt(int fd, int level, int option, int value) =>
        (int)syscall(Nr.setsockopt, fd, level, option, (nint)(&value), 4);

    internal static nint sendto(int fd, byte* bytes, nint length, int flags) => syscall(Nr.sendto, fd, (nint)bytes, length, flags);

    internal static nint recvfrom(int fd, byte* bytes, nint length, int flags) => syscall(Nr.recvfrom, fd, (nint)bytes, length, flags);

    internal static int getsockname(int fd, byte* address, uint* length) => (int)syscall(Nr.getsockname, fd, (nint)address, (nint)length);

    internal static int unshare(ulong flags) => (int)syscall(Nr.unshare, (nint)flags);

    internal static int setns(int fd, ulong kind) => (int)syscall(Nr.setns, fd, (nint)kind);
}
