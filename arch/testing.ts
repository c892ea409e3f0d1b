// A kernel around a fault path, for the tests of both architectures: RAM, real page tables and paging unit, a text page,
// a task with a mapped stack, symbols and recorded events. What the testbed wires from its parts is faked by lists.
import { type PhysAddr, type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hi32, lo32 } from '../emulator/bits.ts';
import { READ } from '../emulator/engine.ts';
import { type AccessName, type Event, EventSink } from '../emulator/events.ts';
import { Ram } from '../emulator/ram.ts';
import { type Activity, finish, type KernelConfig, KernelContext } from '../mm/context.ts';
import { InitMm } from '../mm/init-mm.ts';
import { PageAllocator } from '../mm/page-alloc.ts';
import { type Pgprot, type Ptep, setPteAt } from '../mm/pte.ts';
import type {
  ExtableEntry,
  FaultContext,
  FaultOutcome,
  FaultPath,
  KernelLayout,
  PtRegs,
  Recoverer,
} from './arch.ts';
import { arm64Layout } from './arm64/layout.ts';
import { Arm64Paging } from './arm64/paging.ts';
import { linuxPagingState as arm64State } from './arm64/paging-state.ts';
import { arm64PteFormat } from './arm64/pte.ts';
import { x86Layout } from './x86/layout.ts';
import { X86Paging } from './x86/paging.ts';
import { linuxPagingState as x86State } from './x86/paging-state.ts';
import { x86PteFormat } from './x86/pte.ts';

const CONFIG: KernelConfig = {
  series: 'mainline',
  pageSize: 4096,
  la57: false,
  pti: false,
  contpte: true,
  unwinder: 'orc',
  hafdbs: false,
  bpfSyscall: true,
};

const STACK_SIZE = 0x4000;
const RAM_SIZE = 16 << 20;

/** What a fake recoverer was asked: "kfence write ffff..." */
export type Asked = string[];

/** A recoverer that answers `handled` to every question, after an optional repair. */
export function fakeRecoverer(
  asked: Asked,
  resolution: Recoverer['resolution'],
  handled: boolean,
  repair: (addr: VirtAddr) => void = () => {},
): Recoverer {
  return {
    fn: resolution === 'kfence' ? 'kfence_handle_page_fault' : 'bpf_arena_handle_page_fault',
    resolution,
    *handlePageFault(addr, isWrite): Activity<boolean> {
      yield* [];
      asked.push(`${resolution} ${isWrite ? 'write' : 'read'} ${addr.toString(16)}`);
      if (handled) repair(addr);
      return handled;
    },
  };
}

/** Everything of a {@link FaultContext} that a test may give otherwise. */
export type Change = Partial<
  Pick<FaultContext, 'recoverers' | 'orc' | 'kernelTextAddress' | 'isVmallocAddr'>
> & {
  readonly config?: Partial<KernelConfig>;
  readonly task?: Partial<FaultContext['current']>;
};

export class TestKernel {
  readonly kernel: KernelContext;
  readonly ram = new Ram(0, RAM_SIZE);
  readonly mm: InitMm;
  readonly layout: KernelLayout;
  readonly context: FaultContext;
  readonly events: Event[] = [];
  readonly extable = new Map<bigint, ExtableEntry>();
  /** What ex_handler_bpf reported: "read 7f00 at ffff..." */
  readonly violations: string[] = [];
  readonly symbols: { readonly name: string; readonly start: bigint; readonly size: number }[] = [];

  constructor(arch: 'x86_64' | 'arm64', change: Change = {}) {
    const config = { ...CONFIG, ...change.config };
    const events = new EventSink();
    events.read((event) => this.events.push(event));
    this.kernel = new KernelContext(events, config);
    const pages = new PageAllocator(this.kernel, this.ram, 0x200, RAM_SIZE / 4096 - 0x200);
    const format = arch === 'x86_64' ? x86PteFormat(config) : arm64PteFormat(config);
    this.mm = new InitMm({ kernel: this.kernel, ram: this.ram, pages, format });
    this.layout = arch === 'x86_64' ? x86Layout(config) : arm64Layout(config);
    const { text, stack, vmallocStart, vmallocEnd } = this.layout;
    const root = this.mm.swapperPgDir;
    const paging =
      arch === 'x86_64'
        ? new X86Paging(this.ram, x86State(BigInt(root), config.la57))
        : new Arm64Paging(this.ram, arm64State(root, config));
    const current = {
      comm: 'test',
      pid: 42,
      uid: 0,
      stack,
      stackEnd: virtAddr(stack + BigInt(STACK_SIZE)),
      hasMm: true,
      faulthandlerDisabled: false,
      ...change.task,
    };
    this.context = {
      kernel: this.kernel,
      ram: this.ram,
      paging,
      pte: format,
      swapperPgDir: root,
      recoverers: change.recoverers ?? [],
      current,
      compiled: null,
      orc: change.orc ?? null,
      searchExceptionTables: (ip) => this.extable.get(ip) ?? null,
      reportArenaViolation: (isWrite, addr, ip) => this.violation(isWrite, addr, ip),
      addressTranslate: (va) =>
        paging.walk(hi32(va), lo32(va), READ, false) ? null : paging.faultCode,
      formatSymbol: (ip) => this.formatSymbol(ip),
      readMemory: (va, length) => this.readMemory(va, length),
      readWord: (va) => this.readWord(va),
      kernelTextAddress:
        change.kernelTextAddress ?? ((ip) => this.symbols.some((s) => inside(s, ip))),
      isVmallocAddr: change.isVmallocAddr ?? ((addr) => addr >= vmallocStart && addr < vmallocEnd),
    };
    this.map(text, 1, 'PAGE_KERNEL_ROX');
    this.map(stack, Math.ceil(STACK_SIZE / config.pageSize), 'PAGE_KERNEL');
    this.symbols.push({ name: 'code', start: text, size: 0x1000 });
    this.events.length = 0;
  }

  /** Maps fresh pages. @returns physical address of the first */
  map(va: VirtAddr, count: number, prot: Pgprot): PhysAddr {
    const { mm } = this;
    const owner = mm.pages.owner('test');
    const first = Array.from({ length: count }, () => mm.pages.allocPage(owner)).sort(
      (a, b) => a - b,
    )[0];
    if (mm.mapRange(va, first as never, count, prot) !== 0) throw new Error('out of pages');
    return (first * 4096) as PhysAddr;
  }

  /** Sets the PTE of `va` raw; makes the tables above it. */
  setPte(va: VirtAddr, pte: bigint): void {
    setPteAt(this.kernel, this.ram, va, this.mm.ptepAlloc(va) as Ptep, pte);
  }

  /** Writes bytes or an 8-byte word at a mapped virtual address. */
  write(va: bigint, data: Uint8Array | bigint): void {
    const pa = this.physical(va);
    if (pa === null) throw new Error(`not mapped: ${va.toString(16)}`);
    if (typeof data === 'bigint') this.ram.write64(pa, data);
    else this.ram.write(pa, data);
  }

  /** Names of the kernel functions entered, in order. */
  calls(): string[] {
    return this.events.flatMap((event) => (event.type === 'call' ? [event.fn] : []));
  }

  /** Runs a path to its end. */
  run(path: FaultPath): FaultOutcome {
    return finish(path);
  }

  private physical(va: bigint): PhysAddr | null {
    const pfn = this.mm.vmallocToPage(virtAddr(va));
    if (pfn < 0) return null;
    return (pfn * 4096 + Number(va & BigInt(this.mm.pageSize - 1))) as PhysAddr;
  }

  private readWord(va: bigint): bigint | null {
    const pa = this.physical(va);
    return pa === null ? null : this.ram.read64(pa);
  }

  private readMemory(va: VirtAddr, length: number): Uint8Array | null {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      const pa = this.physical(va + BigInt(i));
      if (pa === null) return null;
      bytes[i] = this.ram.bytes[pa];
    }
    return bytes;
  }

  private formatSymbol(ip: bigint): string {
    const symbol = this.symbols.findLast((s) => inside(s, ip));
    if (symbol === undefined) return `0x${ip.toString(16)}`;
    return `${symbol.name}+0x${(ip - symbol.start).toString(16)}/0x${symbol.size.toString(16)}`;
  }

  private *violation(isWrite: boolean, addr: VirtAddr, ip: VirtAddr): Activity<void> {
    yield* [];
    this.violations.push(
      `${isWrite ? 'write' : 'read'} ${addr.toString(16)} at ${ip.toString(16)}`,
    );
  }
}

const inside = (symbol: { readonly start: bigint; readonly size: number }, ip: bigint): boolean =>
  ip >= symbol.start && ip < symbol.start + BigInt(symbol.size);

/** A fault as hardware reports it. */
export const fault = (addr: bigint, code: bigint, access: AccessName = 'read') => ({
  addr: virtAddr(addr),
  access,
  code,
});

/** Sets several registers by name. */
export function setRegs(regs: PtRegs, values: Readonly<Record<string, bigint>>): void {
  for (const [name, value] of Object.entries(values)) regs.set(name, value);
}
