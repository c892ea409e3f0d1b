// What an x86-64 kernel prints when it dies: arch/x86/mm/fault.c.
import type { Replaceable } from './replaceable.ts';

const FAULT = { source: 'arch/x86/mm/fault.c', arch: 'x86_64' } as const;

export const DYING_X86_FUNCTIONS = {
  show_fault_oops: {
    ...FAULT,
    prototype:
      'void show_fault_oops(struct pt_regs *regs, unsigned long error_code, unsigned long address)',
    structs: ['pt_regs'],
  },
  dump_pagetable: {
    ...FAULT,
    prototype: 'void dump_pagetable(unsigned long address)',
    structs: [],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
