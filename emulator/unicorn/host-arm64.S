// The library's hooks on AArch64 hosts (AAPCS64), line by line what host-x64.S says; made into native-code.ts by
//   aarch64-linux-gnu-as host-arm64.S -o a.o && aarch64-linux-gnu-objcopy -O binary -j .text a.o /dev/stdout | xxd -p

// x0 = uc, x1 = address, w2 = size, x3 = the counter's data
.macro counted name, end
\name:
    add w9, w1, w2, lsl #3
    ubfiz x9, x9, #4, #12
    add x9, x9, x3
    add x9, x9, #0x1000
    ldr x10, [x9]
    cmp x10, x1
    b.ne \name\()_slow
    ldr w10, [x9, #8]
    ldr w11, [x9, #12]
    eor w10, w10, w2
    cbnz w10, \name\()_flagged
\name\()_plain:
    ldr w12, [x3, #76]
    cbnz w12, \name\()_unhook
\name\()_count:
    ldr x12, [x3]
    subs x12, x12, x11
    b.mi \name\()_stop
    str x12, [x3]
    str x1, [x3, #8]
    str w2, [x3, #16]
    \end
\name\()_stop:
    mov w12, #1
    str w12, [x3, #20]
    ldr x12, [x3, #40]
    br x12
\name\()_unhook:
    ldr x12, [x3, #48]
    str xzr, [x12]
    str wzr, [x3, #76]
    b \name\()_count
\name\()_flagged:
    cmp w10, #0x20, lsl #12
    b.eq \name\()_wide
    cmp w10, #0x10, lsl #12
    b.ne \name\()_slow
    mov w11, #1
    ldr x12, [x3, #24]
    ldr x12, [x12]
    cbnz x12, \name\()_plain
    ldr x12, [x3, #8]
    ldr w13, [x3, #16]
    add x12, x12, x13
    add x13, x1, w2, uxtw
    cmp x12, x13
    b.ne \name\()_plain
    ret
\name\()_wide:
    ldr x12, [x3, #48]
    ldr x13, [x3, #64]
    str x13, [x12]
    mov w13, #1
    str w13, [x3, #76]
    b \name\()_count
\name\()_slow:
    ldr x12, [x3, #32]
    br x12
.endm

    counted block, ret

// x2 = physical address, w3 = size, x5 = the journal's data
store:
    and w9, w2, #0xfff
    cmp w9, #0xe00
    b.lo 1f
    ldr w9, [x5]
    add w10, w9, #1
    str w10, [x5]
    ubfiz x9, x9, #5, #7
    add x9, x9, x5
    str x2, [x9, #64]
    str w3, [x9, #72]
    add x10, x2, w3, uxtw
    sub x10, x10, #1
    and x10, x10, #0xfffffffffffffff8
    and x11, x2, #0xfffffffffffffff8
    ldr x12, [x5, #8]
    ldr x11, [x12, x11]
    ldr x10, [x12, x10]
    str x11, [x9, #80]
    str x10, [x9, #88]
1:  ret

// x1 = address, w2 = kind, x3 = result, x4 = the fill's data
fill:
    stp x29, x30, [sp, #-32]!
    stp x3, x4, [sp, #16]
    lsr x0, x1, #32
    mov w1, w1
    ldr x9, [x4]
    blr x9
    ldr x4, [sp, #24]
    ldr w9, [x4, #20]
    cbnz w9, flush
answered:
    ldp x3, x4, [sp, #16]
    ldp x29, x30, [sp], #32
    tst w0, #0xff
    b.eq 1f
    ldr x9, [x4, #8]
    str x9, [x3]
    ldr w9, [x4, #16]
    str w9, [x3, #8]
1:  ret
flush:
    str x0, [sp, #-16]!
1:  sub w9, w9, #1
    str w9, [x4, #20]
    ldr x0, [x4, #32]
    add x10, x4, w9, uxtw #3
    ldr x1, [x10, #48]
    ldr w2, [x4, #40]
    ldr x9, [x4, #24]
    blr x9
    ldr x4, [sp, #40]
    ldr w9, [x4, #20]
    cbnz w9, 1b
    ldr x0, [sp], #16
    b answered

    counted metered, "b edge"
edge:
    ldr x9, [x3, #88]
    ldr w10, [x3, #96]
    movz w11, #0x79b1
    movk w11, #0x9e37, lsl #16
    mul w11, w9, w11
    lsr w11, w11, #17
    add w12, w1, w2, lsl #3
    add w12, w12, w11
    ubfiz x12, x12, #5, #12
    ldr x11, [x3, #80]
    add x12, x12, x11
    ldp x13, x14, [x12]
    cmp x13, x9
    b.ne unknown
    cmp x14, x1
    b.ne unknown
    ldp w13, w14, [x12, #16]
    cmp w13, w10
    b.ne unknown
    cmp w14, w2
    b.ne unknown
    ldr x13, [x12, #24]
    add x13, x13, #1
    str x13, [x12, #24]
    str x1, [x3, #88]
    str w2, [x3, #96]
    str x12, [x3, #104]
    ret
unknown:
    ldr x12, [x3, #112]
    br x12

// w1 = kind, x2 = physical address, w3 = size, x5 = data of accesses.ts
access:
    ldp w9, w10, [x5]
    cmp w9, w10
    b.hs 1f
    add w10, w9, #1
    str w10, [x5]
    add x9, x5, x9, lsl #4
    str x2, [x9, #64]
    stp w3, w1, [x9, #72]
    ret
1:  ldr x9, [x5, #8]
    br x9
