using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>Unix sockets, epoll, memfds.</summary>
internal static unsafe partial class Libc
{
    internal const int AF_UNIX = 1;
    internal const int SOCK_DGRAM = 2;
    internal const int SOCK_SEQPACKET = 5;
    internal const int SOCK_CLOEXEC = 0x80000;
    internal const int SOCK_NONBLOCK = 0x800;
    internal const int SOL_SOCKET = 1;
    internal const int SO_PEERCRED = 17;
    internal const int SO_SNDBUF = 7;
    internal const int SCM_RIGHTS = 1;
    internal const int MSG_DONTWAIT = 0x40;
    internal const int MSG_CTRUNC = 8;
    internal const int MSG_TRUNC = 0x20;
    internal const int MSG_NOSIGNAL = 0x4000;
    internal const int MSG_CMSG_CLOEXEC = 0x40000000;
    internal const int EPOLL_CLOEXEC = 0x80000;
    internal const int EPOLL_CTL_ADD = 1;
    internal const int EPOLL_CTL_DEL = 2;
    internal const uint EPOLLIN = 1;
    internal const uint EPOLLOUT = 4;
    internal const uint MFD_CLOEXEC = 1;
    internal const uint MFD_ALLOW_SEALING = 2;
    internal const int F_ADD_SEALS = 1033;
    internal const int F_GET_SEALS = 1034;
    internal const int F_SEAL_SEAL = 1;
    internal const int F_SEAL_SHRINK = 2;
    internal const int F_SEAL_GROW = 4;
    internal const int F_SEAL_WRITE = 8;

    [StructLayout(LayoutKind.Sequential)]
    internal struct iovec
    {
        internal void* iov_base;
        internal nint iov_len;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct msghdr
    {
        internal void* msg_name;
        internal uint msg_namelen;
        internal iovec* msg_iov;
        internal nint msg_iovlen;
        internal void* msg_control;
        internal nint msg_controllen;
        internal int msg_flags;
    }

    internal static int socket(int domain, int type, int protocol) => (int)syscall(Nr.socket, domain, type, protocol);

    internal static int bind(int fd, byte* address, uint length) => (int)syscall(Nr.bind, fd, (nint)address, (nint)length);

    internal static int listen(int fd, int backlog) => (int)syscall(Nr.listen, fd, backlog);

    internal static int accept4(int fd, int flags) => (int)syscall(Nr.accept4, fd, 0, 0, flags);

    internal static int connect(int fd, byte* address, uint length) => (int)syscall(Nr.connect, fd, (nint)address, (nint)length);

    internal static nint sendmsg(int fd, msghdr* message, int flags) => syscall(Nr.sendmsg, fd, (nint)message, flags);

    internal static nint recvmsg(int fd, msghdr* message, int flags) => syscall(Nr.recvmsg, fd, (nint)message, flags);

    internal static int getsockopt(int fd, int level, int option, void* value, uint* length) =>
        (int)syscall(Nr.getsockopt, fd, level, option, (nint)value, (nint)length);

    internal static int epoll_create1(int flags) => (int)syscall(Nr.epoll_create1, flags);

    internal static int epoll_ctl(int epoll, int operation, int fd, void* change) =>
        (int)syscall(Nr.epoll_ctl, epoll, operation, fd, (nint)change);

    internal static int epoll_pwait(int epoll, void* events, int count, int milliseconds) =>
        (int)syscall(Nr.epoll_pwait, epoll, (nint)events, count, milliseconds, 0, 8);
}
