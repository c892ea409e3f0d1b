// How an x86-64 kernel dies: arch/x86/mm/fault.c, arch/x86/kernel/{dumpstack,process_64,traps}.c.
import type { Replaceable } from './replaceable.ts';

const of = (source: string, prototype: string): Replaceable => ({
  source,
  prototype,
  structs: prototype.includes('pt_regs') ? ['pt_regs'] : [],
  arch: 'x86_64',
});

const FAULT = 'arch/x86/mm/fault.c';
const DUMPSTACK = 'arch/x86/kernel/dumpstack.c';
const TRAPS = 'arch/x86/kernel/traps.c';

export const DYING_X86_FUNCTIONS = {
  show_fault_oops: of(
    FAULT,
    'void show_fault_oops(struct pt_regs *regs, unsigned long error_code, unsigned long address)',
  ),
  dump_pagetable: of(FAULT, 'void dump_pagetable(unsigned long address)'),
  __die: of(DUMPSTACK, 'int __die(const char *str, struct pt_regs *regs, long err)'),
  oops_end: of(DUMPSTACK, 'void oops_end(unsigned long flags, struct pt_regs *regs, int signr)'),
  show_regs: of(DUMPSTACK, 'void show_regs(struct pt_regs *regs)'),
  show_opcodes: of(DUMPSTACK, 'void show_opcodes(struct pt_regs *regs, const char *loglvl)'),
  // arm64 has one too, of the registers alone (arch/arm64/kernel/process.c).
  __show_regs: {
    source: 'arch/x86/kernel/process_64.c',
    prototype:
      'void __show_regs(struct pt_regs *regs, enum show_regs_mode mode, const char *log_lvl)',
    structs: ['pt_regs'],
  },
  handle_stack_overflow: of(
    TRAPS,
    'void handle_stack_overflow(struct pt_regs *regs, unsigned long fault_address, struct stack_info *info)',
  ),
} as const satisfies Readonly<Record<string, Replaceable>>;

export const DOUBLE_FAULT_FUNCTIONS = {
  exc_double_fault: of(
    TRAPS,
    'void exc_double_fault(struct pt_regs *regs, unsigned long error_code, unsigned long address)',
  ),
} as const satisfies Readonly<Record<string, Replaceable>>;
