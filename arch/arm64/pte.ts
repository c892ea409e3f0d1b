// Linux's view of AArch64 page-table entries: asm/pgtable-hwdef.h, asm/pgtable-prot.h and asm/pgtable.h, for kernels
// with 48-bit virtual addresses (four levels of 4K or 16K pages, three of 64K). Left out: LPA and LPA2, contiguous
// entries (mkPte never sets CONT), memory types other than MT_NORMAL, soft-dirty and protection keys.
import { FRAME_SIZE, type Pfn, type PhysAddr } from '../../emulator/address.ts';
import type { KernelConfig } from '../../mm/context.ts';
import type { Pgprot, PteFormat } from '../../mm/pte.ts';

const PTE_VALID = 1n << 0n;
/** PTE_TYPE_PAGE, PMD_TYPE_TABLE and its kin. */
const TYPE_MASK = 3n;
const TYPE_PAGE = 3n;
const TYPE_TABLE = 3n;
const PTE_RDONLY = 1n << 7n;
const PTE_SHARED = 3n << 8n;
const PTE_AF = 1n << 10n;
const PTE_NG = 1n << 11n;
/** PTE_DBM: hardware may make the page writable; to Linux, that it is writable. */
const PTE_WRITE = 1n << 51n;
const PTE_PXN = 1n << 53n;
const PTE_UXN = 1n << 54n;
/** The nG bit of an invalid entry: present to Linux, not to the walker. */
const PTE_PRESENT_INVALID = PTE_NG;
/** Every kernel table forbids EL0 to execute (pmd_populate_kernel(), PMD_TABLE_UXN, PMD_TABLE_AF). */
const TABLE_AF = 1n << 10n;
const TABLE_UXN = 1n << 60n;

// MT_NORMAL is MAIR_EL1 index 0, so that AttrIndx is 0.
const PROT_NORMAL = TYPE_PAGE | PTE_AF | PTE_SHARED | PTE_PXN | PTE_UXN | PTE_WRITE;

const PROTECTION: Readonly<Record<Pgprot, bigint>> = {
  PAGE_KERNEL: PROT_NORMAL,
  PAGE_KERNEL_RO: (PROT_NORMAL & ~PTE_WRITE) | PTE_RDONLY,
  PAGE_KERNEL_EXEC: PROT_NORMAL & ~PTE_PXN,
  PAGE_KERNEL_ROX: (PROT_NORMAL & ~(PTE_WRITE | PTE_PXN)) | PTE_RDONLY,
};

/** Shifts of the levels and width of the top one, by page size, for 48-bit addresses (VA_BITS=48). */
const LEVELS: Readonly<Record<number, Pick<PteFormat, 'pageShift' | 'shifts' | 'topBits'>>> = {
  4096: { pageShift: 12, shifts: [39, 30, 21, 12], topBits: 9 },
  16384: { pageShift: 14, shifts: [47, 36, 25, 14], topBits: 1 },
  65536: { pageShift: 16, shifts: [42, 29, 16], topBits: 6 },
};

const has = (entry: bigint, bits: bigint): boolean => (entry & bits) !== 0n;
const none = (entry: bigint): boolean => entry === 0n;
/**
 * pte_present(): PTE_VALID, or PTE_PRESENT_INVALID without it.
 * @kernel pte_present arch/arm64/include/asm/pgtable.h read
 */
const present = (entry: bigint): boolean => has(entry, PTE_VALID | PTE_PRESENT_INVALID);
/** @kernel pmd_table arch/arm64/include/asm/pgtable.h read */
const table = (entry: bigint): boolean => (entry & TYPE_MASK) === TYPE_TABLE;
/** @kernel pmd_leaf arch/arm64/include/asm/pgtable.h read */
const leaf = (entry: bigint): boolean => present(entry) && !table(entry);

/**
 * The format of a kernel with this configuration: the page size makes the levels, PTI adds nG to every page, and only
 * CONFIG_ARM64_CONTPTE has a ptep_try_set().
 * @throws RangeError for a page size other than 4096, 16384 or 65536
 */
export function arm64PteFormat(
  config: Pick<KernelConfig, 'pageSize' | 'pti' | 'contpte'>,
): PteFormat {
  const levels = LEVELS[config.pageSize];
  if (levels === undefined) throw new RangeError(`no arm64 page size: ${config.pageSize}`);
  // PTE_ADDR_LOW: bits 47:PAGE_SHIFT.
  const addressMask = (1n << 48n) - (1n << BigInt(levels.pageShift));
  // PTE_MAYBE_NG
  const maybeNg = config.pti ? PTE_NG : 0n;
  return {
    ...levels,
    hasPtepTrySet: config.contpte,
    pteNone: none,
    ptePresent: present,
    pteWrite: (entry) => has(entry, PTE_WRITE),
    // What EL1 may execute; pte_user_exec() asks for UXN.
    pteExec: (entry) => !has(entry, PTE_PXN),
    ptePfn: (entry) => Number((entry & addressMask) / BigInt(FRAME_SIZE)) as Pfn,
    mkPte: (pfn, prot) => (BigInt(pfn) * BigInt(FRAME_SIZE)) | PROTECTION[prot] | maybeNg,
    mkTable: (pa) => BigInt(pa) | TYPE_TABLE | TABLE_AF | TABLE_UXN,
    tableNone: none,
    tableLeaf: leaf,
    // pmd_bad()
    tableBad: (entry) => !none(entry) && !leaf(entry) && !table(entry),
    tableAddr: (entry) => Number(entry & addressMask) as PhysAddr,
  };
}
