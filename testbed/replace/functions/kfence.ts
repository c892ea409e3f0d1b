// Functions of mm/kfence/.
import type { Replaceable } from './replaceable.ts';

const CORE = 'mm/kfence/core.c';
const REPORT = 'mm/kfence/report.c';
const METADATA = ['kfence_metadata'];

export const KFENCE_FUNCTIONS = {
  kfence_handle_page_fault: {
    source: CORE,
    prototype:
      'bool kfence_handle_page_fault(unsigned long addr, bool is_write, struct pt_regs *regs)',
    structs: METADATA,
  },
  kfence_protect: {
    source: CORE,
    prototype: 'bool kfence_protect(unsigned long addr)',
    structs: [],
  },
  kfence_unprotect: {
    source: CORE,
    prototype: 'bool kfence_unprotect(unsigned long addr)',
    structs: [],
  },
  kfence_guarded_alloc: {
    source: CORE,
    prototype:
      'void *kfence_guarded_alloc(struct kmem_cache *cache, size_t size, gfp_t gfp, unsigned long *stack_entries, size_t num_stack_entries, u32 alloc_stack_hash)',
    structs: ['kfence_metadata', 'kmem_cache'],
  },
  kfence_guarded_free: {
    source: CORE,
    prototype: 'void kfence_guarded_free(void *addr, struct kfence_metadata *meta, bool zombie)',
    structs: METADATA,
  },
  __kfence_free: {
    source: CORE,
    prototype: 'void __kfence_free(void *addr)',
    structs: METADATA,
  },
  kfence_report_error: {
    source: REPORT,
    prototype:
      'void kfence_report_error(unsigned long address, bool is_write, struct pt_regs *regs, const struct kfence_metadata *meta, enum kfence_error_type type)',
    structs: METADATA,
  },
  kfence_print_object: {
    source: REPORT,
    prototype: 'void kfence_print_object(struct seq_file *seq, const struct kfence_metadata *meta)',
    structs: METADATA,
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
