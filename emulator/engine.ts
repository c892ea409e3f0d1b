// The interface to a CPU core that executes instructions. `emulator/unicorn` fulfils it with the native library; a
// WebAssembly build of the same core could. An engine knows instructions and registers; it knows no page tables:
// every translation is asked of the translator it was given.
import type { VirtAddr } from './address.ts';
import type { Ram } from './ram.ts';
import type { Saveable } from './snapshot.ts';

export const READ = 0;
export const WRITE = 1;
export const FETCH = 2;
/** Kind of access, as small integer on the hot path. */
export type AccessKind = typeof READ | typeof WRITE | typeof FETCH;

/** Bits of {@link Translator.perms}. */
export const PERM_R = 1;
export const PERM_W = 2;
export const PERM_X = 4;

/**
 * Answers where a virtual page lies. It is called on every miss of the engine's private cache of translations, which
 * says nothing about a modelled TLB: refills come at any time and must be silent.
 */
export interface Translator {
  /**
   * @param hi upper, @param lo lower 32 bits (unsigned) of a virtual address; only the page counts
   * @returns true with `pa` and `perms` set, or false: the access faults
   */
  translate(hi: number, lo: number, kind: AccessKind): boolean;
  /** Physical address of the 4 KiB frame, after a translation that succeeded. */
  readonly pa: number;
  /**
   * What the page allows without asking again: PERM_ bits. A dirty bit that is still clear must leave out PERM_W, so
   * that the first write asks.
   */
  readonly perms: number;
}

/**
 * One memory operand of an instruction, as a formula over general registers (indices into
 * {@link CpuDescription.general}): base + (index << shift) + displacement, modulo 2^64.
 */
export interface AccessForm {
  /** -1: none. */
  readonly base: number;
  /** -1: none. */
  readonly index: number;
  readonly shift: number;
  /** How the index is widened to 64 bits. */
  readonly extend: 'none' | 'uxtw' | 'sxtw';
  /** Displacement as unsigned 32-bit halves. */
  readonly displacementHi: number;
  readonly displacementLo: number;
  /** Bytes. */
  readonly size: number;
  /** Bytes that the core accesses first, if it makes the access in pieces; else `size`. */
  readonly unit: number;
  /** As the hardware reports it: read-modify-write is WRITE. */
  readonly kind: AccessKind;
  /** False: only `kind` holds; segment bases, bit offsets and the like make the address. */
  readonly exact: boolean;
  /** The hardware probes the last byte first and reports its address. */
  readonly lastByteFirst: boolean;
}

/** What becomes of an instruction that must not reach the core. */
export type Trap =
  /** The run stops with `engine`. */
  | { readonly action: 'refuse'; readonly why: string }
  /** The CPU takes its exception for an invalid instruction. */
  | { readonly action: 'invalid' }
  /** The run stops with `halt`. */
  | { readonly action: 'halt'; readonly name: string }
  /** Its accesses are asked of the translator and nothing else happens. */
  | { readonly action: 'touch' }
  /** The vCPU's {@link Interceptor} decides. */
  | { readonly action: 'intercept' };

/** What an {@link Interceptor} made of an instruction. */
export type Intercepted =
  /** The core runs it. */
  | { readonly action: 'run' }
  /** All that it does is done, the instruction pointer aside, which the engine moves behind it. */
  | { readonly action: 'done' }
  /** One of its accesses faults, at `va`. */
  | { readonly action: 'fault'; readonly va: VirtAddr; readonly kind: AccessKind }
  /** It raises another exception, as in {@link Stop}. */
  | { readonly action: 'exception'; readonly number: number; readonly name: string };

/**
 * Takes instructions away from the core, before they run: those that change how addresses are translated, and those
 * with checks that the core does not make. Virtualisation calls it an intercept.
 */
export interface Interceptor {
  /**
   * True if the instruction at the start of `code` (up to 16 bytes) is to be shown to {@link intercept}. It may answer
   * otherwise for the same bytes only after {@link Cpu.interceptsChanged}.
   */
  wants(code: Uint8Array): boolean;
  /** The instruction at `ip` is next; registers may be read and written, the instruction pointer aside. */
  intercept(ip: VirtAddr, code: Uint8Array): Intercepted;
}

/** What the engine asks of an architecture about instructions that it cannot ask of the core. */
export interface InstructionSet {
  /**
   * Offsets in a page of code of what the core does not even survive translating, if {@link trap} names it when it sees
   * the whole instruction. Too many do no harm.
   */
  fatal(page: Uint8Array): number[];
  /** Judges the instruction at the start of `code` (up to 16 bytes). @returns null if the core may run it */
  trap(code: Uint8Array): Trap | null;
  /** Length in bytes of the instruction at the start of `code`; 0 where it cannot be told. */
  length(code: Uint8Array): number;
  /** True for a string instruction with a repeat prefix, which the core runs as one block for each repetition. */
  repeats(code: Uint8Array): boolean;
  /** True for branches, calls, returns and other instructions that may go on elsewhere than behind themselves. */
  jumps(code: Uint8Array): boolean;
  /** Its memory accesses in the order in which the hardware makes them; empty if there are none or they are not known. */
  accesses(code: Uint8Array): readonly AccessForm[];
}

/** What the engine must know of an architecture. The registers' names are the manual's, in lower case. */
export interface CpuDescription {
  readonly name: 'x86_64' | 'arm64';
  readonly instructionPointer: string;
  readonly stackPointer: string;
  /** General registers in the order in which {@link Cpu.readGeneral} gives them; ip, sp and flags are among them. */
  readonly general: readonly string[];
  readonly instructions: InstructionSet;
}

/** Why a vCPU stopped. */
export type Stop =
  /** A translation was refused. `va` is the exact first byte that could not be reached. */
  | {
      readonly reason: 'fault';
      readonly ip: VirtAddr;
      readonly va: VirtAddr;
      readonly kind: AccessKind;
    }
  /** The CPU took an exception other than a page fault; `number` is the vector (x86) or the engine's class (arm64). */
  | {
      readonly reason: 'exception';
      readonly ip: VirtAddr;
      readonly number: number;
      readonly name: string;
    }
  /** hlt, wfi. `ip` is the instruction itself. */
  | { readonly reason: 'halt'; readonly ip: VirtAddr; readonly name: string }
  /** The next instruction lies at one of the exits; it has not run. */
  | { readonly reason: 'exit'; readonly ip: VirtAddr }
  /** The limit was reached: exactly that many instructions retired. */
  | { readonly reason: 'limit'; readonly ip: VirtAddr }
  /** The engine cannot run this instruction faithfully. */
  | {
      readonly reason: 'engine';
      readonly ip: VirtAddr;
      readonly bytes: Uint8Array;
      readonly why: string;
    };

/**
 * A fault seen from inside the engine's callback, before the instruction has done anything. The handler may repair
 * the translation and return true (the engine asks again and goes on without stopping), or return false, and the run
 * stops with `fault`. Registers may be read and must not be written.
 */
export type FaultHandler = (va: VirtAddr, kind: AccessKind) => boolean;

/** One vCPU. Errors of the library are thrown as EngineError with what to do; bad guest code never throws. */
export interface Cpu extends Saveable {
  readonly id: number;
  readonly description: CpuDescription;
  /** Instructions retired since creation or {@link restore}; each repetition of a rep counts as one. */
  retired: number;

  readRegister(name: string): bigint;
  writeRegister(name: string, value: bigint): void;
  /** All general registers into `into`, in the description's order: one call of the library. */
  readGeneral(into: BigUint64Array): void;
  writeGeneral(from: BigUint64Array): void;
  /**
   * {@link readGeneral} where it is cheap: the flags may be left out.
   * @returns false if they were
   */
  readIntegers(into: BigUint64Array): boolean;

  /**
   * Runs from the present instruction pointer.
   * @param limit instructions to retire at most; Infinity for no limit
   * @param onFault see {@link FaultHandler}; without it every fault stops
   */
  run(limit: number, onFault?: FaultHandler): Stop;
  /** Retires one instruction (one repetition of a rep). */
  step(): Stop;

  /** Addresses at which a run ends before executing. */
  setExits(addresses: readonly VirtAddr[]): void;
  /** Drops every cached translation. Translated code survives. */
  flushTlb(): void;
  /** Drops the cached translations of one 4 KiB page. */
  flushTlbPage(va: VirtAddr): void;
  /** Drops translated code: call it after somebody else wrote into a page that code may have run from. */
  flushCode(): void;
  /** {@link flushCode} and {@link flushTlb} at once, whatever was written: nothing that ran here before counts any more. */
  forgetCode(): void;
  /** Asked about every instruction before it runs for the first time; null: nobody is. */
  interceptor: Interceptor | null;
  /**
   * {@link Interceptor.wants} answers otherwise from now on. May be called within a translation, which is then as good as
   * not made: its instruction does nothing and is begun again.
   */
  interceptsChanged(): void;
  /** The code at `va`, up to 16 bytes, as the fetches saw it; empty where nothing was fetched. */
  code(va: VirtAddr): Uint8Array;
  /** Frames that instructions were fetched from: a write by somebody else into one of them needs {@link flushCode}. */
  readonly executedFrames: ReadonlySet<number>;

  /** Where {@link drainAccesses} and full buffers go; needs {@link CpuOptions.accesses}. */
  accessSink: AccessSink | null;
  /** Tells {@link accessSink} of every access so far. */
  drainAccesses(): void;
  /** What ran since it was last asked, block behind block; empty unless {@link CpuOptions.metering} is set. */
  takeEdges(): readonly BlockEdge[];

  /** Registers, control state, exits and {@link retired}, as an opaque value of this vCPU; no cached translation. */
  save(): unknown;
  restore(state: unknown): void;
  close(): void;
}

/** Sees an instruction before the core translates it for the first time. */
export type Witness = (ip: VirtAddr, code: Uint8Array) => void;

/** Straight code that was entered at its start, as it was when it ran. */
export interface MeteredBlock {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

/** How often one block ran right behind another. */
export interface BlockEdge {
  /** null: the first block of all. */
  readonly from: MeteredBlock | null;
  readonly block: MeteredBlock;
  count: number;
  /**
   * Of a string instruction with a repeat prefix, alone in its block and behind another one: how often it began with each
   * count of repetitions left. Its repetitions are edges from the block to itself. A block may end with the first
   * repetition, which this block then goes on with.
   */
  readonly repeats: Map<number, number>;
}

export interface CpuOptions {
  /**
   * Have each instruction translated alone and tell of it before: that is how somebody outside learns which one the core
   * does not survive. Costs up to a millisecond for each.
   */
  readonly witness?: Witness | null;
  /**
   * Count instructions (default). False runs faster; {@link Cpu.retired} then counts steps and limited runs only, and
   * those retranslate all code.
   */
  readonly counting?: boolean;
  /** Count edges between blocks too, see {@link Cpu.takeEdges}; needs counting. */
  readonly metering?: boolean;
  /** Have {@link Cpu.accessSink} see every access to data; loads and stores take several times as long. */
  readonly accesses?: boolean;
}

/** Told of one access to data, in the order in which they were made. @param size bytes */
export type AccessSink = (pa: number, size: number, write: boolean) => void;

/** Makes vCPUs that share one RAM. */
export interface Engine {
  readonly version: string;
  /** A vCPU in kernel mode (CPL 0, EL1h), its general registers 0. @throws EngineError */
  createCpu(
    id: number,
    description: CpuDescription,
    ram: Ram,
    translator: Translator,
    options?: CpuOptions,
  ): Cpu;
}
