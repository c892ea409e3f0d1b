# The library's hooks on x86-64 hosts (System V calls), made into native-code.ts by
#   as host-x64.S -o x.o && objcopy -O binary -j .text x.o /dev/stdout | xxd -p
# The layouts behind rcx, r9 and r8 are those of counter.ts, journal.ts and core.ts.
.intel_syntax noprefix

# UC_HOOK_BLOCK: rdi = uc, rsi = address, edx = size, rcx = the counter's data.
block:
    lea eax, [rsi + rdx*8]              # entry of the table: address, size with flags, instructions
    shl eax, 4
    and eax, 0xfff0
    cmp [rcx + rax + 0x1000], rsi
    jne slow
    cmp [rcx + rax + 0x1008], edx
    jne flagged
    mov eax, [rcx + rax + 0x100c]
plain:
    cmp dword ptr [rcx + 76], 0         # stores are hooked from the last block with wide stores on
    jne unhook
count:
    sub [rcx], rax                      # remaining
    js stop
    mov [rcx + 8], rsi                  # this block is the last one
    mov [rcx + 16], edx
    ret
stop:
    add [rcx], rax
    mov dword ptr [rcx + 20], 1
    jmp [rcx + 40]                      # uc_emu_stop(uc)
unhook:
    mov r10, [rcx + 48]
    mov qword ptr [r10], 0
    mov dword ptr [rcx + 76], 0
    jmp count
flagged:
    mov r8d, [rcx + rax + 0x1008]
    mov edx, edx
    xor r8d, edx
    cmp r8d, 0x20000
    je wide
    cmp r8d, 0x10000
    jne slow
    # A string instruction alone. When its counter is 0 and the last block ended with this very instruction, the pass
    # only finds that no repetition is left.
    mov eax, 1
    mov r9, [rcx + 24]
    cmp qword ptr [r9], 0
    jne plain
    mov r8, [rcx + 8]
    mov r10d, [rcx + 16]
    add r8, r10
    lea r10, [rsi + rdx]
    cmp r8, r10
    jne plain
    ret
wide:
    mov eax, [rcx + rax + 0x100c]
    mov r10, [rcx + 48]
    mov r9, [rcx + 64]
    mov [r10], r9
    mov dword ptr [rcx + 76], 1
    jmp count
slow:
    jmp [rcx + 32]                      # the JavaScript callback

# UC_HOOK_MEM_WRITE: rdx = physical address, ecx = size, r9 = the journal's data.
.balign 16
store:
    mov eax, edx
    and eax, 0xfff
    cmp eax, 0xe00                      # only the end of a page can be left half written
    jb 1f
    mov eax, [r9]
    inc dword ptr [r9]
    and eax, 0x7f
    shl eax, 5
    lea rax, [r9 + rax + 64]            # entry of the ring: address, size, the words before
    mov ecx, ecx
    mov [rax], rdx
    mov [rax + 8], ecx
    lea rcx, [rdx + rcx - 1]
    and rcx, -8
    and rdx, -8
    mov r8, [r9 + 8]                    # host address of physical 0
    mov rdx, [r8 + rdx]
    mov rcx, [r8 + rcx]
    mov [rax + 16], rdx
    mov [rax + 24], rcx
1:  ret

# UC_HOOK_TLB_FILL: rsi = address, edx = kind, rcx = result, r8 = the fill's data. The callback gets halves: an address
# or pointer of 64 bits would cost it a bigint each.
.balign 16
fill:
    push rcx
    push r8
    sub rsp, 8
    mov rdi, rsi
    shr rdi, 32
    mov esi, esi
    call [r8]                           # bool callback(hi, lo, kind)
    mov r8, [rsp + 8]
    cmp dword ptr [r8 + 20], 0
    jne flush
answered:
    add rsp, 8
    pop r8
    pop rcx
    test al, al
    je 1f
    mov rdx, [r8 + 8]                   # physical address
    mov [rcx], rdx
    mov edx, [r8 + 16]                  # permissions
    mov [rcx + 8], edx
1:  ret
flush:                                  # pages that the callback wants forgotten, the last one first
    mov [rsp], rax
1:  dec dword ptr [r8 + 20]
    mov eax, [r8 + 20]
    mov rdi, [r8 + 32]
    mov rsi, [r8 + rax*8 + 48]
    mov edx, [r8 + 40]
    call [r8 + 24]                      # tlb_flush_page_by_mmuidx(cpu, va, modes)
    mov r8, [rsp + 8]
    cmp dword ptr [r8 + 20], 0
    jne 1b
    mov rax, [rsp]
    jmp answered
