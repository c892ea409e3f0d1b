// Numbers of Unicorn 2.1.4's headers, by the headers' names (the wheel's unicorn_const.py, x86_const.py and
// arm64_const.py). Register numbers differ between releases.

export const UC_ARCH_ARM64 = 2;
export const UC_ARCH_X86 = 4;
export const UC_MODE_ARM = 0;
export const UC_MODE_64 = 8;

export const UC_HOOK_INTR = 1 << 0;
export const UC_HOOK_INSN = 1 << 1;
export const UC_HOOK_BLOCK = 1 << 3;
export const UC_HOOK_MEM_READ = 1 << 10;
export const UC_HOOK_MEM_WRITE = 1 << 11;
export const UC_HOOK_EDGE_GENERATED = 1 << 15;
export const UC_HOOK_TLB_FILL = 1 << 17;

export const UC_MEM_READ = 16;

export const UC_CTL_UC_PAGE_SIZE = 1;
export const UC_CTL_UC_USE_EXITS = 4;
export const UC_CTL_UC_EXITS = 6;
export const UC_CTL_CPU_MODEL = 7;
export const UC_CTL_TB_FLUSH = 10;
export const UC_CTL_TLB_FLUSH = 11;
export const UC_CTL_TLB_TYPE = 12;
export const UC_TLB_VIRTUAL = 1;

/** Has SMAP, which the model needs, and no AVX-512. */
export const UC_CPU_X86_BROADWELL = 20;
/** Has LSE, PAN and PAC. */
export const UC_CPU_ARM64_MAX = 3;

export const UC_X86_INS_RDTSC = 608;
export const UC_X86_INS_RDTSCP = 609;

/** UC_X86_REG_ numbers by the manual's names. */
export const X86_REGISTERS: Readonly<Record<string, number>> = {
  ...{ rax: 35, rbp: 36, rbx: 37, rcx: 38, rdi: 39, rdx: 40, rsi: 43, rsp: 44 },
  ...{ r8: 106, r9: 107, r10: 108, r11: 109, r12: 110, r13: 111, r14: 112, r15: 113 },
  ...{ rip: 41, rflags: 253 },
  ...{ cs: 11, ds: 17, es: 28, fs: 32, gs: 33, ss: 49 },
  ...{ cr0: 50, cr2: 52, cr3: 53, cr4: 54, cr8: 58 },
  ...{ fs_base: 250, gs_base: 251, mxcsr: 249 },
};
export const UC_X86_REG_MSR = 248;
export const UC_X86_REG_XMM0 = 122;

const ARM64_X = Array.from({ length: 29 }, (_, n) => [`x${n}`, 199 + n] as const);

/** UC_ARM64_REG_ numbers by the manual's names. */
export const ARM64_REGISTERS: Readonly<Record<string, number>> = {
  ...Object.fromEntries(ARM64_X),
  ...{ x29: 1, x30: 2, sp: 4, pc: 260, nzcv: 3, pstate: 265 },
  ...{ sp_el0: 270, fpcr: 291, fpsr: 292 },
};
export const UC_ARM64_REG_Q0 = 104;
export const UC_ARM64_REG_CP_REG = 290;
