// The functions of the kernel in whose place compiled code can be put: their prototypes, and the structures through which
// they and the model speak.

export interface Replaceable {
  /** Source file that has it. */
  readonly source: string;
  readonly prototype: string;
  /** Structures that the model fills in for it and reads afterwards: the object must tell their layout. */
  readonly structs: readonly string[];
}

const PTE_FN = '(pte_t *pte, unsigned long addr, void *data)';
const KFUNC_ALLOC = '(void *map, void *addr, u32 page_cnt, int node_id, u64 flags)';
const KFUNC_FREE = '(void *map, void *ptr, u32 page_cnt)';
const PGTABLE = 'include/linux/pgtable.h';
const ARENA = 'kernel/bpf/arena.c';

export const REPLACEABLE = {
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
  bpf_prog_find_from_stack: {
    source: 'kernel/bpf/core.c',
    prototype: 'struct bpf_prog *bpf_prog_find_from_stack(void)',
    structs: ['bpf_prog', 'bpf_prog_aux'],
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

export type ReplaceableName = keyof typeof REPLACEABLE;

export const isReplaceable = (name: string): name is ReplaceableName =>
  Object.hasOwn(REPLACEABLE, name);
