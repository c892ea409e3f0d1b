// Accessors of page-table entries.
import type { Replaceable } from './replaceable.ts';

const PGTABLE = 'include/linux/pgtable.h';

export const PGTABLE_FUNCTIONS = {
  ptep_try_set: {
    source: PGTABLE,
    prototype: 'bool ptep_try_set(pte_t *ptep, pte_t new_pte)',
    structs: [],
  },
  ptep_get_and_clear: {
    source: PGTABLE,
    prototype: 'pte_t ptep_get_and_clear(struct mm_struct *mm, unsigned long addr, pte_t *ptep)',
    structs: [],
  },
  set_pte_at: {
    source: PGTABLE,
    prototype: 'void set_pte_at(struct mm_struct *mm, unsigned long addr, pte_t *ptep, pte_t pte)',
    structs: [],
  },
  flush_tlb_before_set: {
    source: PGTABLE,
    prototype: 'void flush_tlb_before_set(unsigned long addr)',
    structs: [],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
