// Everything that happens is one stream of these events; the story, the JSON trace, the debugger and the tests read it.
// An event that nobody reads costs one test of a flag: emitters ask `sink.on` before they build one.
import type { Pfn, PhysAddr, VirtAddr } from './address.ts';

export type AccessName = 'read' | 'write' | 'fetch';

/** What became of a fault, in the words of the scenario format. */
export type Resolution = 'scratch' | 'extable' | 'kfence' | 'spurious' | 'oops';

export interface WalkStepEvent {
  readonly type: 'walkStep';
  readonly cpu: number;
  readonly va: VirtAddr;
  /** The architecture's own name of the level: PML4, PDPT, PD, PT; L0 to L3. */
  readonly level: string;
  readonly table: PhysAddr;
  readonly index: number;
  readonly entry: bigint;
  /** Bits that are set, in the manual's words: "P RW A D G XD". */
  readonly bits: string;
  readonly verdict: string;
}

export interface FaultEvent {
  readonly type: 'fault';
  readonly cpu: number;
  readonly ip: VirtAddr;
  readonly va: VirtAddr;
  readonly access: AccessName;
  /** x86 error code, or the whole ESR_EL1. */
  readonly code: bigint;
}

/** A modelled kernel function is entered; `args` are printable. */
export interface CallEvent {
  readonly type: 'call';
  readonly cpu: number;
  readonly fn: string;
  readonly args: Readonly<Record<string, string>>;
}

/** A decision inside a kernel function that a reader wants to see: what was asked and what came of it. */
export interface DecisionEvent {
  readonly type: 'decision';
  readonly cpu: number;
  readonly fn: string;
  readonly text: string;
}

export interface PteChangeEvent {
  readonly type: 'pteChange';
  readonly cpu: number;
  readonly va: VirtAddr;
  readonly before: bigint;
  readonly after: bigint;
  /** The accessor that did it: ptep_try_set, set_pte_at, ptep_get_and_clear. */
  readonly by: string;
}

export interface TlbEvent {
  readonly type: 'tlb';
  readonly cpu: number;
  readonly op: string;
  readonly start: VirtAddr | null;
  readonly end: VirtAddr | null;
}

/** An access was refused by a TLB entry that the tables contradict by now. Nothing was flushed. */
export interface StaleRefusalEvent {
  readonly type: 'staleRefusal';
  readonly cpu: number;
  readonly va: VirtAddr;
}

export interface LockEvent {
  readonly type: 'lock';
  readonly cpu: number;
  readonly lock: string;
  readonly op: 'acquire' | 'release' | 'fail';
}

export interface PageEvent {
  readonly type: 'page';
  readonly cpu: number;
  readonly op: 'alloc' | 'free';
  readonly pfn: Pfn;
  readonly purpose: string;
}

export interface StreamWriteEvent {
  readonly type: 'streamWrite';
  readonly cpu: number;
  readonly prog: string;
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
  /** True if the stream had no room for the whole message, which was dropped. */
  readonly dropped: boolean;
}

export interface RetryEvent {
  readonly type: 'retry';
  readonly cpu: number;
  readonly ip: VirtAddr;
  readonly resolution: Resolution;
}

/** A line printed to the kernel log. */
export interface PrintkEvent {
  readonly type: 'printk';
  readonly cpu: number;
  readonly text: string;
  /** The kernel function that printed it. */
  readonly by: string;
}

export interface OopsEvent {
  readonly type: 'oops';
  readonly cpu: number;
  readonly lines: readonly string[];
}

export interface InsnEvent {
  readonly type: 'insn';
  readonly cpu: number;
  readonly ip: VirtAddr;
}

export type Event =
  | WalkStepEvent
  | FaultEvent
  | CallEvent
  | DecisionEvent
  | PteChangeEvent
  | TlbEvent
  | StaleRefusalEvent
  | LockEvent
  | PageEvent
  | StreamWriteEvent
  | RetryEvent
  | PrintkEvent
  | OopsEvent
  | InsnEvent;

/** Where events go. */
export class EventSink {
  /** True if somebody reads. Emitters test it before they build an event. */
  on = false;
  /** True if somebody wants the steps of every walk as well, which cost a second walk each. */
  walks = false;
  /** {@link silently}, one in another. */
  private silenced = 0;
  private readonly readers: { readonly reader: (event: Event) => void; walks: boolean }[] = [];

  /**
   * Adds a reader; events before it are not replayed.
   * @param walks false: it has no use for the steps of walks, and need not be shown them
   * @returns a function that removes it
   */
  read(reader: (event: Event) => void, walks = true): () => void {
    const entry = { reader, walks };
    this.readers.push(entry);
    this.count();
    return () => {
      const at = this.readers.indexOf(entry);
      if (at >= 0) this.readers.splice(at, 1);
      this.count();
    };
  }

  /** Does something that no reader hears of: what they have heard before is done again. */
  silently<T>(action: () => T): T {
    this.silenced++;
    this.count();
    try {
      return action();
    } finally {
      this.silenced--;
      this.count();
    }
  }

  /** Nobody reads any more. */
  forgetReaders(): void {
    this.readers.length = 0;
    this.count();
  }

  emit(event: Event): void {
    for (const { reader } of this.readers) reader(event);
  }

  private count(): void {
    const heard = this.silenced === 0;
    this.on = heard && this.readers.length > 0;
    this.walks = heard && this.readers.some(({ walks }) => walks);
  }
}
