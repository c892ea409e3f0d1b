// The kernel's view of page-table entries: predicates and constructors that an architecture provides (`arch/*/pte.ts`),
// and the accessors through which every PTE change of the kernel model goes. In the model each accessor is atomic: no
// other vCPU runs between its read and its write.
import type { Pfn, PhysAddr, VirtAddr } from '../emulator/address.ts';
import type { Ram } from '../emulator/ram.ts';
import { type Activity, CHANGED, type KernelContext, LOOKED } from './context.ts';

/** Protection of a kernel mapping, by the kernel's names. */
export type Pgprot = 'PAGE_KERNEL' | 'PAGE_KERNEL_RO' | 'PAGE_KERNEL_EXEC' | 'PAGE_KERNEL_ROX';

/** The architecture's page-table entries as Linux uses them (pgtable_types.h, pgtable-hwdef.h). */
export interface PteFormat {
  /** log2 of the kernel's page size: 12, 14 or 16. */
  readonly pageShift: number;
  /** Index shifts of the kernel's levels from the top to the PTE: [39, 30, 21, 12] for 4 levels of 4 KiB pages. */
  readonly shifts: readonly number[];
  /** Index width of the top level; the others have pageShift - 3 bits. */
  readonly topBits: number;
  /** True if ptep_try_set is defined for the architecture and configuration (arm64: only with CONFIG_ARM64_CONTPTE). */
  readonly hasPtepTrySet: boolean;

  pteNone(entry: bigint): boolean;
  ptePresent(entry: bigint): boolean;
  pteWrite(entry: bigint): boolean;
  pteExec(entry: bigint): boolean;
  /** Frame of a present entry, in 4 KiB frames whatever the page size. */
  ptePfn(entry: bigint): Pfn;
  mkPte(pfn: Pfn, prot: Pgprot): bigint;
  /** Entry of an upper level (pgd to pmd) that names a table. */
  mkTable(table: PhysAddr): bigint;
  /** At an upper level: nothing there. */
  tableNone(entry: bigint): boolean;
  /** At an upper level: a huge page or block. */
  tableLeaf(entry: bigint): boolean;
  /** At an upper level: neither none, leaf nor a well-formed table. */
  tableBad(entry: bigint): boolean;
  /** Table that an upper-level entry names. */
  tableAddr(entry: bigint): PhysAddr;
}

/** A pointer to a PTE: the physical address of the entry. */
export type Ptep = PhysAddr;

/** @kernel ptep_get include/linux/pgtable.h read */
export function ptepGet(context: KernelContext, ram: Ram, ptep: Ptep): bigint {
  context.access?.word(ptep, LOOKED);
  context.tables?.observed(ptep);
  return ram.read64(ptep);
}

/**
 * set_pte_at(&init_mm, addr, ptep, pte)
 * @kernel set_pte_at include/linux/pgtable.h read
 */
export function setPteAt(
  context: KernelContext,
  ram: Ram,
  addr: VirtAddr,
  ptep: Ptep,
  pte: bigint,
): void {
  change(context, ram, addr, ptep, pte, 'set_pte_at');
}

/**
 * ptep_get_and_clear(&init_mm, addr, ptep): an atomic exchange with 0. @returns the old entry
 * @kernel ptep_get_and_clear include/linux/pgtable.h read - contiguous entries are not modelled
 */
export function ptepGetAndClear(
  context: KernelContext,
  ram: Ram,
  addr: VirtAddr,
  ptep: Ptep,
): bigint {
  return change(context, ram, addr, ptep, 0n, 'ptep_get_and_clear');
}

/**
 * ptep_try_set(ptep, pte): an atomic compare-and-exchange from exactly 0. The generic version, where the architecture
 * defines none, never installs.
 * @returns true if the entry was 0 and now is `pte`
 * @kernel ptep_try_set include/linux/pgtable.h read - arm64 with CONFIG_ARM64_CONTPTE only; barriers by emitPteBarriers()
 */
export function ptepTrySet(
  context: KernelContext,
  ram: Ram,
  format: PteFormat,
  addr: VirtAddr,
  ptep: Ptep,
  pte: bigint,
): boolean {
  if (!format.hasPtepTrySet) return false;
  context.access?.word(ptep, LOOKED);
  context.tables?.observed(ptep);
  if (ram.read64(ptep) !== 0n) return false;
  context.access?.word(ptep, CHANGED);
  ram.write64(ptep, pte);
  context.tables?.stored(ptep, 0n, pte, true);
  if (context.events.on) tell(context, addr, 0n, pte, 'ptep_try_set');
  return true;
}

/**
 * dsb(ishst); isb: what arm64's set_pte_at() ends with for a valid kernel entry, at the end of a walk in lazy MMU mode; what
 * mainline's ptep_try_set() does as well, and the one of the patch as posted does not. Nothing where nobody can tell.
 */
export function* emitPteBarriers(context: KernelContext): Activity<void> {
  if (context.tables === null) return;
  if (context.stepping) yield { kind: 'pte', what: 'dsb(ishst); isb' };
  context.tables?.dsb('st');
  context.tables?.synchronized();
}

function change(
  context: KernelContext,
  ram: Ram,
  va: VirtAddr,
  ptep: Ptep,
  after: bigint,
  by: string,
): bigint {
  context.access?.word(ptep, LOOKED | CHANGED);
  const before = ram.read64(ptep);
  ram.write64(ptep, after);
  context.tables?.stored(ptep, before, after, false);
  if (context.events.on) tell(context, va, before, after, by);
  return before;
}

function tell(
  context: KernelContext,
  va: VirtAddr,
  before: bigint,
  after: bigint,
  by: string,
): void {
  context.events.emit({ type: 'pteChange', cpu: context.cpu, va, before, after, by });
}
