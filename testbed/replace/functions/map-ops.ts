// Functions of maps and their mappings that answer from what the arena holds, or always the same.
import type { Replaceable } from './replaceable.ts';

const ARENA = 'kernel/bpf/arena.c';
const SYSCALL = 'kernel/bpf/syscall.c';
const MAP = 'struct bpf_map *map';
const STRUCTS = ['bpf_arena'] as const;

const arena = (prototype: string) => ({ source: ARENA, prototype, structs: STRUCTS });

export const MAP_OP_FUNCTIONS = {
  arena_map_peek_elem: arena(`long arena_map_peek_elem(${MAP}, void *value)`),
  arena_map_push_elem: arena(`long arena_map_push_elem(${MAP}, void *value, u64 flags)`),
  arena_map_pop_elem: arena(`long arena_map_pop_elem(${MAP}, void *value)`),
  arena_map_delete_elem: arena(`long arena_map_delete_elem(${MAP}, void *value)`),
  arena_map_get_next_key: arena(`int arena_map_get_next_key(${MAP}, void *key, void *next_key)`),
  arena_map_update_elem: arena(
    `long arena_map_update_elem(${MAP}, void *key, void *value, u64 flags)`,
  ),
  arena_map_lookup_elem: arena(`void *arena_map_lookup_elem(${MAP}, void *key)`),
  arena_map_check_btf: arena(
    `int arena_map_check_btf(${MAP}, const struct btf *btf, const struct btf_type *key_type, const struct btf_type *value_type)`,
  ),
  arena_map_mem_usage: arena(`u64 arena_map_mem_usage(const ${MAP})`),
  arena_map_direct_value_addr: arena(
    `int arena_map_direct_value_addr(const ${MAP}, u64 *imm, u32 off)`,
  ),
  arena_vm_may_split: arena(
    'int arena_vm_may_split(struct vm_area_struct *vma, unsigned long addr)',
  ),
  arena_vm_mremap: arena('int arena_vm_mremap(struct vm_area_struct *vma)'),
  bpf_arena_get_kern_vm_start: arena('u64 bpf_arena_get_kern_vm_start(struct bpf_arena *arena)'),
  bpf_arena_get_user_vm_start: arena('u64 bpf_arena_get_user_vm_start(struct bpf_arena *arena)'),
  bpf_arena_alloc_pages_sleepable: arena(
    'void *bpf_arena_alloc_pages_sleepable(void *map, void *addr, u32 page_cnt, int node_id, u64 flags)',
  ),
  bpf_map_mmap: {
    source: SYSCALL,
    prototype: 'int bpf_map_mmap(struct file *filp, struct vm_area_struct *vma)',
    structs: ['bpf_arena', 'bpf_map', 'bpf_map_ops', 'file', 'vm_area_struct'],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
