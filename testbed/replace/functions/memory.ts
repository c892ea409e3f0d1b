// Functions of mm/: page tables and pages.
import type { Replaceable } from './replaceable.ts';

const MEMORY = 'mm/memory.c';
const WALK =
  '(struct mm_struct *mm, unsigned long addr, unsigned long size, pte_fn_t fn, void *data)';

export const MEMORY_FUNCTIONS = {
  apply_to_page_range: {
    source: MEMORY,
    prototype: `int apply_to_page_range${WALK}`,
    structs: ['mm_struct'],
  },
  apply_to_existing_page_range: {
    source: MEMORY,
    prototype: `int apply_to_existing_page_range${WALK}`,
    structs: ['mm_struct'],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
