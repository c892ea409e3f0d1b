// A machine and the kernel model put together: RAM, page tables, a task with its stack, kernel text, BPF, the TLBs and
// the vCPUs. It knows no scenario: `run.ts` does. Left out: other tasks, interrupts, and the code of the kernel itself,
// which is modelled and has no text.
import type {
  Architecture,
  ExtableEntry,
  ExtableLine,
  FaultContext,
  KernelLayout,
  Recoverer,
  Task,
} from '../arch/arch.ts';
import type { OrcEntry, StackFrame } from '../arch/unwind.ts';
import { type DecodedInsn, DerivedOrc } from '../arch/x86/orc.ts';
import { OrcTable } from '../arch/x86/orc-table.ts';
import type { BpfArena } from '../bpf/arena.ts';
import { arenaRecoverer, bpfProgReportArenaViolation } from '../bpf/arena-fault.ts';
import { type BpfContext, createBpf } from '../bpf/context.ts';
import { UserMm } from '../bpf/user-mm.ts';
import { FRAME_SIZE, type Pfn, type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hi32, lo32 } from '../emulator/bits.ts';
import type { Disassembler, Insn } from '../emulator/disassembler.ts';
import type { Linked } from '../emulator/elf/link.ts';
import type { ElfFile } from '../emulator/elf/read.ts';
import { READ } from '../emulator/engine.ts';
import type { EventSink } from '../emulator/events.ts';
import type { Ram } from '../emulator/ram.ts';
import { DerivedMap } from '../emulator/snapshot.ts';
import { type KernelConfig, KernelContext } from '../mm/context.ts';
import { InitMm } from '../mm/init-mm.ts';
import type { Kfence } from '../mm/kfence.ts';
import type { Mmu } from '../mm/mmu.ts';
import { PageAllocator, type PageOwner } from '../mm/page-alloc.ts';
import type { TlbPolicy } from '../mm/tlb.ts';
import { VM_NO_GUARD, VM_USERMAP, Vmalloc } from '../mm/vmalloc.ts';
import type { Costing } from './costing.ts';
import { Environment } from './environment.ts';
import { KernelMemory, OutOfMemory } from './kernel-memory.ts';
import { CODE_OFFSET, KernelText } from './kernel-text.ts';
import { tlbControl } from './kernel-tlbs.ts';
import type { Machine } from './machines.ts';
import type { CodeHeap } from './replace/code-heap.ts';
import { StackWalker } from './stack-walk.ts';
import { SymbolTable } from './symbols.ts';
import { Vcpu } from './vcpu.ts';

/** What a kernel is built on. */
export interface KernelParts {
  readonly arch: Architecture;
  readonly config: KernelConfig;
  /** RAM and vCPUs; all of its vCPUs must still be free. */
  readonly machine: Machine;
  readonly disassembler: Disassembler;
  readonly events: EventSink;
  /** THREAD_SIZE in bytes, rounded up to pages. */
  readonly stackSize: number;
  /** What calls cost is found with this; null: it is not. */
  readonly costing?: Costing | null;
  /** What the TLBs may keep; the architectures' rule by default. */
  readonly tlbPolicy?: TlbPolicy;
  /** Compiled code will be put in the place of functions of the model. */
  readonly replacing?: boolean;
  /** Where the task's stack lies, a multiple of its size; the layout's own place by default. */
  readonly stackAt?: VirtAddr;
  /** Where things lie; what the architecture says by default. */
  readonly layout?: KernelLayout;
  /** Bytes at the end of RAM that the page allocator does not get: a kernel image lies there. */
  readonly reserved?: number;
}

/** Frames below this are the firmware's: the allocator starts here. */
const FIRST_PFN = 0x100;

export class Kernel {
  readonly arch: Architecture;
  readonly config: KernelConfig;
  readonly context: KernelContext;
  readonly events: EventSink;
  readonly ram: Ram;
  readonly pages: PageAllocator;
  readonly mm: InitMm;
  /** Kernel memory by its addresses. */
  readonly memory: KernelMemory;
  readonly vmalloc: Vmalloc;
  readonly bpf: BpfContext;
  readonly layout: KernelLayout;
  readonly symbols = new SymbolTable();
  /** The task that runs on each CPU, on a stack of its own. */
  readonly tasks: Task[] = [];
  /** The address space of the task that maps the arenas. */
  readonly userMm = new UserMm();
  readonly recoverers: Recoverer[] = [];
  readonly arenas = new Map<string, BpfArena>();
  kfence: Kfence | null = null;
  /** Objects that are loaded to stay, by path and bindings: kernels have one copy of a function, with its counters. */
  readonly residentObjects = new Map<string, Linked>();
  /** The file of the kernel image that is loaded, if it is an ELF file. */
  imageFile: ElfFile | null = null;
  readonly cpus: Vcpu[] = [];
  readonly pageSize: number;
  readonly costing: Costing | null;
  readonly tlbPolicy: TlbPolicy | undefined;
  readonly orc: DerivedOrc | null;

  readonly replacing: boolean;
  /** Addresses that stand for functions of the model while compiled code runs: no code is there. */
  traps: readonly VirtAddr[] = [];
  /** Those of them that functions in compiled code return to. */
  returnTraps: readonly VirtAddr[] = [];
  /** arm64: distance of the final frame record from the end of a stack, where compiled code expects it; null: it is free. */
  finalRecord: bigint | null = null;
  /** Where code in the place of functions of the model lies. */
  readonly replacedText: { readonly start: bigint; readonly end: bigint }[] = [];
  /** Memory that such code asks for; null before there is any. */
  codeHeap: CodeHeap | null = null;
  /** What stands in memory for compiled code, so that snapshots know it. */
  readonly replacedState: object[] = [];
  readonly machine: Machine;
  private readonly disassembler: Disassembler;
  /** Where code lies, and how it comes there. */
  readonly text: KernelText;
  /** Owner of kernel data. */
  readonly dataPages: PageOwner;
  /** What compiled code finds around it. */
  readonly environment = new Environment(this);
  private readonly stackSize: number;
  /** Exception tables in the order in which they are asked. */
  readonly extables: { readonly at: VirtAddr; readonly table: Uint8Array }[] = [];
  /** Counts changes of them. */
  extableGeneration = 0;
  /** search_exception_tables() in compiled code; null: there is none. */
  compiledSearch: ((ip: VirtAddr) => ExtableEntry | null) | null = null;
  /** search_extable() in compiled code, on the kernel's own tables; null: there is none. */
  compiledSearchExtable: ((ip: VirtAddr) => ExtableEntry | null) | null = null;
  private readonly orcTables: OrcTable[] = [];
  private readonly decoded = new DerivedMap<bigint, Insn>();
  private readonly stackWalker: StackWalker;

  constructor(parts: KernelParts) {
    const { arch, config, machine } = parts;
    const { ram } = machine;
    this.arch = arch;
    this.config = config;
    this.machine = machine;
    this.disassembler = parts.disassembler;
    this.events = parts.events;
    this.context = new KernelContext(parts.events, config);
    this.ram = ram;
    this.pageSize = config.pageSize;
    this.costing = parts.costing ?? null;
    this.tlbPolicy = parts.tlbPolicy;
    this.replacing = parts.replacing ?? false;
    this.stackWalker = new StackWalker(arch, ram);
    this.layout = parts.layout ?? arch.layout(config);
    const format = arch.pteFormat(config);
    const frames = (ram.size - (parts.reserved ?? 0)) / FRAME_SIZE - FIRST_PFN;
    this.pages = new PageAllocator(this.context, ram, FIRST_PFN, frames);
    this.mm = new InitMm({ kernel: this.context, ram, pages: this.pages, format });
    this.memory = new KernelMemory(this.mm, (pa) => this.stackWalker.note(pa));
    const tlb = tlbControl(this);
    this.vmalloc = new Vmalloc(this.mm, tlb, this.layout.vmallocStart, this.layout.vmallocEnd);
    this.text = new KernelText(this);
    this.dataPages = this.pages.owner('kernel data');
    this.reserveText();
    this.stackSize = parts.stackSize;
    this.tasks.push(this.createTask(parts.stackAt ?? this.layout.stack));
    this.bpf = createBpf({
      kernel: this.context,
      ram,
      pages: this.pages,
      mm: this.mm,
      tlb,
      vmalloc: this.vmalloc,
      stackWalk: () => this.stackWalk(this.cpus[this.context.cpu]),
      stackFrames: () => {
        const { compiled } = this.bpf;
        const walked = compiled?.archBpfStackWalk?.() ?? compiled?.unwindWalk?.();
        return walked ?? this.stackFrames(this.cpus[this.context.cpu]);
      },
      formatSymbol: (ip) => this.symbols.format(ip),
      current: () => this.tasks[this.context.cpu],
    });
    this.orc = config.unwinder === 'orc' && arch.linkRegister === null ? this.createOrc() : null;
    this.recoverers.push(arenaRecoverer(this.bpf));
  }

  /** The task on CPU 0. */
  get task(): Task {
    return this.tasks[0];
  }

  /** Adds a vCPU that runs kernel code on init_mm's tables. @throws OutOfMemory without room for its stack */
  addCpu(): Vcpu {
    const id = this.cpus.length;
    this.tasks[id] ??= this.createTask();
    const cpu = new Vcpu(this, this.machine, id, this.tasks[id]);
    this.cpus.push(cpu);
    return cpu;
  }

  /** What the fault path of one vCPU sees of the kernel. */
  createFaultContext(mmu: Mmu, current: Task): FaultContext {
    const { paging } = mmu;
    return {
      kernel: this.context,
      ram: this.ram,
      paging,
      pte: this.mm.format,
      swapperPgDir: this.mm.swapperPgDir,
      recoverers: this.recoverers,
      current,
      compiled: null,
      orc: this.orc && { find: (ip) => this.orcFind(ip) },
      searchExceptionTables: (ip) => this.searchExceptionTables(ip),
      reportArenaViolation: (isWrite, addr, ip) =>
        bpfProgReportArenaViolation(this.bpf, isWrite, addr, ip),
      addressTranslate: (va) => {
        // A refusal that is kept for one access is not for AT; what a walk finds late is.
        if (this.context.tables !== null) return mmu.probe(va, READ) ? null : mmu.faultCode;
        return paging.walk(hi32(va), lo32(va), READ, false) ? null : paging.faultCode;
      },
      formatSymbol: (ip) => this.symbols.format(ip),
      readMemory: (va, length) => this.memory.read(va, length),
      readWord: (va) => this.memory.readWord(virtAddr(va)),
      kernelTextAddress: (ip) =>
        this.symbols.find(virtAddr(ip)) !== null || this.bpf.ksyms.lookUp(virtAddr(ip)) !== null,
      isVmallocAddr: (addr) => this.vmalloc.isVmallocAddr(addr),
    };
  }

  /** Addresses at which a run ends. @param returnsTo where the code under test returns to */
  exits(returnsTo: VirtAddr | null): readonly VirtAddr[] {
    return returnsTo === null ? this.traps : [returnsTo, ...this.traps];
  }

  /** arch_bpf_stack_walk() from the last exception on. */
  private stackWalk(vcpu: Vcpu): readonly VirtAddr[] {
    if (vcpu.interrupted.length > 0) return this.stackFrames(vcpu).map(({ ip }) => ip);
    return this.stackWalker.walk(vcpu.faultContext, vcpu.regs);
  }

  /** The same with all that it offers, from the last exception through those that it interrupted. */
  private stackFrames({ faultContext, regs, interrupted }: Vcpu): StackFrame[] {
    const frames: StackFrame[] = [];
    // A replaced function is called from here, which leaves no frames: the walk goes on in the code that it interrupted.
    const { returnTraps } = this;
    const outer = this.arch.createRegs();
    for (const words of [regs.words, ...interrupted.toReversed()]) {
      outer.words.set(words);
      this.arch.archBpfStackWalk(
        faultContext,
        outer,
        (ip, sp, bp) =>
          (!returnTraps.includes(ip) || interrupted.length === 0) &&
          frames.push({ ip, sp, bp }) > 0,
      );
    }
    return frames;
  }

  /**
   * Maps zeroed kernel memory of its own, between pages where nothing is mapped, with `bytes` at its start or its end.
   * @returns the address of the first byte; at the start it is page aligned
   */
  allocBuffer(bytes: Uint8Array, atEnd = false): VirtAddr {
    const count = this.memory.pagesFor(Math.max(bytes.length, 1));
    const area = this.vmalloc.getVmArea(count * this.pageSize, VM_USERMAP);
    if (area === null) throw new OutOfMemory('no addresses are left for a buffer');
    this.memory.map(area.addr, count, 'PAGE_KERNEL', this.dataPages);
    const offset = atEnd ? count * this.pageSize - bytes.length : 0;
    const at = virtAddr(area.addr + BigInt(offset));
    this.memory.write(at, bytes);
    return at;
  }

  /** Maps the page of a physical address in the direct map, where by default nothing is. @returns its address there */
  mapDirect(pa: number): VirtAddr {
    const at = virtAddr(this.layout.directMap + BigInt(pa));
    const page = pa - (pa % this.pageSize);
    if (this.memory.physOf(at) === null) {
      const pfn = (page / FRAME_SIZE) as Pfn;
      this.mm.mapRange(this.mm.pageStart(at), pfn, 1, 'PAGE_KERNEL');
    }
    return at;
  }

  /**
   * Adds unwinding data of objtool's to what the ORC unwinder asks, before what is derived from code. Its entries for
   * address 0 belong to no code.
   * @returns a function that removes it
   */
  addOrcTable(ips: BigUint64Array, entries: Uint8Array, end: bigint): () => void {
    const kept = ips.map((ip) => ip || end);
    const table = new OrcTable(kept, entries, end);
    this.orcTables.push(table);
    this.codeChanged();
    return () => void this.orcTables.splice(this.orcTables.indexOf(table), 1);
  }

  /** Adds a table to those that search_exception_tables() asks. @returns a function that removes it */
  addExtable(lines: readonly ExtableLine[], at: VirtAddr): () => void {
    return this.addExtableBytes(this.arch.buildExtable(lines, at), at);
  }

  /** The same of a sorted table as bytes. */
  addExtableBytes(table: Uint8Array, at: VirtAddr): () => void {
    const entry = { at, table };
    this.extables.push(entry);
    this.extableGeneration++;
    return () => {
      this.extables.splice(this.extables.indexOf(entry), 1);
      this.extableGeneration++;
    };
  }

  /**
   * search_exception_tables(): the kernel's, then those of BPF images.
   * @kernel search_exception_tables kernel/extable.c read - no modules
   */
  searchExceptionTables(ip: VirtAddr): ExtableEntry | null {
    this.context.work.searches++;
    if (this.compiledSearch !== null) return this.compiledSearch(ip);
    return this.searchKernelExceptionTable(ip) ?? this.bpf.ksyms.searchExtables(ip);
  }

  /** search_kernel_exception_table(): those of the kernel and of what is linked to it. */
  searchKernelExceptionTable(ip: VirtAddr): ExtableEntry | null {
    if (this.compiledSearchExtable !== null) return this.compiledSearchExtable(ip);
    for (const { at, table } of this.extables) {
      const entry = this.arch.searchExtable(table, at, ip);
      if (entry !== null) return entry;
    }
    return null;
  }

  /** The instruction at `ip`; null where nothing can be read. */
  instructionAt(ip: VirtAddr): Insn | null {
    const known = this.decoded.get(ip);
    if (known !== undefined) return known;
    // An instruction may end at the last mapped byte: try the longest first.
    for (const length of this.arch.linkRegister === null ? [15, 8, 4, 2, 1] : [4]) {
      const bytes = this.memory.read(ip, length);
      if (bytes === null) continue;
      const [insn] = this.disassembler.disassemble(bytes, { arch: this.arch.name, address: ip });
      this.decoded.set(ip, insn);
      return insn;
    }
    return null;
  }

  /** Code was loaded or overwritten: forgets what was derived from it. */
  codeChanged(): void {
    this.decoded.clear();
    this.orc?.clear();
    this.stackWalker.forget();
    this.bpf.trace.forgetSymbols();
    for (const cpu of this.cpus) cpu.cpu.flushCode();
  }

  /** arm64's kernel text lies in the vmalloc range: declare_kernel_vmas() keeps others out of it. */
  private reserveText(): void {
    const { text, stack } = this.layout;
    if (!this.vmalloc.isVmallocAddr(text)) return;
    // Up to the stack, less the stack's guard page.
    this.vmalloc.getVmArea(Number(stack - text) - this.pageSize, VM_NO_GUARD | VM_USERMAP, text);
  }

  private createTask(at?: VirtAddr): Task {
    const count = this.memory.pagesFor(this.stackSize);
    const area = this.vmalloc.getVmArea(count * this.pageSize, VM_USERMAP, at);
    if (area === null) throw new OutOfMemory('no addresses for the kernel stack');
    this.memory.map(area.addr, count, 'PAGE_KERNEL', this.pages.owner('kernel stack'));
    return {
      comm: 'faultline',
      pid: 1000 + this.tasks.length,
      uid: 0,
      stack: area.addr,
      stackEnd: virtAddr(area.addr + BigInt(count * this.pageSize)),
      hasMm: true,
      faulthandlerDisabled: false,
    };
  }

  /** orc_find(): what objtool says of the code, else what follows from it. */
  orcFind(ip: bigint): OrcEntry | null {
    const table = this.orcTables.find((one) => one.covers(ip));
    return table?.find(ip) ?? this.orc?.find(ip) ?? null;
  }

  private createOrc(): DerivedOrc {
    return new DerivedOrc({
      functionAt: (ip) => {
        if (this.bpf.ksyms.lookUp(virtAddr(ip)) !== null) return null;
        const symbol = this.symbols.find(virtAddr(ip));
        const { text } = this.layout;
        // The model's own functions have no code.
        if (symbol === null || (symbol.start >= text && symbol.start < text + CODE_OFFSET))
          return null;
        return { start: symbol.start, end: virtAddr(symbol.start + BigInt(symbol.size)) };
      },
      read: ({ start, end }) => this.memory.read(start, Number(end - start)),
      decode: (va): DecodedInsn | null => {
        const insn = this.instructionAt(va);
        if (insn === null) return null;
        return { length: insn.bytes.length, mnemonic: insn.mnemonic, operands: insn.operands };
      },
    });
  }
}
