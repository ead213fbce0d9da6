// The first process of a container, as init-x64.S, for arm64: the same steps in the same order.

        .set    ADDRESS, 0x400000
        .set    SIGCHLD, 17
        .set    KEPT, (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 11) | (1 << 21) | (1 << 22) | (1 << 31)

        .text
file:   .byte   0x7f, 'E', 'L', 'F', 2, 1, 1, 0
        .quad   0
        .short  2, 183                          // ET_EXEC, EM_AARCH64
        .long   1
        .quad   ADDRESS + (start - file), 64, 0
        .long   0
        .short  64, 56, 2, 0, 0, 0
        .long   1, 5                            // PT_LOAD, read and execute
        .quad   0, ADDRESS, ADDRESS, end - file, end - file, 0x10000
        .long   0x6474e551, 6                   // PT_GNU_STACK, read and write
        .quad   0, 0, 0, 0, 0, 16

start:  ldr     x0, [sp]
        add     x19, sp, 8                      // arguments
        add     x20, x19, x0, lsl 3
        add     x20, x20, 8                     // variables
        sub     sp, sp, 64

        mov     x8, 167                         // prctl(PR_SET_NAME)
        mov     x0, 15
        adr     x1, name
        svc     0
        mov     x0, -1                          // every signal is blocked, and taken below
        bl      setmask
        mov     x8, 220                         // clone(SIGCHLD), a fork
        mov     x0, SIGCHLD
        mov     x1, xzr
        mov     x2, xzr
        mov     x3, xzr
        mov     x4, xzr
        svc     0
        tbnz    x0, 63, broken
        cbz     x0, child
        mov     x21, x0
        mov     x22, KEPT & 0xffff
        movk    x22, KEPT >> 16, lsl 16

next:   mov     x8, 137                         // rt_sigtimedwait
        mov     x0, sp
        mov     x1, xzr
        mov     x2, xzr
        mov     x3, 8
        svc     0
        cmp     x0, SIGCHLD
        b.eq    reap
        cmp     x0, 0
        b.le    next
        cmp     x0, 31
        b.hi    pass
        lsr     x1, x22, x0
        tbnz    x1, 0, next
pass:   mov     x1, x0
        mov     x0, x21
        mov     x8, 129                         // kill
        svc     0
        b       next

reap:   mov     x8, 260                         // wait4(-1, WNOHANG)
        mov     x0, -1
        add     x1, sp, 8
        mov     x2, 1
        mov     x3, xzr
        svc     0
        cmp     x0, 0
        b.le    next
        cmp     x0, x21
        b.ne    reap
        ldr     w1, [sp, 8]
        ands    w0, w1, 0x7f
        b.ne    killed
        ubfx    w0, w1, 8, 8
        b       exit
killed: add     w0, w0, 128
exit:   mov     x8, 94                          // exit_group
        svc     0

        // A group of its own, in front at the terminal if there is one: keys are for the program alone.
child:  mov     x8, 154                         // setpgid(0, 0)
        mov     x0, xzr
        mov     x1, xzr
        svc     0
        mov     x8, 172                         // getpid
        svc     0
        str     x0, [sp, 8]
        mov     x8, 29                          // ioctl(0, TIOCSPGRP)
        mov     x0, xzr
        mov     x1, 0x5410
        add     x2, sp, 8
        svc     0
        mov     x0, xzr
        bl      setmask
        mov     x8, 221                         // execve
        ldr     x0, [x19, 8]
        add     x1, x19, 16
        mov     x2, x20
        svc     0

broken: mov     x21, x0
        mov     x8, 64                          // write
        mov     x0, 2
        adr     x1, words
        mov     x2, end - words
        svc     0
        mov     x0, 126
        cmn     x21, 2                          // ENOENT
        b.ne    exit
        mov     x0, 127
        b       exit

setmask:
        str     x0, [sp]
        mov     x8, 135                         // rt_sigprocmask(SIG_SETMASK)
        mov     x0, 2
        mov     x1, sp
        mov     x2, xzr
        mov     x3, 8
        svc     0
        ret

name:   .asciz  "edgehost-init"
words:  .ascii  "edgehost-init: the program cannot be executed\n"
end:
