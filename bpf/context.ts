// What the BPF side is handed of the rest of the kernel, and what it keeps of its own: the symbols of JITed images and
// the last stack it saw.
import type { StackFrame } from '../arch/unwind.ts';
import type { VirtAddr } from '../emulator/address.ts';
import type { Ram } from '../emulator/ram.ts';
import type { KernelContext } from '../mm/context.ts';
import type { InitMm } from '../mm/init-mm.ts';
import type { PageAllocator } from '../mm/page-alloc.ts';
import type { TlbControl } from '../mm/tlb-control.ts';
import type { Vmalloc } from '../mm/vmalloc.ts';
import type { CompiledFunctions } from './compiled.ts';
import { BpfKsyms } from './prog.ts';
import { StackTrace } from './stack-trace.ts';

/** What a report says of `current`. */
export interface CurrentTask {
  readonly comm: string;
  readonly pid: number;
  readonly uid: number;
}

/** The kernel below BPF, as the testbed puts it together. */
export interface BpfHost {
  readonly kernel: KernelContext;
  readonly ram: Ram;
  readonly pages: PageAllocator;
  readonly mm: InitMm;
  readonly tlb: TlbControl;
  readonly vmalloc: Vmalloc;
  /**
   * arch_bpf_stack_walk() on `current`.
   * @returns what it offers, innermost first; never changed afterwards
   */
  stackWalk(): readonly VirtAddr[];
  /** The same with stack and frame pointers, walked anew: by compiled code, if that stands in its place. */
  stackFrames(): readonly StackFrame[];
  /** %pS */
  formatSymbol(ip: VirtAddr): string;
  current(): CurrentTask;
}

/** BPF of one kernel. */
export interface BpfContext extends BpfHost {
  readonly ksyms: BpfKsyms;
  readonly trace: StackTrace;
  /** Compiled code in the place of the model's functions; null: there is none. */
  compiled: CompiledFunctions | null;
}

/** A kernel's BPF side, with no program loaded and no arena. */
export function createBpf(host: BpfHost): BpfContext {
  const ksyms = new BpfKsyms();
  const context: BpfContext = {
    kernel: host.kernel,
    ram: host.ram,
    pages: host.pages,
    mm: host.mm,
    tlb: host.tlb,
    vmalloc: host.vmalloc,
    stackWalk: () => host.stackWalk(),
    stackFrames: () => host.stackFrames(),
    formatSymbol: (ip) => host.formatSymbol(ip),
    current: () => host.current(),
    ksyms,
    trace: new StackTrace(host, ksyms),
    compiled: null,
  };
  return context;
}
