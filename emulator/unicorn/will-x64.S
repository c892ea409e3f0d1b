# What a process does when the library takes it down, on x86-64 Linux; made into last-will.ts by
#   as will-x64.S -o x.o && objcopy -O binary -j .text x.o /dev/stdout | xxd -p
# It becomes another program. The data behind r8 is laid out in last-will.ts and lies a page after this code.
.intel_syntax noprefix

start:
# Signal handler: edi = signal, rsi = siginfo_t.
signal:
    lea r8, [rip + start + 0x1000]
    mov eax, [rsi + 8]                  # si_code: 0 and less are sent, -6 by the thread to itself (abort)
    test eax, eax
    jg 1f
    cmp eax, -6
    jne by_default
1:  cmp edi, 11                         # SIGSEGV outside the library is V8's: the bounds of WebAssembly
    jne become
    cmp dword ptr [r8], 0
    jne become
    jmp [r8 + 40]                       # whoever handled it before

# Exit handler: what ends the process while the library runs is no wish of ours.
exit:
    lea r8, [rip + start + 0x1000]
    mov edi, 6
    cmp dword ptr [r8], 0
    jne become
    ret

become:
    mov r9d, edi
    mov eax, 14                         # rt_sigprocmask(SIG_SETMASK, none): the mask would outlive us
    mov edi, 2
    lea rsi, [r8 + 64]
    xor edx, edx
    mov r10d, 8
    syscall
    mov eax, 16                         # ioctl(0, TCSETS): a line may be being edited; no terminal, no harm
    xor edi, edi
    mov esi, 0x5402
    lea rdx, [r8 + 128]
    syscall
    mov eax, 59                         # execve
    mov rdi, [r8 + 8]
    mov rsi, [r8 + 16]
    mov rdx, [r8 + 24]
    syscall
    mov edi, r9d

# edi = signal: it comes once more, and nobody handles it.
by_default:
    mov r9d, edi
    mov eax, 13                         # rt_sigaction(signal, SIG_DFL)
    lea rsi, [r8 + 64]
    xor edx, edx
    mov r10d, 8
    syscall
    mov eax, 39                         # getpid
    syscall
    mov edi, eax
    mov esi, r9d
    mov eax, 62                         # kill
    syscall
    ret
