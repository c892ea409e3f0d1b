// What a process does when the library takes it down, on AArch64 Linux, line by line what will-x64.S says; made into
// last-will.ts by
//   aarch64-linux-gnu-as will-arm64.S -o a.o && aarch64-linux-gnu-objcopy -O binary -j .text a.o /dev/stdout | xxd -p

start:
// w0 = signal, x1 = siginfo_t
signal:
    adr x9, start + 0x1000
    ldr w10, [x1, #8]
    cmp w10, #0
    b.gt 1f
    cmn w10, #6
    b.ne by_default
1:  cmp w0, #11
    b.ne become
    ldr w10, [x9]
    cbnz w10, become
    ldr x10, [x9, #40]
    br x10

exit:
    adr x9, start + 0x1000
    mov w0, #6
    ldr w10, [x9]
    cbnz w10, become
    ret

become:
    mov w11, w0
    mov w8, #135
    mov w0, #2
    add x1, x9, #64
    mov x2, #0
    mov w3, #8
    svc #0
    mov w8, #29
    mov x0, #0
    mov w1, #0x5402
    add x2, x9, #128
    svc #0
    mov w8, #221
    ldp x0, x1, [x9, #8]
    ldr x2, [x9, #24]
    svc #0
    mov w0, w11

by_default:
    mov w11, w0
    mov w8, #134
    add x1, x9, #64
    mov x2, #0
    mov w3, #8
    svc #0
    mov w8, #172
    svc #0
    mov w1, w11
    mov w8, #129
    svc #0
    ret
