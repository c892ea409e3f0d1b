// Functions that walk stacks.
import type { Replaceable } from './replaceable.ts';

export const UNWIND_FUNCTIONS = {
  arch_bpf_stack_walk: {
    source: 'arch/x86/net/bpf_jit_comp.c, arch/arm64/kernel/stacktrace.c',
    prototype:
      'void arch_bpf_stack_walk(bool (*consume_fn)(void *cookie, u64 ip, u64 sp, u64 bp), void *cookie)',
    structs: [],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
