// Functions of an arm64 kernel's abort path: arch/arm64/mm/fault.c, and its entry.
import type { Replaceable } from './replaceable.ts';

const FAULT = 'arch/arm64/mm/fault.c';

/** A function of the path: its names of arguments say what it is handed (testbed/replace/path-arguments.ts). */
const path = (prototype: string, source = FAULT): Replaceable => ({
  source,
  prototype,
  structs: ['pt_regs'],
  arch: 'arm64',
});

const handler = (name: string): Replaceable =>
  path(`int ${name}(unsigned long far, unsigned long esr, struct pt_regs *regs)`);

export const FAULT_ARM64_FUNCTIONS = {
  el1_abort: path(
    'void el1_abort(struct pt_regs *regs, unsigned long esr)',
    'arch/arm64/kernel/entry-common.c',
  ),
  do_mem_abort: path(
    'void do_mem_abort(unsigned long far, unsigned long esr, struct pt_regs *regs)',
  ),
  do_translation_fault: handler('do_translation_fault'),
  do_page_fault: handler('do_page_fault'),
  do_alignment_fault: handler('do_alignment_fault'),
  do_tag_check_fault: handler('do_tag_check_fault'),
  do_sea: handler('do_sea'),
  do_bad: handler('do_bad'),
  do_bad_area: path('void do_bad_area(unsigned long far, unsigned long esr, struct pt_regs *regs)'),
  __do_kernel_fault: path(
    'void __do_kernel_fault(unsigned long addr, unsigned long esr, struct pt_regs *regs)',
  ),
} as const satisfies Readonly<Record<string, Replaceable>>;
