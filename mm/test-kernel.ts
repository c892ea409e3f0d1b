// Memory of a small kernel for the tests of this floor: RAM, allocator and page tables in a format of our own (bit 0
// present, bit 1 a huge page, frame from bit 12), since this floor knows no architecture.
import type { Pfn, PhysAddr } from '../emulator/address.ts';
import { EventSink } from '../emulator/events.ts';
import { Ram } from '../emulator/ram.ts';
import { type KernelConfig, KernelContext } from './context.ts';
import { InitMm } from './init-mm.ts';
import { PageAllocator } from './page-alloc.ts';
import type { PteFormat } from './pte.ts';

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

const TABLE = 0x801n;
const HUGE = 0x2n;
const frame = (entry: bigint): number => Number((entry >> 12n) & 0xff_ffff_ffffn);

/** An entry for tests: a huge page, and one that is malformed. */
export const HUGE_ENTRY = 0x20_0003n;
export const BAD_ENTRY = 0x20_0401n;

function toyFormat(pageSize: number): PteFormat {
  const pageShift = Math.log2(pageSize);
  const bits = pageShift - 3;
  const shifts = [3, 2, 1, 0].map((level) => pageShift + level * bits).filter((s) => s < 48);
  return {
    pageShift,
    shifts,
    topBits: Math.min(bits, 48 - shifts[0]),
    hasPtepTrySet: true,
    // Bit 6 is a dirty bit that a none entry may hold.
    pteNone: (entry) => (entry & ~0x40n) === 0n,
    ptePresent: (entry) => (entry & 1n) !== 0n,
    pteWrite: () => true,
    pteExec: () => false,
    ptePfn: (entry) => frame(entry) as Pfn,
    mkPte: (pfn) => (BigInt(pfn) << 12n) | 1n,
    mkTable: (table) => BigInt(table) | TABLE,
    tableNone: (entry) => entry === 0n,
    tableLeaf: (entry) => (entry & HUGE) !== 0n,
    tableBad: (entry) => entry !== 0n && (entry & 0xfffn) !== TABLE,
    tableAddr: (entry) => (frame(entry) * 4096) as PhysAddr,
  };
}

export interface TestMemory {
  readonly kernel: KernelContext;
  readonly ram: Ram;
  readonly pages: PageAllocator;
  readonly mm: InitMm;
}

export function createMemory(pageSize = 4096, ramSize = 32 << 20): TestMemory {
  const kernel = new KernelContext(new EventSink(), { ...CONFIG, pageSize });
  const ram = new Ram(0, ramSize);
  const pages = new PageAllocator(kernel, ram, 16, ramSize / 4096 - 16);
  return {
    kernel,
    ram,
    pages,
    mm: new InitMm({ kernel, ram, pages, format: toyFormat(pageSize) }),
  };
}
