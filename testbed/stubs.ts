// Routines that the testbed brings along for objects that call them: the plainest code that does what the kernel's
// routine of that name promises, a byte at a time and from the lowest address on unless the areas overlap. Which of a
// copy's bytes fault first is therefore not the kernel's; who cares links the kernel's own.
import type { ArchName } from './scenario-model.ts';

const X86_REGISTERS = [
  ...['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
];

const X86: Readonly<Record<string, string>> = {
  memcpy: `
    mov rax, rdi
    mov rcx, rdx
    rep movsb
    ret`,
  memmove: `
    mov rax, rdi
    mov rcx, rdx
    mov r8, rdi
    sub r8, rsi
    cmp r8, rdx
    jb backward
    rep movsb
    ret
  backward:
    lea rdi, [rdi + rdx - 1]
    lea rsi, [rsi + rdx - 1]
    std
    rep movsb
    cld
    ret`,
  memset: `
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret`,
  memcmp: `
    xor eax, eax
    xor ecx, ecx
  next:
    cmp rcx, rdx
    je done
    movzx eax, byte ptr [rdi + rcx]
    movzx r8d, byte ptr [rsi + rcx]
    inc rcx
    sub eax, r8d
    je next
  done:
    ret`,
  strlen: `
    xor eax, eax
  next:
    cmp byte ptr [rdi + rax], 0
    je done
    inc rax
    jmp next
  done:
    ret`,
  _printk: 'xor eax, eax; ret',
};

/** Entry points that compilers and the kernel's build put into every object. */
const X86_AMBIENT: Readonly<Record<string, string>> = {
  __fentry__: 'ret',
  __stack_chk_fail: 'ud2',
  __sanitizer_cov_trace_pc: 'ret',
  ...Object.fromEntries(
    ['__x86', 'srso', 'srso_alias', 'retbleed', 'its', 'call_depth'].map((kind) => [
      `${kind}_return_thunk`,
      'ret',
    ]),
  ),
  ...Object.fromEntries(
    ['', 'call_', 'jump_', 'its_'].flatMap((kind) =>
      X86_REGISTERS.map((name) => [`__x86_indirect_${kind}thunk_${name}`, `jmp ${name}`]),
    ),
  ),
  ...rescheduling('ret'),
  __static_call_return0: 'xor eax, eax; ret',
};

const ARM64: Readonly<Record<string, string>> = {
  memcpy: `
    mov x3, x0
  next:
    cbz x2, done
    ldrb w4, [x1], #1
    strb w4, [x3], #1
    sub x2, x2, #1
    b next
  done:
    ret`,
  memmove: `
    mov x3, x0
    sub x4, x0, x1
    cmp x4, x2
    b.lo backward
  next:
    cbz x2, done
    ldrb w4, [x1], #1
    strb w4, [x3], #1
    sub x2, x2, #1
    b next
  backward:
    cbz x2, done
    sub x2, x2, #1
    ldrb w4, [x1, x2]
    strb w4, [x3, x2]
    b backward
  done:
    ret`,
  memset: `
    mov x3, x0
  next:
    cbz x2, done
    strb w1, [x3], #1
    sub x2, x2, #1
    b next
  done:
    ret`,
  memcmp: `
    mov x3, x0
    mov w0, #0
  next:
    cbz x2, done
    ldrb w4, [x3], #1
    ldrb w5, [x1], #1
    sub x2, x2, #1
    subs w0, w4, w5
    b.eq next
  done:
    ret`,
  strlen: `
    mov x1, x0
  next:
    ldrb w2, [x1], #1
    cbnz w2, next
    sub x0, x1, x0
    sub x0, x0, #1
    ret`,
  _printk: 'mov w0, #0; ret',
};

const ARM64_AMBIENT: Readonly<Record<string, string>> = {
  _mcount: 'ret',
  __stack_chk_fail: 'brk #0',
  __sanitizer_cov_trace_pc: 'ret',
  ...rescheduling('ret'),
  __static_call_return0: 'mov x0, #0; ret',
};

/** Calls that give up the CPU where something else wants it: nothing does. */
function rescheduling(text: string): Record<string, string> {
  const names = ['preempt_schedule', 'preempt_schedule_notrace', 'cond_resched', 'might_resched'];
  const spelled = (name: string) => [name, `${name}_thunk`, `__SCT__${name}`, `dynamic_${name}`];
  return Object.fromEntries(names.flatMap(spelled).map((name) => [name, text]));
}

const AMBIENT: Readonly<Record<ArchName, Readonly<Record<string, string>>>> = {
  x86_64: X86_AMBIENT,
  arm64: ARM64_AMBIENT,
};

const STUBS: Readonly<Record<ArchName, Readonly<Record<string, string>>>> = {
  x86_64: { ...X86, ...X86_AMBIENT },
  arm64: { ...ARM64, ...ARM64_AMBIENT },
};

/** True for what a compiler's or the kernel's build takes for granted: objects get it without asking. */
export const isAmbient = (arch: ArchName, name: string): boolean =>
  Object.hasOwn(AMBIENT[arch], name);

/** Assembly of a built-in routine; null if there is none of that name. */
export const stubText = (arch: ArchName, name: string): string | null =>
  Object.hasOwn(STUBS[arch], name) ? STUBS[arch][name] : null;

export const stubNames = (arch: ArchName): readonly string[] => Object.keys(STUBS[arch]);
