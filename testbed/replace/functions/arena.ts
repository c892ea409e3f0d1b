// Functions of kernel/bpf/arena.c.
import type { Replaceable } from './replaceable.ts';

const PTE_FN = '(pte_t *pte, unsigned long addr, void *data)';
const KFUNC_ALLOC = '(void *map, void *addr, u32 page_cnt, int node_id, u64 flags)';
const KFUNC_FREE = '(void *map, void *ptr, u32 page_cnt)';
const ARENA = 'kernel/bpf/arena.c';

export const ARENA_FUNCTIONS = {
  apply_range_set_cb: {
    source: ARENA,
    prototype: `int apply_range_set_cb${PTE_FN}`,
    structs: ['apply_range_data'],
  },
  apply_range_clear_cb: {
    source: ARENA,
    prototype: `int apply_range_clear_cb${PTE_FN}`,
    structs: ['clear_range_data', 'llist_node', 'page'],
  },
  apply_range_set_scratch_cb: {
    source: ARENA,
    prototype: `int apply_range_set_scratch_cb${PTE_FN}`,
    structs: [],
  },
  existing_page_cb: {
    source: ARENA,
    prototype: `int existing_page_cb${PTE_FN}`,
    structs: [],
  },
  bpf_arena_handle_page_fault: {
    source: ARENA,
    prototype:
      'bool bpf_arena_handle_page_fault(unsigned long addr, bool is_write, unsigned long fault_ip)',
    structs: [],
  },
  __bpf_prog_report_arena_violation: {
    source: ARENA,
    prototype:
      'void __bpf_prog_report_arena_violation(struct bpf_prog *prog, bool write, unsigned long addr, unsigned long fault_ip)',
    structs: ['bpf_prog', 'bpf_prog_aux', 'bpf_arena'],
  },
  bpf_prog_report_arena_violation: {
    source: ARENA,
    prototype:
      'void bpf_prog_report_arena_violation(bool write, unsigned long addr, unsigned long fault_ip)',
    structs: [],
  },
  arena_alloc_pages: {
    source: ARENA,
    prototype:
      'long arena_alloc_pages(struct bpf_arena *arena, long uaddr, long page_cnt, int node_id, bool sleepable)',
    structs: ['bpf_arena'],
  },
  arena_free_pages: {
    source: ARENA,
    prototype:
      'void arena_free_pages(struct bpf_arena *arena, long uaddr, long page_cnt, bool sleepable)',
    structs: ['bpf_arena'],
  },
  arena_reserve_pages: {
    source: ARENA,
    prototype: 'int arena_reserve_pages(struct bpf_arena *arena, long uaddr, u32 page_cnt)',
    structs: ['bpf_arena'],
  },
  arena_vm_fault: {
    source: ARENA,
    prototype: 'vm_fault_t arena_vm_fault(struct vm_fault *vmf)',
    structs: ['bpf_arena', 'vm_fault', 'vm_area_struct', 'file'],
  },
  bpf_arena_alloc_pages: {
    source: ARENA,
    prototype: `void *bpf_arena_alloc_pages${KFUNC_ALLOC}`,
    structs: ['bpf_arena'],
  },
  bpf_arena_alloc_pages_non_sleepable: {
    source: ARENA,
    prototype: `void *bpf_arena_alloc_pages_non_sleepable${KFUNC_ALLOC}`,
    structs: ['bpf_arena'],
  },
  bpf_arena_free_pages: {
    source: ARENA,
    prototype: `void bpf_arena_free_pages${KFUNC_FREE}`,
    structs: ['bpf_arena'],
  },
  bpf_arena_free_pages_non_sleepable: {
    source: ARENA,
    prototype: `void bpf_arena_free_pages_non_sleepable${KFUNC_FREE}`,
    structs: ['bpf_arena'],
  },
  bpf_arena_reserve_pages: {
    source: ARENA,
    prototype: `int bpf_arena_reserve_pages${KFUNC_FREE}`,
    structs: ['bpf_arena'],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
