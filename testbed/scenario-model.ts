// What a scenario file says once it is loaded: one small world for each architecture, with every default filled in,
// referenced files read and the short form turned into a list of one step. The format itself, with its spellings, is
// in scenario-schema.ts; nothing here depends on how it was written down.
import type { VirtAddr } from '../emulator/address.ts';
import type { CpuDescription } from '../emulator/engine.ts';
import type { InjectionPoint, KernelConfig } from '../mm/context.ts';
import type { TlbPolicy } from '../mm/tlb.ts';
import type { ObjectFile } from './object-file.ts';
import type { ReplaceableName } from './replace/functions/index.ts';
import type { Step } from './step-model.ts';

declare const unit: unique symbol;

/** Bytes from kern_vm_start; negative ones lie in the lower guard and below. */
export type ArenaOffset = bigint & { readonly [unit]: 'bytes from kern_vm_start' };
/** Kernel pages from kern_vm_start: how faults and `pte` count. */
export type KernelPage = number & { readonly [unit]: 'pages from kern_vm_start' };
/** Kernel pages from user_vm_start: how the kfuncs count. Negative ones lie below the arena's user range. */
export type UserPage = number & { readonly [unit]: 'pages from user_vm_start' };

export type ArchName = CpuDescription['name'];
export type Series = KernelConfig['series'];
export const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];

/** A scenario file: the same world for each architecture that it names. */
export interface Scenario {
  /** Path as it was given to {@link parseScenario}. */
  readonly file: string;
  readonly name: string;
  /** In the order of the file; never empty. */
  readonly archs: readonly ArchName[];
  readonly series: Series;
  /** Has exactly the keys in {@link archs}. */
  readonly worlds: Readonly<Partial<Record<ArchName, World>>>;
}

/** Everything that one run needs. */
export interface World {
  readonly name: string;
  readonly arch: ArchName;
  readonly series: Series;
  /** The first is the one meant where the file names none; never empty. */
  readonly arenas: readonly ArenaOptions[];
  readonly kernel: KernelOptions;
  readonly limits: Limits;
  readonly injections: readonly Injection[];
  /** How the file was written: `call` has exactly one CPU with one call step, `steps` one CPU. */
  readonly form: 'call' | 'steps' | 'cpus';
  /** Steps of each CPU, in order; never empty. */
  readonly cpus: readonly (readonly Step[])[];
  /** null: the runner's own deterministic schedule. */
  readonly schedule: Schedule | null;
  readonly bound: Bound;
  /**
   * sc: every step is seen at once. tso: plain stores of x86 wait in a buffer of their CPU. vmsa: walkers and TLBs of arm64
   * see stores to tables as late as the architecture lets them, vmsa-ets2 with FEAT_ETS2.
   */
  readonly memory: (typeof MEMORY_MODELS)[number];
  /** Invariants that `explore` does not check. */
  readonly without: readonly Invariant[];
}

export type ArenaFlag = 'SEGV_ON_FAULT' | 'NO_USER_CONV';

export interface ArenaOptions {
  /** What `in:` and frames call it; `arena` for the only one. */
  readonly name: string;
  /** max_entries: kernel pages. */
  readonly pages: number;
  /** map_extra. */
  readonly userVmStart: VirtAddr;
  readonly flags: readonly ArenaFlag[];
  /** Allocations to make, in order, through bpf_arena_alloc_pages(). */
  readonly alloc: readonly PageRange[];
  /** Contents to put into allocated pages, in order. */
  readonly init: readonly ArenaContents[];
}

export interface PageRange {
  readonly page: UserPage;
  readonly count: number;
}

export interface ArenaContents {
  readonly offset: ArenaOffset;
  readonly contents: Contents;
}

/** Bytes given outright, or the 8 bytes (little endian) of a value that is known once the arenas lie somewhere. */
export type Contents =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'pointer'; readonly value: Value };

/** A 64-bit value, possibly relative to an arena; `resolveValue` of places.ts turns it into a number. */
export type Value =
  | { readonly kind: 'integer'; readonly value: bigint }
  /** kern_vm_start of `arena` plus `offset`. */
  | { readonly kind: 'arena'; readonly arena: string; readonly offset: ArenaOffset }
  /** user_vm_start of `arena` plus `offset`. */
  | { readonly kind: 'user'; readonly arena: string; readonly offset: bigint };

/** A buffer is kernel memory of its own, page aligned; the argument is its address. */
export type Argument =
  | Value
  /** @property atEnd its last byte lies at a page boundary, instead of the first */
  | { readonly kind: 'buffer'; readonly bytes: Uint8Array; readonly atEnd: boolean }
  /** A symbol or label of the code. */
  | { readonly kind: 'symbol'; readonly name: string }
  /** Address, in the direct map, of the entry of a page in the kernel's tables; or that entry as it is at the start. */
  | { readonly kind: 'pte' | 'entry'; readonly arena: string; readonly page: KernelPage };

/** What of the CPU alternatives ask for. */
export interface CpuFeatures {
  /** x86: ERMS and FSRM. */
  readonly erms: boolean;
  /** arm64: numbers of the capabilities, as the kernel's cpucaps.h counts them. */
  readonly cpucaps: readonly number[];
}

export interface KernelOptions extends Omit<KernelConfig, 'series'>, CpuFeatures {
  /** kern_vm_start of the first arena; null: the layout's own. */
  readonly vmStart: VirtAddr | null;
  /** Frame of the first arena's scratch page. */
  readonly scratchPfn: number;
  /** What arena->spinlock is. */
  readonly arenaLock: 'rqspinlock' | 'raw_spinlock';
  readonly kfence: KfenceOptions | null;
  /** THREAD_SIZE in bytes. */
  readonly stack: number;
  /** What the TLBs may do beyond the architecture's rule. */
  readonly tlb: TlbPolicy;
  /** Compiled code in the place of functions of the model, by their names. */
  readonly replace: ReadonlyMap<ReplaceableName, ObjectFile>;
}

export interface KfenceOptions {
  readonly pool: Value;
  /** CONFIG_KFENCE_NUM_OBJECTS. */
  readonly objects: number;
}

export interface Limits {
  /** Instructions to retire at most; null: no limit. */
  readonly instructions: number | null;
}

export interface Injection {
  readonly at: InjectionPoint;
  /** Which call fails, from 1. */
  readonly nth: number;
  /** Negative. */
  readonly errno: number;
}

export type Schedule =
  | { readonly kind: 'seed'; readonly seed: bigint }
  /** `steps` null: all that this CPU has left. */
  | {
      readonly kind: 'turns';
      readonly turns: readonly { readonly cpu: number; readonly steps: number | null }[];
    };

export interface Bound {
  /** Preemptions in one schedule at most; null: the explorer's default. */
  readonly preemptions: number | null;
}

export const MEMORY_MODELS = ['sc', 'tso', 'vmsa', 'vmsa-ets2'] as const;

/** Numbers of a schedule for each CPU: it, and its store buffer or walker. */
export const actorsOfCpu = (memory: World['memory']): number => (memory === 'sc' ? 1 : 2);

export const INVARIANTS = [
  'no-oops',
  'pages',
  'scratch',
  'progress',
  'report',
  'stale',
  'bbm',
  'writes',
] as const;
export type Invariant = (typeof INVARIANTS)[number];
