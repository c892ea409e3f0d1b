// What both architectures fulfil, and what their fault paths see of the rest of the kernel. `arch` knows no BPF: the
// fault path asks a list of recoverers, as the kernel calls kfence_handle_page_fault() and a weak
// bpf_arena_handle_page_fault().
import type { PhysAddr, VirtAddr } from '../emulator/address.ts';
import type { Cpu, CpuDescription } from '../emulator/engine.ts';
import type { AccessName, Resolution } from '../emulator/events.ts';
import type { Ram } from '../emulator/ram.ts';
import type { Activity, KernelConfig, KernelContext, Progress } from '../mm/context.ts';
import type { Paging } from '../mm/paging.ts';
import type { PteFormat } from '../mm/pte.ts';
import type { TlbShape } from '../mm/tlb.ts';
import type { CompiledPath, PathFunction } from './compiled-path.ts';
import type { ArchitectureCosts } from './cost-models.ts';
import type { Processor, ProcessorParts } from './processor.ts';
import type { ConsumeEntry, UnwindContext } from './unwind.ts';

/** The interrupted registers as the exception entry saved them. Handlers change them; the vCPU takes them back. */
export interface PtRegs {
  /** All general registers in the CpuDescription's order. */
  readonly words: BigUint64Array;
  /** See {@link SavedRegisters.isAt}. */
  isAt(ip: bigint, sp: bigint, fp: bigint): boolean;
  /** See {@link SavedRegisters.load}. */
  load(cpu: Cpu): void;
  get(name: string): bigint;
  set(name: string, value: bigint): void;
  ip: VirtAddr;
  readonly sp: VirtAddr;
  /** Frame pointer: rbp, x29. */
  readonly fp: bigint;
  /** True if the interrupted code ran in user mode (CPL 3, EL0). */
  readonly userMode: boolean;
}

/** Someone who may repair a not-present kernel fault: KFENCE, then the arena. */
export interface Recoverer {
  /** The kernel function asked, for the story. */
  readonly fn: string;
  readonly resolution: Extract<Resolution, 'scratch' | 'kfence'>;
  /** @returns true if the instruction can be run again */
  handlePageFault(addr: VirtAddr, isWrite: boolean, regs: PtRegs): Progress<boolean>;
}

/** What an exception-table lookup finds: a handler's type and its decoded fields. Addresses are absolute. */
export interface ExtableEntry {
  readonly insn: VirtAddr;
  readonly fixup: VirtAddr;
  /** EX_TYPE_ number of the architecture. */
  readonly type: number;
  /** The entry's data word (x86: 32 bits; arm64: 16 bits). */
  readonly data: number;
  /** BPF entries re-use the fixup field: its 32 bits as they stand in the table. */
  readonly fixupWord: number;
}

/** The task on whose stack the fault happened. */
export interface Task {
  readonly comm: string;
  readonly pid: number;
  readonly uid: number;
  /** Lowest address of the kernel stack, and its end (first address above). The page below `stack` is its guard. */
  readonly stack: VirtAddr;
  readonly stackEnd: VirtAddr;
  /** The task has an mm; in this model one that maps nothing. */
  readonly hasMm: boolean;
  /** faulthandler_disabled(): page faults are disabled or we are in atomic context. */
  readonly faulthandlerDisabled: boolean;
}

/** One fault as the hardware reported it. */
export interface HardwareFault {
  /** CR2, or FAR_EL1. */
  readonly addr: VirtAddr;
  readonly access: AccessName;
  /** x86: error code. arm64: ESR_EL1. */
  readonly code: bigint;
}

/** Everything of the kernel that a fault path may ask. */
export interface FaultContext extends UnwindContext {
  readonly kernel: KernelContext;
  /** Memory in which the page tables lie. */
  readonly ram: Ram;
  /** Paging unit of the faulting CPU: AT, dump_pagetable. */
  readonly paging: Paging;
  readonly pte: PteFormat;
  /** Root of init_mm's tables (swapper_pg_dir). */
  readonly swapperPgDir: PhysAddr;
  /** Asked in order, for not-present (x86) or translation (arm64) faults. */
  readonly recoverers: readonly Recoverer[];
  readonly current: Task;
  /** Compiled code in the place of functions of the path; null: there is none. */
  compiled: CompiledPath | null;
  /** search_exception_tables(): kernel, modules, then BPF. */
  searchExceptionTables(ip: VirtAddr): ExtableEntry | null;
  /** bpf_prog_report_arena_violation(), for ex_handler_bpf. */
  reportArenaViolation(isWrite: boolean, addr: VirtAddr, ip: VirtAddr): Activity<void>;
  /** AT S1E1R: null where a privileged read of the address translates; otherwise ESR_EL1 of the abort that it would take. */
  addressTranslate(va: VirtAddr): number | null;
  /** %pS: symbol+0xoff/0xsize [module], or the bare address. */
  formatSymbol(ip: VirtAddr): string;
  /** Kernel memory as a debugger reads it, through init_mm without rights; null where something is not mapped. */
  readMemory(va: VirtAddr, length: number): Uint8Array | null;
  /** is_vmalloc_addr() */
  isVmallocAddr(addr: VirtAddr): boolean;
}

/** What the fault path came to. */
export type FaultOutcome =
  /** The instruction is run again with unchanged registers. */
  | { readonly resolution: 'scratch' | 'kfence' | 'spurious' }
  /** Registers were changed; go on at regs.ip. */
  | { readonly resolution: 'extable' }
  /**
   * The kernel died; its log holds the report, whose lines these are. `halted` names the exception if the machine
   * stopped because the CPU could not deliver the fault at all (x86: a double fault off the task's stack).
   */
  | { readonly resolution: 'oops'; readonly lines: readonly string[]; readonly halted?: string };

/** A fault path: ends with the outcome. */
export type FaultPath = Progress<FaultOutcome>;

/** Where the modelled kernel keeps things. Everything is page aligned for every page size of the architecture. */
export interface KernelLayout {
  /** Kernel text; callers and the code under test are mapped from here up. */
  readonly text: VirtAddr;
  /** Images of BPF programs are mapped from here up. */
  readonly bpfText: VirtAddr;
  /** Direct (linear) map of RAM: the address of physical 0. */
  readonly directMap: VirtAddr;
  /** The array of struct page, of physical page 0 on. */
  readonly vmemmap: VirtAddr;
  readonly vmallocStart: VirtAddr;
  readonly vmallocEnd: VirtAddr;
  /** Lowest address of the task's kernel stack; the page below it is its guard. */
  readonly stack: VirtAddr;
  /** Default kern_vm_start of the first arena. */
  readonly arenaBase: VirtAddr;
}

/** One architecture, as the testbed puts it together with a machine. */
export interface Architecture {
  readonly name: 'x86_64' | 'arm64';
  readonly description: CpuDescription;
  readonly costs: ArchitectureCosts;
  /** Registers of the first six (x86) or eight (arm64) integer arguments, in order. */
  readonly argumentRegisters: readonly string[];
  readonly returnRegister: string;
  readonly framePointer: string;
  readonly linkRegister: string | null;
  /** Register that holds kern_vm_start in a BPF program's image. */
  readonly arenaBaseRegister: string;
  layout(config: KernelConfig): KernelLayout;
  pteFormat(config: KernelConfig): PteFormat;
  /** A paging unit in kernel mode whose kernel half is translated by the tables at `root`. */
  createPaging(ram: Ram, config: KernelConfig, root: PhysAddr): Paging;
  /** @throws TypeError if the MMU's paging unit is not one of {@link createPaging} */
  createProcessor(parts: ProcessorParts): Processor;
  createRegs(): PtRegs;
  /** Shape of the TLB that a vCPU has. */
  readonly tlb: TlbShape;
  /** Delivers an abort of address translation to the kernel's entry: #PF and exc_page_fault(), el1_abort(). */
  deliverFault(context: FaultContext, regs: PtRegs, fault: HardwareFault): FaultPath;
  /** Functions of the fault path by their kernel names, for compiled code that calls them. */
  readonly path: Readonly<Record<string, PathFunction>>;
  /** struct pt_regs: the registers that each of its members holds, in order. */
  readonly ptRegsMembers: Readonly<Record<string, readonly string[]>>;
  /** What its other members hold. */
  ptRegsRest(regs: PtRegs): Readonly<Record<string, bigint>>;
  /**
   * Another exception that the exception table may fix up.
   * @param vector x86: the vector. arm64: the exception class
   * @returns the handler's path, or null where nothing fixes it up
   */
  fixupException(
    context: FaultContext,
    regs: PtRegs,
    vector: number,
    addr: VirtAddr,
  ): FaultPath | null;
  /** True if an exception of the paging unit is one that {@link deliverFault} takes. */
  isTranslationAbort(vector: number): boolean;
  /** Name of an exception that is no translation abort, as the manual calls it. */
  exceptionName(vector: number): string;
  /** Builds an exception table that will lie at `at`. @throws RangeError for what does not fit */
  buildExtable(lines: readonly ExtableLine[], at: VirtAddr): Uint8Array;
  searchExtable(table: Uint8Array, at: VirtAddr, ip: VirtAddr): ExtableEntry | null;
  archBpfStackWalk(context: UnwindContext, regs: PtRegs, consume: ConsumeEntry): void;
  /** Register that holds the faulting address: CR2, FAR_EL1. */
  readonly faultAddressRegister: string;
  /** True for the code of a fault that found no page: one that KFENCE or the arena may repair. */
  isAbsence(code: bigint): boolean;
  /** A fault code in one phrase. */
  describeCode(code: bigint): string;
}

/** An exception-table entry as assembly and scenarios write it, with its places resolved. */
export interface ExtableLine {
  readonly insn: VirtAddr;
  /** Where to go on; for `bpf`, the address behind the instruction. */
  readonly fixup: VirtAddr;
  /** Handler type without EX_TYPE_, in lower case. */
  readonly type: string;
  /** bpf: register to clear after a load; null for a store. */
  readonly dst: string | null;
  /** bpf: register that holds the arena address; null for none. */
  readonly arenaReg: string | null;
  /** bpf: the instruction's s16 offset. */
  readonly offset: number;
  /** The entry's data word beside the type, for every type but `default` and `bpf`. */
  readonly data: number;
}
