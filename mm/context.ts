// What every part of the kernel model is handed: where events go, how the kernel is configured, which failures to
// inject, and whether somebody steps it.
import type { VirtAddr } from '../emulator/address.ts';
import type { EventSink } from '../emulator/events.ts';
import type { CompiledMemory } from './compiled-memory.ts';

/** Configuration of the modelled kernel; the scenario key `kernel:` sets it. */
export interface KernelConfig {
  /** v2: the patch as posted. mainline: what was merged and fixed afterwards. */
  readonly series: 'v2' | 'mainline';
  /** Kernel page size in bytes: 4096, or 16384 or 65536 on arm64. */
  readonly pageSize: number;
  readonly la57: boolean;
  /** x86 PTI, arm64 KPTI. */
  readonly pti: boolean;
  /** arm64 CONFIG_ARM64_CONTPTE. */
  readonly contpte: boolean;
  readonly unwinder: 'orc' | 'frame_pointer' | 'none';
  /** arm64 TCR_EL1.HA and HD. */
  readonly hafdbs: boolean;
  /** false: bpf_arena_handle_page_fault is the stub that returns false. */
  readonly bpfSyscall: boolean;
}

/** Places where the kernel can fail and a scenario may make it. */
export type InjectionPoint =
  | 'alloc_page'
  | 'range_node'
  | 'spinlock'
  | 'populate'
  | 'span'
  | 'map_area'
  | 'pages_array'
  | 'vma';

/** Something another CPU could see is about to happen. */
export interface Step {
  readonly kind: 'pte' | 'lock' | 'tlb' | 'page' | 'report' | 'call';
  readonly what: string;
  /** False while the CPU spins or sleeps until another one moves; left out where it can always go on. */
  readonly ready?: () => boolean;
  /** An address that the step has the CPU translate (AT). */
  readonly translates?: VirtAddr;
}

/** How something shared is touched. Additions commute with each other, as list pushes do where no order counts. */
export const LOOKED = 1;
export const CHANGED = 2;
export const ADDED = 4;

/** State that several CPUs can see, other than a word of RAM. */
export interface Shared {
  /** Names it, the same in every run. */
  readonly label: string;
  /** Equal values mean equal states. */
  fingerprint(): number | string;
}

/**
 * Told of what a step looks at and changes, each time before it does so: what a scheduler needs to know which steps of
 * two CPUs commute. `how` is LOOKED, CHANGED and ADDED, or'ed.
 */
export interface AccessLog {
  /** The 8-byte word of RAM that holds physical address `pa`. */
  word(pa: number, how: number): void;
  /** All words of [pa, pa + bytes). */
  range(pa: number, bytes: number, how: number): void;
  object(shared: Shared, how: number): void;
  /** TLB entries, on every CPU, of the pages in [start, end). */
  flush(start: bigint, end: bigint): void;
  /** More than can be told: all that was ever touched counts as looked at and changed. */
  everything(): void;
}

/**
 * Told of stores to tables and of what orders them, in the program order of each CPU, where the memory model lets walkers
 * see stores late (mm/table-history.ts).
 */
export interface TableOrder {
  /** The entry at `ptep` was `before` and is `after`. @param ordered the store is itself a barrier for what follows */
  stored(ptep: number, before: bigint, after: bigint, ordered: boolean): void;
  /** The CPU has loaded or stored data, wherever. */
  accessed(loads: boolean, stores: boolean): void;
  /** The CPU has read the entry as data. */
  observed(ptep: number): void;
  /** A walk of the CPU has taken this older value of the entry; null: the present one. */
  walked(ptep: number, value: bigint | null): void;
  /** DMB, a store-release: the CPU's stores come before what it does next. */
  released(): void;
  /** DSB. @param kind st and ld: of stores, loads alone. @param inner false: DSB NSH */
  dsb(kind: 'full' | 'st' | 'ld', inner?: boolean): void;
  /** A conditional branch, taken to depend on every load before it. */
  branched(): void;
  /** A context synchronization event: ISB, exception entry, exception return. */
  synchronized(): void;
  /** TLBI of the pages in [start, end); null: of all. @param broadcast to all CPUs */
  tlbi(start: VirtAddr | null, end: VirtAddr | null, broadcast: boolean): void;
}

/**
 * A kernel path that can be stopped before each step another CPU could see. It yields only while
 * {@link KernelContext.stepping} is set: `if (context.stepping) yield {kind, what}` before the step.
 */
export type Activity<T> = Generator<Step, T, void>;

/**
 * A kernel path that the real kernel would never leave: a spinlock that its own CPU holds, or the set callback on an x86
 * entry of nothing but accessed or dirty bits, which pte_none() calls none and ptep_try_set() does not.
 */
export class KernelStuck extends Error {}

/**
 * A path as a caller finds it: what it came to, where nobody steps it, or the path where steps are left. A fault asks for
 * a few of them, and a generator costs more than what some of them do. A result is never a generator itself.
 */
export type Progress<T> = T | Activity<T>;

const hasSteps = <T>(progress: Progress<T>): progress is Activity<T> =>
  typeof progress === 'object' && progress !== null && 'next' in progress;

/** Runs a path to its end. @returns its result */
export function finish<T>(progress: Progress<T>): T {
  if (!hasSteps(progress)) return progress;
  for (;;) {
    const result = progress.next();
    if (result.done) return result.value;
  }
}

/** The steps that are left of a path, if any, and then its result. */
export function* onward<T>(progress: Progress<T>): Activity<T> {
  return hasSteps(progress) ? yield* progress : progress;
}

/** How often the kernel did what takes time, so far. */
export interface KernelWork {
  /** search_exception_tables(). */
  searches: number;
  /** Stack frames unwound for BPF. */
  frames: number;
  /** Reports made for a stream, and their bytes, whether or not it had room. */
  reports: number;
  reportBytes: number;
  /** Lines of the kernel log. */
  logLines: number;
}

/** What of memory management compiled code does in the model's place: accessors of entries, and {@link CompiledMemory}. */
export interface CompiledAccessors extends CompiledMemory {
  ptepTrySet?(addr: VirtAddr, ptep: number, pte: bigint): Activity<boolean>;
  ptepGetAndClear?(addr: VirtAddr, ptep: number): Activity<bigint>;
  setPteAt?(addr: VirtAddr, ptep: number, pte: bigint): Activity<void>;
  flushTlbBeforeSet?(addr: VirtAddr): Activity<void>;
}

export class KernelContext {
  readonly events: EventSink;
  readonly work: KernelWork = { searches: 0, frames: 0, reports: 0, reportBytes: 0, logLines: 0 };
  readonly config: KernelConfig;
  /** The CPU on whose behalf the model runs now. */
  cpu = 0;
  /** True while a schedule or a debugger drives activities step by step. */
  stepping = false;
  /** Somebody wants to know what steps touch. */
  access: AccessLog | null = null;
  /** Where walkers may see stores to tables late: who is told of what orders them. */
  tables: TableOrder | null = null;
  /** What a mutant puts in the place of named steps (bpf/named-steps.ts); null: the kernel as it is. */
  replacements: ReadonlyMap<string, string> | null = null;
  /** Compiled code in the place of memory management; null: there is none. */
  compiled: CompiledAccessors | null = null;
  /** The kernel log, one entry a line. */
  readonly log: string[] = [];
  /** A line that compiled code has begun and not ended: it ends where another one begins. Null: there is none. */
  begunLine: { text: string; readonly by: string } | null = null;
  /** Where in the log the report begins that is being made; null: none is. */
  reportStart: number | null = null;
  /** The exception at which the machine stops after it; null: it does not. */
  reportHalted: string | null = null;
  /** in_interrupt() of who makes it. */
  reportInInterrupt = false;
  /** die_counter: how often this kernel has died. */
  dieCounter = 0;
  /** TAINT_MACHINE_CHECK is set. */
  machineCheck = false;
  /** exec_summary_regs: registers of the first oops, as the architecture keeps them; null before one. */
  execSummaryRegs: object | null = null;
  /** Places whose WARN_ON_ONCE() has warned. */
  readonly warned = new Set<string>();
  private readonly injections: { at: InjectionPoint; nth: number; errno: number }[] = [];
  private readonly counts = new Map<InjectionPoint, number>();

  constructor(events: EventSink, config: KernelConfig) {
    this.events = events;
    this.config = config;
  }

  /** printk(): one line, without the newline. @param by the kernel function that prints it */
  printk(text: string, by: string): void {
    if (this.begunLine !== null) this.endLine();
    this.log.push(text);
    this.work.logLines++;
    if (this.events.on) this.events.emit({ type: 'printk', cpu: this.cpu, text, by });
  }

  /** Prints what there is of a begun line. */
  endLine(): void {
    const line = this.begunLine;
    this.begunLine = null;
    if (line !== null) this.printk(line.text, line.by);
  }

  /** A kernel function is entered; `args` only evaluated by the reader of events. */
  enter(fn: string, args: Readonly<Record<string, string>> = {}): void {
    this.events.emit({ type: 'call', cpu: this.cpu, fn, args });
  }

  /** What `fn` decided. Call only when `events.on`. */
  decide(fn: string, text: string): void {
    this.events.emit({ type: 'decision', cpu: this.cpu, fn, text });
  }

  /** What a mutant does instead of the named step `function/step`; undefined: nothing is replaced. */
  replaced(step: string): string | undefined {
    return this.replacements?.get(step);
  }

  /** Makes the `nth` (from 1) call at a point fail. @param errno negative, as the kernel returns it */
  inject(at: InjectionPoint, nth: number, errno: number): void {
    this.injections.push({ at, nth, errno });
  }

  /** Counts one call at an injection point. @returns 0, or the negative errno this call must fail with */
  failure(at: InjectionPoint): number {
    if (this.injections.length === 0) return 0;
    const count = (this.counts.get(at) ?? 0) + 1;
    this.counts.set(at, count);
    return this.injections.find((i) => i.at === at && i.nth === count)?.errno ?? 0;
  }
}

/** Negative errno values by name, as the kernel returns them (asm-generic/errno-base.h, errno.h). */
export const ERRNO = {
  EPERM: -1,
  ENOENT: -2,
  ESRCH: -3,
  ENOMEM: -12,
  EACCES: -13,
  EFAULT: -14,
  EBUSY: -16,
  EINVAL: -22,
  ENOSPC: -28,
  E2BIG: -7,
  ERANGE: -34,
  EOPNOTSUPP: -95,
  ENOTSUPP: -524,
} as const;
