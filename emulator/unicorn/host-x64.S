# The library's hooks on x86-64 hosts (System V calls), made into native-code.ts by
#   as host-x64.S -o x.o && objcopy -O binary -j .text x.o /dev/stdout | xxd -p
# The layouts behind rcx, r9 and r8 are those of counter.ts, journal.ts, accesses.ts and fills.ts.
.intel_syntax noprefix

# UC_HOOK_BLOCK: rdi = uc, rsi = address, edx = size, rcx = the counter's data. With `heat` a block that has run often
# goes to the JavaScript callback, which may rewrite its head. `end` is what a block that was begun ends with.
.macro counted name, heat, end
\name:
    lea eax, [rsi + rdx*8]              # entry of the table: address, size with flags, instructions
    shl eax, 4
    and eax, 0xfff0
    cmp [rcx + rax + 0x1000], rsi
    jne \name\()_slow
    cmp [rcx + rax + 0x1008], edx
    jne \name\()_flagged
.if \heat
    sub dword ptr [rcx + rax + 0x100c], 0x10000
    js \name\()_slow
.endif
    movzx eax, word ptr [rcx + rax + 0x100c]
\name\()_plain:
    cmp dword ptr [rcx + 76], 0         # stores are hooked from the last block with wide stores on
    jne \name\()_unhook
\name\()_count:
    sub [rcx], rax                      # remaining
    js \name\()_stop
    mov [rcx + 8], rsi                  # this block is the last one
    mov [rcx + 16], edx
    mov dword ptr [rcx + 72], 8
    \end
\name\()_stop:
    add [rcx], rax
    mov dword ptr [rcx + 20], 1
    jmp [rcx + 40]                      # uc_emu_stop(uc)
\name\()_unhook:
    mov r10, [rcx + 48]
    mov qword ptr [r10], 0
    mov dword ptr [rcx + 76], 0
    jmp \name\()_count
\name\()_flagged:
    mov r8d, [rcx + rax + 0x1008]
    mov edx, edx
    xor r8d, edx
    cmp r8d, 0x20000
    je \name\()_wide
    cmp r8d, 0x10000
    jne \name\()_slow
    # A string instruction alone. When its counter is 0 and the last block ended with this very instruction, the pass
    # only finds that no repetition is left.
    mov eax, 1
    mov r9, [rcx + 24]
    cmp qword ptr [r9], 0
    jne \name\()_plain
    mov r9d, [rcx + 72]
    mov r8, [rcx + r9]
    mov r10d, [rcx + r9 + 8]
    add r8, r10
    lea r10, [rsi + rdx]
    cmp r8, r10
    jne \name\()_plain
    ret
\name\()_wide:
    movzx eax, word ptr [rcx + rax + 0x100c]
    mov r10, [rcx + 48]
    mov r9, [rcx + 64]
    mov [r10], r9
    mov dword ptr [rcx + 76], 1
    jmp \name\()_count
\name\()_slow:
.if \heat
    mov rax, [rsp]
    mov [rcx + 136], rax
.endif
    jmp [rcx + 32]                      # the JavaScript callback
.endm

    counted block, 1, ret

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

# UC_HOOK_BLOCK that also counts edges: how often this block ran behind that one. The layout is meter.ts's.
.balign 16
    counted metered, 0, "jmp edge"
edge:
    mov r9, [rcx + 88]                  # the block before: address and size
    mov r10d, [rcx + 96]
    imul r11d, r9d, 0x9e3779b1
    shr r11d, 17
    lea eax, [rsi + rdx*8]
    add eax, r11d
    and eax, 0xfff
    shl eax, 5
    add rax, [rcx + 80]                 # entry of the edges: both addresses, both sizes, count
    cmp [rax], r9
    jne unknown
    cmp [rax + 8], rsi
    jne unknown
    cmp [rax + 16], r10d
    jne unknown
    cmp [rax + 20], edx
    jne unknown
    inc qword ptr [rax + 24]
    mov [rcx + 88], rsi
    mov [rcx + 96], edx
    mov [rcx + 104], rax                # the edge taken last
    ret
unknown:
    jmp [rcx + 112]                     # the JavaScript callback for edges

# UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE: esi = kind, rdx = physical address, ecx = size, r9 = data of accesses.ts.
.balign 16
access:
    mov eax, [r9]
    cmp eax, [r9 + 4]
    jae 1f
    inc dword ptr [r9]
    shl eax, 4
    mov [r9 + rax + 64], rdx
    mov [r9 + rax + 72], ecx
    mov [r9 + rax + 76], esi
    ret
1:  jmp [r9 + 8]                        # the JavaScript callback, which takes this one too

# Called from a block's head that block-heads.ts rewrote; rcx = the counter's data. Behind the call stands
# mov dword ptr [rcx + 72], record.
.balign 16
head:
    cmp dword ptr [rcx + 76], 0
    je 1f
    mov r10, [rcx + 48]                 # stores are hooked: no longer, and the head runs again
    mov qword ptr [r10], 0
    mov dword ptr [rcx + 76], 0
    sub qword ptr [rsp], 15
    ret
1:  mov rax, [rsp]                      # the limit: this block is not begun
    mov eax, [rax + 3]
    mov eax, [rcx + rax + 12]
    add [rcx], rax
    mov dword ptr [rcx + 20], 1
    add qword ptr [rsp], 7
    mov rdi, [rcx + 128]
    jmp [rcx + 40]                      # uc_emu_stop(uc)
