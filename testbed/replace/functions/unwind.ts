// Functions that walk stacks.
import type { Replaceable } from './replaceable.ts';

const ORC = 'arch/x86/kernel/unwind_orc.c';
const STATE = ['unwind_state', 'stack_info'] as const;

export const UNWIND_FUNCTIONS = {
  arch_bpf_stack_walk: {
    source: 'arch/x86/net/bpf_jit_comp.c, arch/arm64/kernel/stacktrace.c',
    prototype:
      'void arch_bpf_stack_walk(bool (*consume_fn)(void *cookie, u64 ip, u64 sp, u64 bp), void *cookie)',
    structs: [],
  },
  __unwind_start: {
    source: ORC,
    prototype:
      'void __unwind_start(struct unwind_state *state, struct task_struct *task, struct pt_regs *regs, unsigned long *first_frame)',
    structs: [...STATE, 'pt_regs'],
    arch: 'x86_64',
  },
  unwind_next_frame: {
    source: ORC,
    prototype: 'bool unwind_next_frame(struct unwind_state *state)',
    structs: STATE,
    arch: 'x86_64',
  },
  unwind_get_return_address: {
    source: ORC,
    prototype: 'unsigned long unwind_get_return_address(struct unwind_state *state)',
    structs: STATE,
    arch: 'x86_64',
  },
  unwind_get_return_address_ptr: {
    source: ORC,
    prototype: 'unsigned long *unwind_get_return_address_ptr(struct unwind_state *state)',
    structs: STATE,
    arch: 'x86_64',
  },
  orc_find: {
    source: ORC,
    prototype: 'struct orc_entry *orc_find(unsigned long ip)',
    structs: ['orc_entry'],
    arch: 'x86_64',
  },
  get_stack_info: {
    source: 'arch/x86/kernel/dumpstack_64.c',
    prototype:
      'int get_stack_info(unsigned long *stack, struct task_struct *task, struct stack_info *info, unsigned long *visit_mask)',
    structs: ['stack_info'],
    arch: 'x86_64',
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
