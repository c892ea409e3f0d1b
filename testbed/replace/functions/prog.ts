// Functions of kernel/bpf/core.c: the search for programs.
import type { Replaceable } from './replaceable.ts';

export const PROG_FUNCTIONS = {
  bpf_prog_find_from_stack: {
    source: 'kernel/bpf/core.c',
    prototype: 'struct bpf_prog *bpf_prog_find_from_stack(void)',
    structs: ['bpf_prog', 'bpf_prog_aux'],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
