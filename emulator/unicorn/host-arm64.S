// The library's hooks on AArch64 hosts (AAPCS64), line by line what host-x64.S says; made into native-code.ts by
//   aarch64-linux-gnu-as host-arm64.S -o a.o && aarch64-linux-gnu-objcopy -O binary -j .text a.o /dev/stdout | xxd -p

// x0 = uc, x1 = address, w2 = size, x3 = the counter's data
block:
    add w9, w1, w2, lsl #3
    ubfiz x9, x9, #4, #12
    add x9, x9, x3
    add x9, x9, #0x1000
    ldr x10, [x9]
    cmp x10, x1
    b.ne slow
    ldr w10, [x9, #8]
    ldr w11, [x9, #12]
    eor w10, w10, w2
    cbnz w10, flagged
plain:
    ldr w12, [x3, #76]
    cbnz w12, unhook
count:
    ldr x12, [x3]
    subs x12, x12, x11
    b.mi stop
    str x12, [x3]
    str x1, [x3, #8]
    str w2, [x3, #16]
    ret
stop:
    mov w12, #1
    str w12, [x3, #20]
    ldr x12, [x3, #40]
    br x12
unhook:
    ldr x12, [x3, #48]
    str xzr, [x12]
    str wzr, [x3, #76]
    b count
flagged:
    cmp w10, #0x20, lsl #12
    b.eq wide
    cmp w10, #0x10, lsl #12
    b.ne slow
    mov w11, #1
    ldr x12, [x3, #24]
    ldr x12, [x12]
    cbnz x12, plain
    ldr x12, [x3, #8]
    ldr w13, [x3, #16]
    add x12, x12, x13
    add x13, x1, w2, uxtw
    cmp x12, x13
    b.ne plain
    ret
wide:
    ldr x12, [x3, #48]
    ldr x13, [x3, #64]
    str x13, [x12]
    mov w13, #1
    str w13, [x3, #76]
    b count
slow:
    ldr x12, [x3, #32]
    br x12

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
