// Linux's view of x86-64 page-table entries: asm/pgtable.h and asm/pgtable_types.h. Left out: shadow-stack pages
// (SAVED_DIRTY), soft-dirty and memory encryption.
import type { Pfn, PhysAddr } from '../../emulator/address.ts';
import { FRAME_SIZE } from '../../emulator/address.ts';
import type { KernelConfig } from '../../mm/context.ts';
import type { Pgprot, PteFormat } from '../../mm/pte.ts';

const PAGE_PRESENT = 1n << 0n;
const PAGE_RW = 1n << 1n;
const PAGE_USER = 1n << 2n;
const PAGE_ACCESSED = 1n << 5n;
const PAGE_DIRTY = 1n << 6n;
const PAGE_PSE = 1n << 7n;
const PAGE_GLOBAL = 1n << 8n;
/** The same bit as GLOBAL, in entries without PRESENT. */
const PAGE_PROTNONE = PAGE_GLOBAL;
const PAGE_NX = 1n << 63n;

/** Bits that some CPUs may set in entries they should leave alone (_PAGE_KNL_ERRATUM_MASK). */
const PAGE_KNL_ERRATUM_MASK = PAGE_DIRTY | PAGE_ACCESSED;
const KERNPG_TABLE = PAGE_PRESENT | PAGE_RW | PAGE_ACCESSED | PAGE_DIRTY;
/** PTE_PFN_MASK: bits 51:12. */
const PFN_MASK = 0x000f_ffff_ffff_f000n;

// __PAGE_KERNEL and its kin. Since shadow stacks, a read-only entry is never made dirty.
const PROTECTION: Readonly<Record<Pgprot, bigint>> = {
  PAGE_KERNEL: PAGE_PRESENT | PAGE_RW | PAGE_ACCESSED | PAGE_DIRTY | PAGE_GLOBAL | PAGE_NX,
  PAGE_KERNEL_RO: PAGE_PRESENT | PAGE_ACCESSED | PAGE_GLOBAL | PAGE_NX,
  PAGE_KERNEL_EXEC: PAGE_PRESENT | PAGE_RW | PAGE_ACCESSED | PAGE_DIRTY | PAGE_GLOBAL,
  PAGE_KERNEL_ROX: PAGE_PRESENT | PAGE_ACCESSED | PAGE_GLOBAL,
};

/**
 * pte_pfn(): absent entries hold their frame inverted, against L1TF; one of 0 does not.
 * @kernel pte_pfn arch/x86/include/asm/pgtable.h read
 */
function ptePfn(entry: bigint): Pfn {
  const inverted = (entry & PAGE_PRESENT) === 0n && entry !== 0n;
  return Number(((inverted ? ~entry : entry) & PFN_MASK) / BigInt(FRAME_SIZE)) as Pfn;
}

const has = (entry: bigint, bits: bigint): boolean => (entry & bits) !== 0n;
/**
 * pte_none(), pmd_none(), pud_none(), ...
 * @kernel pte_none, pmd_none, pud_none arch/x86/include/asm/pgtable.h read
 */
const none = (entry: bigint): boolean => (entry & ~PAGE_KNL_ERRATUM_MASK) === 0n;
/** @kernel pmd_leaf arch/x86/include/asm/pgtable.h read */
const leaf = (entry: bigint): boolean => has(entry, PAGE_PSE);

/** The format of a kernel with this configuration: LA57 adds a level, PTI takes the global bit away. */
export function x86PteFormat(config: Pick<KernelConfig, 'la57' | 'pti'>): PteFormat {
  const supported = config.pti ? ~PAGE_GLOBAL : -1n;
  return {
    pageShift: 12,
    shifts: config.la57 ? [48, 39, 30, 21, 12] : [39, 30, 21, 12],
    topBits: 9,
    hasPtepTrySet: true,
    pteNone: none,
    ptePresent: (entry) => has(entry, PAGE_PRESENT | PAGE_PROTNONE),
    pteWrite: (entry) => has(entry, PAGE_RW),
    pteExec: (entry) => !has(entry, PAGE_NX),
    ptePfn,
    mkPte: (pfn, prot) => (BigInt(pfn) * BigInt(FRAME_SIZE)) | (PROTECTION[prot] & supported),
    mkTable: (table) => BigInt(table) | KERNPG_TABLE,
    tableNone: none,
    tableLeaf: leaf,
    // pmd_bad(), the strictest of them: any flag beyond those of a kernel or user table.
    tableBad: (entry) =>
      !none(entry) &&
      !leaf(entry) &&
      (entry & ~PFN_MASK & ~(PAGE_USER | PAGE_ACCESSED)) !== (KERNPG_TABLE & ~PAGE_ACCESSED),
    tableAddr: (entry) => Number(entry & PFN_MASK) as PhysAddr,
  };
}
