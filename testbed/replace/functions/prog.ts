// Functions of kernel/bpf/core.c: programs, their symbols and the search for them.
import type { Replaceable } from './replaceable.ts';

const CORE = 'kernel/bpf/core.c';

export const PROG_FUNCTIONS = {
  bpf_prog_find_from_stack: {
    source: CORE,
    prototype: 'struct bpf_prog *bpf_prog_find_from_stack(void)',
    structs: ['bpf_prog', 'bpf_prog_aux'],
  },
  find_from_stack_cb: {
    source: CORE,
    prototype: 'bool find_from_stack_cb(void *cookie, u64 ip, u64 sp, u64 bp)',
    structs: ['walk_stack_ctx', 'bpf_prog', 'bpf_prog_aux'],
  },
  bpf_prog_ksym_find: {
    source: CORE,
    prototype: 'struct bpf_prog *bpf_prog_ksym_find(unsigned long addr)',
    structs: ['bpf_prog', 'bpf_prog_aux'],
  },
  bpf_ksym_find: {
    source: CORE,
    prototype: 'struct bpf_ksym *bpf_ksym_find(unsigned long addr)',
    structs: ['bpf_prog_aux', 'bpf_ksym', 'latch_tree_root'],
  },
  search_bpf_extables: {
    source: CORE,
    prototype: 'const struct exception_table_entry *search_bpf_extables(unsigned long addr)',
    structs: ['bpf_prog', 'bpf_prog_aux'],
  },
  bpf_ksym_add: {
    source: CORE,
    prototype: 'void bpf_ksym_add(struct bpf_ksym *ksym)',
    structs: ['bpf_prog_aux', 'bpf_ksym', 'latch_tree_root'],
  },
  bpf_ksym_del: {
    source: CORE,
    prototype: 'void bpf_ksym_del(struct bpf_ksym *ksym)',
    structs: ['bpf_prog_aux', 'bpf_ksym', 'latch_tree_root'],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
