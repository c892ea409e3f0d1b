// What an arm64 kernel asks on the way of an abort, and what it prints when it dies.
import type { Replaceable } from './replaceable.ts';

const FAULT = 'arch/arm64/mm/fault.c';
const TRAPS = 'arch/arm64/kernel/traps.c';

const of = (source: string, prototype: string): Replaceable => ({
  source,
  prototype,
  structs: prototype.includes('pt_regs') ? ['pt_regs'] : [],
  arch: 'arm64',
});

export const DYING_ARM64_FUNCTIONS = {
  is_spurious_el1_translation_fault: of(
    FAULT,
    'bool is_spurious_el1_translation_fault(unsigned long addr, unsigned long esr, struct pt_regs *regs)',
  ),
  is_el1_permission_fault: of(
    FAULT,
    'bool is_el1_permission_fault(unsigned long addr, unsigned long esr, struct pt_regs *regs)',
  ),
  is_el1_mte_sync_tag_check_fault: of(
    FAULT,
    'bool is_el1_mte_sync_tag_check_fault(unsigned long esr)',
  ),
  die_kernel_fault: of(
    FAULT,
    'void die_kernel_fault(const char *msg, unsigned long addr, unsigned long esr, struct pt_regs *regs)',
  ),
  mem_abort_decode: of(FAULT, 'void mem_abort_decode(unsigned long esr)'),
  data_abort_decode: of(FAULT, 'void data_abort_decode(unsigned long esr)'),
  show_pte: of(FAULT, 'void show_pte(unsigned long addr)'),
  esr_get_class_string: of(TRAPS, 'const char *esr_get_class_string(unsigned long esr)'),
  die: of(TRAPS, 'void die(const char *str, struct pt_regs *regs, long err)'),
  dump_kernel_instr: of(TRAPS, 'void dump_kernel_instr(unsigned long kaddr)'),
  bug_brk_handler: of(TRAPS, 'int bug_brk_handler(struct pt_regs *regs, unsigned long esr)'),
} as const satisfies Readonly<Record<string, Replaceable>>;
