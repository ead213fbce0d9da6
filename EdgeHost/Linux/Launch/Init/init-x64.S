# The first process of a container that was asked for one: starts the program, hands signals on to it, reaps what loses
# its parent, and ends as the program does. A whole ELF file, header included, so that no linker has a say in it.
# Arguments: its own name, the path of the program, the program's arguments. LaunchInit.cs holds the bytes; a test
# assembles this and compares.

        .intel_syntax noprefix
        .set    ADDRESS, 0x400000
        .set    SIGCHLD, 17
        # Of one's own making (ILL TRAP ABRT BUS FPE SEGV SYS), or of a terminal in the background (TTIN TTOU): not handed on.
        .set    KEPT, (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 11) | (1 << 21) | (1 << 22) | (1 << 31)

        .set    WORDS, 46

        .text
file:   .byte   0x7f, 'E', 'L', 'F', 2, 1, 1, 0
        .quad   0
        .short  2, 62                           # ET_EXEC, EM_X86_64
        .long   1
        .quad   ADDRESS + (start - file), 64, 0
        .long   0
        .short  64, 56, 2, 0, 0, 0
        .long   1, 5                            # PT_LOAD, read and execute
        .quad   0, ADDRESS, ADDRESS, end - file, end - file, 0x10000
        .long   0x6474e551, 6                   # PT_GNU_STACK, read and write
        .quad   0, 0, 0, 0, 0, 16

start:  mov     rax, [rsp]
        lea     r12, [rsp + 8]                  # arguments
        lea     r13, [r12 + rax * 8 + 8]        # variables
        sub     rsp, 64

        mov     eax, 157                        # prctl(PR_SET_NAME)
        mov     edi, 15
        lea     rsi, [rip + name]
        syscall
        mov     qword ptr [rsp], -1             # every signal is blocked, and taken below
        call    setmask
        mov     eax, 56                         # clone(SIGCHLD), a fork
        mov     edi, SIGCHLD
        xor     esi, esi
        xor     edx, edx
        xor     r10d, r10d
        xor     r8d, r8d
        syscall
        test    rax, rax
        js      broken
        jz      child
        mov     r14, rax

next:   mov     eax, 128                        # rt_sigtimedwait
        lea     rdi, [rsp]
        xor     esi, esi
        xor     edx, edx
        mov     r10d, 8
        syscall
        cmp     eax, SIGCHLD
        je      reap
        test    eax, eax
        jle     next
        cmp     eax, 31
        ja      pass
        mov     ecx, KEPT
        bt      ecx, eax
        jc      next
pass:   mov     esi, eax
        mov     rdi, r14
        mov     eax, 62                         # kill
        syscall
        jmp     next

reap:   mov     eax, 61                         # wait4(-1, WNOHANG)
        mov     rdi, -1
        lea     rsi, [rsp + 8]
        mov     edx, 1
        xor     r10d, r10d
        syscall
        test    rax, rax
        jle     next
        cmp     rax, r14
        jne     reap
        mov     edi, [rsp + 8]
        mov     eax, edi
        and     eax, 0x7f
        jnz     killed
        shr     edi, 8
        and     edi, 0xff
        jmp     exit
killed: lea     edi, [rax + 128]
exit:   mov     eax, 231                        # exit_group
        syscall

        # A group of its own, in front at the terminal if there is one: keys are for the program alone.
child:  mov     eax, 109                        # setpgid(0, 0)
        xor     edi, edi
        xor     esi, esi
        syscall
        mov     eax, 39                         # getpid
        syscall
        mov     [rsp + 8], rax
        mov     eax, 16                         # ioctl(0, TIOCSPGRP)
        xor     edi, edi
        mov     esi, 0x5410
        lea     rdx, [rsp + 8]
        syscall
        mov     qword ptr [rsp], 0
        call    setmask
        mov     eax, 59                         # execve
        mov     rdi, [r12 + 8]
        lea     rsi, [r12 + 16]
        mov     rdx, r13
        syscall

broken: mov     r14, rax
        mov     eax, 1                          # write
        mov     edi, 2
        lea     rsi, [rip + words]
        mov     edx, WORDS
        syscall
        mov     edi, 126
        cmp     r14, -2                         # ENOENT
        jne     exit
        inc     edi
        jmp     exit

setmask:
        mov     eax, 14                         # rt_sigprocmask(SIG_SETMASK)
        mov     edi, 2
        lea     rsi, [rsp + 8]
        xor     edx, edx
        mov     r10d, 8
        syscall
        ret

name:   .asciz  "edgehost-init"
words:  .ascii  "edgehost-init: the program cannot be executed\n"
end:
