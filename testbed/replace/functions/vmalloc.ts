// Functions of mm/vmalloc.c, TLB flushes, and the allocation of BPF's pages.
import type { Replaceable } from './replaceable.ts';

const VMALLOC = 'mm/vmalloc.c';

export const VMALLOC_FUNCTIONS = {
  vmalloc_to_page: {
    source: VMALLOC,
    prototype: 'struct page *vmalloc_to_page(const void *addr)',
    structs: ['page'],
  },
  is_vmalloc_addr: {
    source: VMALLOC,
    prototype: 'bool is_vmalloc_addr(const void *x)',
    structs: [],
  },
  get_vm_area: {
    source: VMALLOC,
    prototype: 'struct vm_struct *get_vm_area(unsigned long size, unsigned long flags)',
    structs: [],
  },
  free_vm_area: {
    source: VMALLOC,
    prototype: 'void free_vm_area(struct vm_struct *area)',
    structs: ['vm_struct'],
  },
  flush_tlb_kernel_range: {
    source: 'arch/x86/mm/tlb.c',
    prototype: 'void flush_tlb_kernel_range(unsigned long start, unsigned long end)',
    structs: [],
  },
  flush_tlb_one_kernel: {
    source: 'arch/x86/mm/tlb.c',
    prototype: 'void flush_tlb_one_kernel(unsigned long addr)',
    structs: [],
  },
  bpf_map_alloc_pages: {
    source: 'kernel/bpf/syscall.c',
    prototype:
      'int bpf_map_alloc_pages(const struct bpf_map *map, int nid, unsigned long nr_pages, struct page **pages)',
    structs: [],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
