// Costs of x86-64 instructions that the core runs from microcode or that hold up the machine: fences, locked
// operations, time-stamp reads, lone string steps. Approximate; slots and times are the measured rows'.

import { TICKS_PER_CYCLE } from '../../emulator/cost/units.ts';
import { measured } from './cost-classes.ts';

export interface SystemCost {
  readonly form: string;
  /** Cycles of the chain. */
  readonly latency: number;
  /** Renamer slots; what stops the machine takes all slots of its time. */
  readonly slots: number;
}

/** Slots of the renamer in a cycle: a stream of nops retires 6, measured. */
const WIDTH = 6;

const ROWS: Readonly<Record<string, string>> = {
  lodsb: 'lodsb',
  lodsq: 'lodsq',
  stosb: 'stosb',
  stosq: 'stosq',
  movsb: 'movsb',
  movsq: 'movsq',
  scasb: 'scasb',
  cmpsb: 'cmpsb',
  scasq: 'scasb',
  cmpsq: 'cmpsb',
  // Words and double words were not measured: they are costed as quad words.
  lodsw: 'lodsq',
  stosw: 'stosq',
  stosd: 'stosq',
  movsw: 'movsq',
  scasw: 'scasb',
  scasd: 'scasb',
  cmpsw: 'cmpsb',
};

const STOPS: Readonly<Record<string, string>> = {
  rdtsc: 'rdtsc',
  rdtscp: 'rdtscp',
  lfence: 'lfence',
  mfence: 'mfence',
  sfence: 'sfence',
  pause: 'pause',
  xgetbv: 'xgetbv',
  rdpid: 'rdpid r64',
  rdfsbase: 'rdfsbase r64',
  rdgsbase: 'rdfsbase r64',
  cld: 'cld',
  std: 'cld',
  clflush: 'clflushopt m',
  clflushopt: 'clflushopt m',
  clwb: 'clflushopt m',
  ldmxcsr: 'ldmxcsr m32',
  // Measured together; writing the flags is what takes the time.
  popfq: 'pushfq+popfq',
  popf: 'pushfq+popfq',
};

/**
 * Cycles of what was not measured: estimates, of the right order at best. In a virtual machine some of them leave it,
 * which costs a thousand and more. INVLPG and writes of control registers are events, charged apart.
 */
const ESTIMATED: Readonly<Record<string, number>> = {
  cpuid: 100,
  rdmsr: 100,
  wrmsr: 100,
  rdpmc: 30,
  xsetbv: 100,
  rdrand: 100,
  rdseed: 100,
  wrfsbase: 20,
  wrgsbase: 20,
  verw: 30,
  verr: 30,
  lsl: 20,
  lar: 20,
  lldt: 30,
  ltr: 50,
  lgdt: 30,
  lidt: 30,
  fninit: 20,
  xsave: 40,
  xsaveopt: 40,
  xsavec: 40,
  xrstor: 40,
  fxsave: 40,
  fxrstor: 40,
  in: 100,
  out: 100,
  serialize: 40,
  wbinvd: 10_000,
  enter: 12,
};

function lockedRow(mnemonic: string): string {
  switch (mnemonic) {
    case 'xchg':
      return 'xchg m64,r64';
    case 'xadd':
      return 'lock xadd m64,r64';
    case 'cmpxchg':
    case 'cmpxchg8b':
      return 'lock cmpxchg m64,r64';
    case 'cmpxchg16b':
      return 'lock cmpxchg16b';
    case 'bts':
    case 'btr':
    case 'btc':
      return 'lock bts m64,imm';
    default:
      return 'lock add m64,r64';
  }
}

/**
 * Cycles from one locked operation to the next: measured. Alone it takes longer, since the first part of it overlaps
 * with the one before: 25 measured with a plain store or a dependent load in between.
 */
export function lockedCost(mnemonic: string): { readonly apart: number; readonly alone: number } {
  const apart = Math.round(measured(lockedRow(mnemonic)).throughput / TICKS_PER_CYCLE);
  return { apart, alone: apart + LOCK_OVERLAP };
}

const LOCK_OVERLAP = 6;

/** Operations of a locked instruction; the public tables of the family have 8 and more. */
const LOCK_SLOTS = 8;

/** @param locks the operation is locked. @returns null for an ordinary instruction */
export function systemCost(mnemonic: string, locks = false): SystemCost | null {
  if (locks) return { form: lockedRow(mnemonic), latency: 1, slots: LOCK_SLOTS };
  const stop = STOPS[mnemonic];
  if (stop !== undefined) {
    const { throughput, instructions } = measured(stop);
    // What was measured with it has a cycle of its own before the microcode begins.
    const time = throughput / TICKS_PER_CYCLE - (instructions - 1);
    return { form: stop, latency: Math.round(time), slots: Math.round(time * WIDTH) };
  }
  const estimated = ESTIMATED[mnemonic];
  if (estimated !== undefined) {
    return { form: `${mnemonic} (estimate)`, latency: estimated, slots: estimated * WIDTH };
  }
  const row = ROWS[mnemonic];
  if (row === undefined) return null;
  const { throughput, slots } = measured(row);
  return { form: row, latency: Math.round(throughput / TICKS_PER_CYCLE), slots };
}
