// Functions of kernel/extable.c and lib/extable.c: the search for an exception-table entry.
import { EXTABLE_ARM64_FUNCTIONS } from './extable-arm64.ts';
import type { Replaceable } from './replaceable.ts';

export const EXTABLE_SEARCHES = {
  search_exception_tables: {
    source: 'kernel/extable.c',
    prototype: 'const struct exception_table_entry *search_exception_tables(unsigned long addr)',
    structs: [],
  },
  search_extable: {
    source: 'lib/extable.c',
    prototype:
      'const struct exception_table_entry *search_extable(const struct exception_table_entry *base, const size_t num, unsigned long value)',
    structs: [],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;

/** Handlers of x86-64: arch/x86/mm/extable.c. Those without an architecture are arm64's too, with its own arguments. */
const handler = (name: string, more = ''): Replaceable => ({
  source: 'arch/x86/mm/extable.c',
  prototype: `bool ${name}(const struct exception_table_entry *fixup, struct pt_regs *regs${more})`,
  structs: ['pt_regs'],
  arch: 'x86_64',
});

export const EXTABLE_X86_FUNCTIONS = {
  fixup_exception: {
    source: 'arch/x86/mm/extable.c',
    prototype:
      'int fixup_exception(struct pt_regs *regs, int trapnr, unsigned long error_code, unsigned long fault_addr)',
    structs: ['pt_regs'],
  },
  ex_handler_default: handler('ex_handler_default'),
  ex_handler_fault: handler('ex_handler_fault', ', int trapnr'),
  ex_handler_sgx: handler('ex_handler_sgx', ', int trapnr'),
  ex_handler_fprestore: handler('ex_handler_fprestore'),
  ex_handler_uaccess: handler('ex_handler_uaccess', ', int trapnr, unsigned long fault_address'),
  ex_handler_imm_reg: handler('ex_handler_imm_reg', ', int reg, int imm'),
  ex_handler_zeropad: handler('ex_handler_zeropad', ', unsigned long fault_addr'),
  ex_handler_msr: handler('ex_handler_msr', ', bool wrmsr, bool safe, int reg'),
  ex_handler_msr_mce: {
    source: 'arch/x86/kernel/cpu/mce/core.c',
    prototype: 'void ex_handler_msr_mce(struct pt_regs *regs, bool wrmsr)',
    structs: ['pt_regs'],
    arch: 'x86_64',
  },
  ex_handler_bpf: {
    source: 'arch/x86/net/bpf_jit_comp.c',
    prototype:
      'bool ex_handler_bpf(const struct exception_table_entry *fixup, struct pt_regs *regs)',
    structs: ['pt_regs'],
  },
} as const satisfies Readonly<Record<string, Replaceable>>;

/** Names of functions and variables that have to do with entries in memory. */
export const EXTABLE_FUNCTIONS: ReadonlySet<string> = new Set([
  ...Object.keys(EXTABLE_SEARCHES),
  ...Object.keys(EXTABLE_X86_FUNCTIONS),
  ...Object.keys(EXTABLE_ARM64_FUNCTIONS),
  'search_kernel_exception_table',
]);
