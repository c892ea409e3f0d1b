// Functions of kernel/bpf/range_tree.c.
import type { Replaceable } from './replaceable.ts';

const SOURCE = 'kernel/bpf/range_tree.c';
const STRUCTS = ['range_tree', 'range_node', 'rb_root_cached', 'rb_node'] as const;

export const RANGE_TREE_FUNCTIONS = {
  range_tree_init: {
    source: SOURCE,
    prototype: 'void range_tree_init(struct range_tree *rt)',
    structs: STRUCTS,
  },
  range_tree_destroy: {
    source: SOURCE,
    prototype: 'void range_tree_destroy(struct range_tree *rt)',
    structs: STRUCTS,
  },
  range_tree_find: {
    source: SOURCE,
    prototype: 's64 range_tree_find(struct range_tree *rt, u32 len)',
    structs: STRUCTS,
  },
  range_tree_set: {
    source: SOURCE,
    prototype: 'int range_tree_set(struct range_tree *rt, u32 start, u32 len)',
    structs: STRUCTS,
  },
  range_tree_clear: {
    source: SOURCE,
    prototype: 'int range_tree_clear(struct range_tree *rt, u32 start, u32 len)',
    structs: STRUCTS,
  },
  is_range_tree_set: {
    source: SOURCE,
    prototype: 'int is_range_tree_set(struct range_tree *rt, u32 start, u32 len)',
    structs: STRUCTS,
  },
  range_it_iter_first: {
    source: SOURCE,
    prototype: 'struct range_node *range_it_iter_first(struct range_tree *rt, u32 start, u32 last)',
    structs: STRUCTS,
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
