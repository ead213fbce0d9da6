/* Asks the kernel for what a container must not have, and says what it answered: a line "call: error" for each. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Takes what has no limit of its own until the kernel refuses it or ends us, at most so many. */
static int hoard(const char *what, long most)
{
    static char full[65536];
    long taken = 0;
    int file = -1, ends[2];
    for (; taken < most; taken++)
    {
        char name[64];
        snprintf(name, sizeof name, "/dev/shm/%ld", taken);
        if (!strcmp(what, "locks") && taken % 1000 == 0)
            file = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
        struct flock lock = { .l_type = F_WRLCK, .l_start = 2 * taken, .l_len = 1 };
        int done = !strcmp(what, "locks") ? fcntl(file, F_SETLK, &lock)
            : !strcmp(what, "pipes") ? pipe(ends) || write(ends[1], full, sizeof full) < 0 ? -1 : 0
            : mknod(name, S_IFREG | 0600, 0);
        if (done < 0)
            break;
    }
    printf("%s: %ld, then %s\n", what, taken, taken < most ? strerror(errno) : "no more were asked for");
    return 0;
}

static void say(const char *name, long result)
{
    printf("%s: %s\n", name, result >= 0 ? "done" : errno == EPERM ? "EPERM" : errno == ENOSYS ? "ENOSYS" : strerror(errno));
}
#define TRY(name, ...) say(#name, syscall(SYS_##name, __VA_ARGS__))

int main(int count, char **words)
{
    char block[256] = { 0 };
    if (count == 3)
        return hoard(words[1], atol(words[2]));
    TRY(io_uring_setup, 1, block);
    TRY(userfaultfd, 1);
    TRY(keyctl, 0, -3, 0, 0, 0);
    TRY(add_key, "user", "name", "x", 1, -3);
    TRY(request_key, "user", "name", 0, -3);
    TRY(bpf, 5, block, 48);
    TRY(perf_event_open, block, 0, -1, -1, 0);
    TRY(unshare, CLONE_NEWUSER);
    TRY(unshare, CLONE_NEWNS);
    TRY(setns, 0, 0);
    TRY(clone, CLONE_NEWUSER | 17, 0, 0, 0, 0);
    TRY(clone3, block, 64);
    TRY(mount, "none", "/tmp", "tmpfs", 0, 0);
    TRY(move_mount, -1, "/", -1, "/tmp", 0);
    TRY(fsopen, "tmpfs", 0);
    TRY(open_tree, -100, "/", 1);
    TRY(pivot_root, "/", "/tmp");
    TRY(open_by_handle_at, -1, block, 0);
    TRY(kexec_load, 0, 0, 0, 0);
    TRY(init_module, block, 1, "");
    TRY(swapon, "/tmp", 0);
    TRY(reboot, 0, 0, 0, 0);
    TRY(settimeofday, block, 0);
    TRY(personality, 0x0040000);
    TRY(acct, "/tmp/acct");
    TRY(quotactl, 0, 0, 0, 0);
    TRY(process_vm_readv, 1, block, 0, block, 0, 0xFFFF);
    TRY(pidfd_getfd, 0, 0, 0);
    say("AF_ALG", socket(38, SOCK_SEQPACKET, 0));
    say("AF_VSOCK", socket(40, SOCK_STREAM, 0));

    return 0;
}
