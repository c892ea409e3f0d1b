// How this library must be set up for each architecture, and what its answers mean: the knowledge of
// QEMU 5's models inside Unicorn 2.1.4 that is neither the manual's nor ours.
import type { CpuDescription } from '../engine.ts';
import type { Binding, Pointer } from './binding.ts';
import * as uc from './constants.ts';
import type { RegisterOffsets } from './internals.ts';
import type { RegisterFile } from './registers.ts';

export interface Recipe {
  readonly arch: number;
  readonly mode: number;
  /** Suffix of the library's internal functions. */
  readonly suffix: string;
  /** Its MMU modes in which code can run here, a bit each: translations are kept by mode. */
  readonly modes: number;
  /** Numbers of the registers that one uc_reg_read can read, by name. */
  readonly registers: Readonly<Record<string, number>>;
  readonly offsets: RegisterOffsets;
  /** A jump to what follows, and an instruction that stops the CPU. */
  readonly twoBlocks: Uint8Array;
  /** Settings that must come before anything else initialises the engine. */
  configure(binding: Binding, engine: Pointer): void;
  /** Brings control registers into the state of a kernel that runs. */
  initialise(registers: RegisterFile): void;
  /** Bytes of an instruction where all have the same; 0 where not. */
  readonly fixedLength: number;
  /** General register that counts repetitions of a string instruction. */
  readonly repeatCounter: string | null;
  /** Instructions that must be caught by UC_HOOK_INSN. */
  readonly clocks: readonly number[];
  exceptionName(number: number): string;
  /** The core takes a second exception for a double fault: see exception-memory.ts. */
  readonly remembersExceptions: boolean;
  /** What UC_ERR_INSN_INVALID stands for. */
  readonly invalidInstruction: { readonly number: number; readonly name: string };
}

const X86_EXCEPTIONS: Readonly<Record<number, string>> = {
  ...{ 0: '#DE', 1: '#DB', 2: 'NMI', 3: '#BP', 4: '#OF', 5: '#BR', 6: '#UD', 7: '#NM', 8: '#DF' },
  ...{ 10: '#TS', 11: '#NP', 12: '#SS', 13: '#GP', 14: '#PF', 16: '#MF', 17: '#AC', 18: '#MC' },
  ...{ 19: '#XM', 20: '#VE', 21: '#CP' },
};

const X86_REGS = 0x8a50;
const x86Word = (n: number) => X86_REGS + 8 * n;

// SDM Vol. 3A, 2.5: PE MP ET NE WP AM PG. With PG set a guest's write of CR3 flushes translations.
const CR0 = 0x8005_0033n;
// DE PSE PAE MCE PGE OSFXSR OSXMMEXCPT FSGSBASE OSXSAVE SMEP SMAP, as Linux sets them.
const CR4 = 0x0035_06f8n;
// SCE LME LMA NXE
const EFER = 0xd01n;

const x86: Recipe = {
  arch: uc.UC_ARCH_X86,
  mode: uc.UC_MODE_64,
  suffix: 'x86_64',
  // Kernel with SMAP and EFLAGS.AC clear, user, kernel otherwise.
  modes: 0b111,
  registers: uc.X86_REGISTERS,
  offsets: {
    // rax rbx rcx rdx rsi rdi rbp rsp r8..r15 rip rflags; the words are in encoding order.
    general: [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16].map(x86Word).concat(-4),
    ip: x86Word(16),
  },
  // jmp .+2; hlt
  twoBlocks: Uint8Array.of(0xeb, 0x00, 0xf4),
  configure(binding, engine) {
    binding.control(engine, uc.UC_CTL_CPU_MODEL, 'int', uc.UC_CPU_X86_BROADWELL);
  },
  initialise(registers) {
    registers.write('cr4', CR4);
    registers.write('msr:0xc0000080', EFER);
    registers.write('cr0', CR0);
    registers.write('rflags', 0x202n);
  },
  fixedLength: 0,
  repeatCounter: 'rcx',
  clocks: [uc.UC_X86_INS_RDTSC, uc.UC_X86_INS_RDTSCP],
  exceptionName: (number) => X86_EXCEPTIONS[number] ?? `INT ${number}`,
  remembersExceptions: true,
  invalidInstruction: { number: 6, name: '#UD' },
};

const ARM64_EXCEPTIONS: Readonly<Record<number, string>> = {
  ...{ 1: 'UNDEFINED', 2: 'SVC', 3: 'PREFETCH_ABORT', 4: 'DATA_ABORT', 5: 'IRQ', 6: 'FIQ' },
  ...{ 7: 'BRK', 11: 'HVC', 13: 'SMC', 17: 'SOFTWARE_STEP' },
};

const ARM64_X = 0xa390;
const ARM64_PC = 0xa490;

const arm64: Recipe = {
  arch: uc.UC_ARCH_ARM64,
  mode: uc.UC_MODE_ARM,
  suffix: 'aarch64',
  // EL0, EL1, and EL1 with PAN, all of the EL1&0 regime; those of EL2 and of the Secure state are never entered.
  modes: 0b1101,
  registers: uc.ARM64_REGISTERS,
  offsets: {
    // x0..x30, sp, pc, pstate; pstate is kept in pieces.
    general: Array.from({ length: 33 }, (_, n) => ARM64_X + 8 * n).concat(-4),
    ip: ARM64_PC,
  },
  // b .+4; wfi
  twoBlocks: Uint8Array.of(0x01, 0x00, 0x00, 0x14, 0x7f, 0x20, 0x03, 0xd5),
  configure(binding, engine) {
    binding.control(engine, uc.UC_CTL_CPU_MODEL, 'int', uc.UC_CPU_ARM64_MAX);
    // Otherwise pages are 1 KiB.
    binding.control(engine, uc.UC_CTL_UC_PAGE_SIZE, 'uint32_t', 4096);
  },
  initialise(registers) {
    // Without RW at EL3 and EL2, EL1 counts as AArch32.
    registers.write('scr_el3', 0x431n);
    registers.write('hcr_el2', 1n << 31n);
    // CPACR_EL1.FPEN: SIMD does not trap.
    registers.write('cpacr_el1', 3n << 20n);
    // EL1h, PAN, interrupts unmasked.
    registers.write('pstate', 0x40_0005n);
  },
  fixedLength: 4,
  repeatCounter: null,
  clocks: [],
  exceptionName: (number) => ARM64_EXCEPTIONS[number] ?? `exception ${number}`,
  remembersExceptions: false,
  invalidInstruction: { number: 1, name: 'UNDEFINED' },
};

export const recipeFor = (description: CpuDescription): Recipe =>
  description.name === 'x86_64' ? x86 : arm64;
