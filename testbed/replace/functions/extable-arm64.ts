// Exception tables of an arm64 kernel and their handlers, beside those that x86 has by the same name (extable.ts).
import type { Replaceable } from './replaceable.ts';

const ENTRY = 'const struct exception_table_entry *ex';

const of = (prototype: string): Replaceable => ({
  source: 'arch/arm64/mm/extable.c',
  prototype,
  structs: prototype.includes('pt_regs') ? ['pt_regs'] : [],
  arch: 'arm64',
});

export const EXTABLE_ARM64_FUNCTIONS = {
  insn_may_access_user: of('bool insn_may_access_user(unsigned long addr, unsigned long esr)'),
  cpy_faulted_on_uaccess: of(`bool cpy_faulted_on_uaccess(${ENTRY}, unsigned long esr)`),
  ex_handler_uaccess_err_zero: of(
    `bool ex_handler_uaccess_err_zero(${ENTRY}, struct pt_regs *regs)`,
  ),
  ex_handler_uaccess_cpy: of(
    `bool ex_handler_uaccess_cpy(${ENTRY}, struct pt_regs *regs, unsigned long esr)`,
  ),
  ex_handler_load_unaligned_zeropad: of(
    `bool ex_handler_load_unaligned_zeropad(${ENTRY}, struct pt_regs *regs)`,
  ),
} as const satisfies Readonly<Record<string, Replaceable>>;
