// Functions of kernel/bpf/arena.c: the map, what user space maps of it, and the worker that frees later.
import type { Replaceable } from './replaceable.ts';

const ARENA = 'kernel/bpf/arena.c';

export const MAP_FUNCTIONS = {
  arena_map_alloc: {
    source: ARENA,
    prototype: 'struct bpf_map *arena_map_alloc(union bpf_attr *attr)',
    structs: ['bpf_arena', 'bpf_map', 'bpf_attr', 'vm_struct'],
  },
  arena_map_free: {
    source: ARENA,
    prototype: 'void arena_map_free(struct bpf_map *map)',
    structs: ['bpf_arena'],
  },
  populate_pgtable_except_pte: {
    source: ARENA,
    prototype: 'int populate_pgtable_except_pte(struct bpf_arena *arena)',
    structs: ['bpf_arena'],
  },
  arena_free_irq: {
    source: ARENA,
    prototype: 'void arena_free_irq(struct irq_work *iw)',
    structs: ['bpf_arena'],
  },
  arena_free_worker: {
    source: ARENA,
    prototype: 'void arena_free_worker(struct work_struct *work)',
    structs: ['bpf_arena', 'arena_free_span', 'page'],
  },
  zap_pages: {
    source: ARENA,
    prototype: 'void zap_pages(struct bpf_arena *arena, long uaddr, long page_cnt)',
    structs: ['bpf_arena', 'vma_list'],
  },
  arena_get_unmapped_area: {
    source: ARENA,
    prototype:
      'unsigned long arena_get_unmapped_area(struct file *filp, unsigned long addr, unsigned long len, unsigned long pgoff, unsigned long flags)',
    structs: ['bpf_arena', 'file'],
  },
  arena_map_mmap: {
    source: ARENA,
    prototype: 'int arena_map_mmap(struct bpf_map *map, struct vm_area_struct *vma)',
    structs: ['bpf_arena', 'vma_list', 'vm_area_struct'],
  },
  remember_vma: {
    source: ARENA,
    prototype: 'int remember_vma(struct bpf_arena *arena, struct vm_area_struct *vma)',
    structs: ['bpf_arena', 'vma_list', 'vm_area_struct'],
  },
  arena_vm_open: {
    source: ARENA,
    prototype: 'void arena_vm_open(struct vm_area_struct *vma)',
    structs: ['vma_list', 'vm_area_struct'],
  },
  arena_vm_close: {
    source: ARENA,
    prototype: 'void arena_vm_close(struct vm_area_struct *vma)',
    structs: ['bpf_arena', 'vma_list', 'vm_area_struct', 'file'],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
