// The entries on the way to an address in a page table, as the kernel itself looks them up (pgd_offset() to
// pte_offset_kernel()): with its own predicates, without access rights and without side effects. The hardware's walk is
// arch/*/paging.ts.
import type { PhysAddr, VirtAddr } from '../emulator/address.ts';
import { hi32, lo32 } from '../emulator/bits.ts';
import { indexAt } from '../mm/walk.ts';
import type { FaultContext } from './arch.ts';

/** One entry on the way, from the top level down. */
export interface TableEntry {
  /** Levels above the PTE: 0 is the PTE itself, 1 the PMD, and so on. */
  readonly height: number;
  /** Where it lies. */
  readonly at: PhysAddr;
  /** The entry, or null if its table lies outside RAM. */
  readonly value: bigint | null;
}

/**
 * Entries for `addr`, top first.
 * @param root physical address of the top-level table: swapperPgDir for init_mm
 * @param descend the kernel's condition, at levels above the PTE, for looking at the next table
 * @returns at least one entry; the last is a PTE, one where `descend` said no, or one outside RAM
 */
export function tableEntries(
  context: FaultContext,
  root: PhysAddr,
  addr: VirtAddr,
  descend: (entry: bigint) => boolean,
): TableEntry[] {
  const { ram, pte } = context;
  const hi = hi32(addr);
  const lo = lo32(addr);
  const entries: TableEntry[] = [];
  let table = root;
  for (let level = 0; ; level++) {
    const bits = level === 0 ? pte.topBits : pte.pageShift - 3;
    const at = table + indexAt(hi, lo, pte.shifts[level], bits) * 8;
    const height = pte.shifts.length - 1 - level;
    const value = ram.contains(at, 8) ? ram.read64(at) : null;
    entries.push({ height, at: at as PhysAddr, value });
    if (value === null || height === 0 || !descend(value)) return entries;
    table = pte.tableAddr(value);
  }
}
