// What an arm64 kernel asks on the way of an abort, and what it prints when it dies.
import type { Replaceable } from './replaceable.ts';

const FAULT = 'arch/arm64/mm/fault.c';

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
} as const satisfies Readonly<Record<string, Replaceable>>;
