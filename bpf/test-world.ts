// A small kernel for the tests of this floor: RAM, page tables of a real format, vmalloc, a stack given as a list of
// return addresses, and TLBs that are logs.
import { arm64PteFormat } from '../arch/arm64/pte.ts';
import { x86PteFormat } from '../arch/x86/pte.ts';
import { pfnToPhys, type VirtAddr, virtAddr } from '../emulator/address.ts';
import { type Event, EventSink } from '../emulator/events.ts';
import { Ram } from '../emulator/ram.ts';
import { finish, type KernelConfig, KernelContext } from '../mm/context.ts';
import { InitMm } from '../mm/init-mm.ts';
import { PageAllocator } from '../mm/page-alloc.ts';
import type { PteFormat } from '../mm/pte.ts';
import { Vmalloc } from '../mm/vmalloc.ts';
import {
  type ArenaAttr,
  type ArenaWishes,
  arenaMapAlloc,
  BPF_F_MMAPABLE,
  BpfArena,
} from './arena.ts';
import { bpfArenaHandlePageFault } from './arena-fault.ts';
import { type BpfContext, createBpf } from './context.ts';
import { BpfProg } from './prog.ts';
import { BPF_STDERR, bpfProgStreamRead } from './stream.ts';

export type Arch = 'x86_64' | 'arm64';
export type Series = 'v2' | 'mainline';
export const ARCHES: readonly Arch[] = ['x86_64', 'arm64'];
export const SERIES: readonly Series[] = ['v2', 'mainline'];
export const BOTH = ARCHES.flatMap((arch) => SERIES.map((series) => ({ arch, series })));

/** kern_vm_start, scratch PTE and vmalloc range of the numbered scenarios (T1 and on). */
export const FACTS = {
  x86_64: {
    kbase: 0xffffc90001e69000n,
    scratchPte: 0x8000000001234163n,
    vmalloc: [0xffffc90000000000n, 0xffffe90000000000n],
  },
  arm64: {
    kbase: 0xffff800081008000n,
    scratchPte: 0x0068000001234703n,
    vmalloc: [0xffff800080000000n, 0xfffffdffbfff0000n],
  },
} as const;
export const SCRATCH_PFN = 0x1234;

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

/** Arena A of the scenarios: 1000 pages at 0x7f7d26200000. */
export const A: ArenaAttr = {
  maxEntries: 1000,
  mapFlags: BPF_F_MMAPABLE,
  mapExtra: 0x7f7d26200000n,
};
/** Arena B: the full 4 GiB. */
export const B: ArenaAttr = {
  maxEntries: 0x100000,
  mapFlags: BPF_F_MMAPABLE,
  mapExtra: 0x7f7e00000000n,
};

export interface World {
  readonly kernel: KernelContext;
  readonly ram: Ram;
  readonly pages: PageAllocator;
  readonly mm: InitMm;
  readonly vmalloc: Vmalloc;
  readonly bpf: BpfContext;
  readonly format: PteFormat;
  /** Return addresses, innermost first. */
  stack: VirtAddr[];
  /** Flushes that reached the TLBs: "range start end", "before addr". */
  readonly flushes: string[];
  task: { comm: string; pid: number; uid: number };
}

export function createWorld(
  arch: Arch,
  config: Partial<KernelConfig> = {},
  ramSize = 64 << 20,
): World {
  const kernel = new KernelContext(new EventSink(), { ...CONFIG, ...config });
  const ram = new Ram(0, ramSize);
  const pages = new PageAllocator(kernel, ram, 0x100, ramSize / 4096 - 0x100);
  const format = arch === 'x86_64' ? x86PteFormat(kernel.config) : arm64PteFormat(kernel.config);
  const mm = new InitMm({ kernel, ram, pages, format });
  const flushes: string[] = [];
  const tlb = {
    flushKernelRange: (start: VirtAddr, end: VirtAddr) =>
      void flushes.push(`range ${start.toString(16)} ${end.toString(16)}`),
    flushBeforeSet: (addr: VirtAddr) => void flushes.push(`before ${addr.toString(16)}`),
    flushOneKernel: (addr: VirtAddr) => void flushes.push(`one ${addr.toString(16)}`),
  };
  const [start, end] = FACTS[arch].vmalloc;
  const vmalloc = new Vmalloc(mm, tlb, virtAddr(start), virtAddr(end));
  const world: World = {
    kernel,
    ram,
    pages,
    mm,
    vmalloc,
    format,
    flushes,
    stack: [],
    task: { comm: 'test', pid: 42, uid: 0 },
    bpf: createBpf({
      kernel,
      ram,
      pages,
      mm,
      tlb,
      vmalloc,
      stackWalk: () => [...world.stack],
      stackFrames: () => world.stack.map((ip) => ({ ip, sp: 0n, bp: 0n })),
      formatSymbol: (ip) => `sym_${ip.toString(16)}`,
      current: () => world.task,
    }),
  };
  return world;
}

/** An arena that must come into being. */
export function createArena(world: World, attr: ArenaAttr, wishes: ArenaWishes = {}): BpfArena {
  const arena = arenaMapAlloc(world.bpf, attr, wishes);
  if (!(arena instanceof BpfArena)) throw new Error(`arena_map_alloc: ${arena}`);
  return arena;
}

/** The arena at the scenarios' address with their scratch frame. */
export function createArenaAt(world: World, arch: Arch, attr: ArenaAttr): BpfArena {
  const kernVmStart = virtAddr(FACTS[arch].kbase);
  return createArena(world, attr, { kernVmStart, scratchPfn: SCRATCH_PFN });
}

let images = 0;

/** A program with an image of 0x100 bytes, its return address in the middle. */
export function loadProg(world: World, arena: BpfArena | null, name = 'prog', main?: BpfProg) {
  const prog = new BpfProg(name, arena, main);
  const start = virtAddr(0xffffffffc0000000n + BigInt(images++ % 0x1000) * 0x1000n);
  const ksym = { name: `bpf_prog_${name}`, start, end: virtAddr(start + 0x100n), prog };
  world.bpf.ksyms.add(ksym);
  return { prog, ksym, ip: virtAddr(start + 0x80n) };
}

/** A kernel text address for C frames. */
export const KERNEL_IP = virtAddr(0xffffffff81000100n);

/** What the fault path does for an absent page, up to the handler's answer. */
export function kernelFault(world: World, addr: bigint, isWrite: boolean): boolean {
  return finish(bpfArenaHandlePageFault(world.bpf, virtAddr(addr), isWrite, KERNEL_IP));
}

/** A kernel access as the CPU and the fault path make it. @returns the byte, or null for an oops */
export function kernelAccess(world: World, addr: bigint, write: number | null): number | null {
  for (let tries = 0; tries < 3; tries++) {
    const pa = translate(world, addr);
    if (pa !== null) {
      if (write !== null) world.ram.write(pa, Uint8Array.of(write));
      return Number(world.ram.readUint(pa, 1));
    }
    if (!kernelFault(world, addr, write !== null)) return null;
  }
  throw new Error('the access does not complete');
}

/** Physical address behind a kernel address, or null. */
export function translate(world: World, addr: bigint): number | null {
  const pfn = world.mm.vmallocToPage(virtAddr(addr));
  return pfn < 0 ? null : pfnToPhys(pfn as never) + Number(addr % BigInt(world.mm.pageSize));
}

/** The PTE of a kernel address; 0 where there is no table. */
export function pteAt(world: World, addr: bigint): bigint {
  const ptep = world.mm.ptepOffset(virtAddr(addr));
  return ptep === null ? 0n : world.ram.read64(ptep);
}

/** Reads a program's stderr stream to its end. */
export function readStderr(world: World, prog: BpfProg, length = 1 << 20): string {
  const read = bpfProgStreamRead(world.kernel, prog, BPF_STDERR, length);
  if (typeof read === 'number') throw new Error(`stream read: ${read}`);
  return new TextDecoder().decode(read);
}

/** Records events of the given types from now on. */
export function record<T extends Event['type']>(
  world: World,
  type: T,
): Extract<Event, { type: T }>[] {
  const events: Extract<Event, { type: T }>[] = [];
  world.kernel.events.read((event) => {
    if (event.type === type) events.push(event as Extract<Event, { type: T }>);
  });
  return events;
}
