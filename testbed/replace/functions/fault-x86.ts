// Functions of arch/x86/mm/fault.c.
import type { Replaceable } from './replaceable.ts';

/** A function of the path: its names of arguments say what it is handed (testbed/replace/path-arguments.ts). */
const path = (prototype: string): Replaceable => ({
  source: 'arch/x86/mm/fault.c',
  prototype,
  structs: ['pt_regs'],
  arch: 'x86_64',
});

const FAULT = 'struct pt_regs *regs, unsigned long error_code, unsigned long address';

export const FAULT_X86_FUNCTIONS = {
  exc_page_fault: path('void exc_page_fault(struct pt_regs *regs, unsigned long error_code)'),
  handle_page_fault: path(`void handle_page_fault(${FAULT})`),
  do_kern_addr_fault: path(
    'void do_kern_addr_fault(struct pt_regs *regs, unsigned long hw_error_code, unsigned long address)',
  ),
  do_user_addr_fault: path(`void do_user_addr_fault(${FAULT})`),
  pgtable_bad: path(`void pgtable_bad(${FAULT})`),
  bad_area_nosemaphore: path(`void bad_area_nosemaphore(${FAULT})`),
  __bad_area_nosemaphore: path(`void __bad_area_nosemaphore(${FAULT}, u32 pkey, int si_code)`),
  kernelmode_fixup_or_oops: path(
    `void kernelmode_fixup_or_oops(${FAULT}, int signal, int si_code, u32 pkey)`,
  ),
  page_fault_oops: path(`void page_fault_oops(${FAULT})`),
} as const satisfies Readonly<Record<string, Replaceable>>;

const question = (prototype: string): Replaceable => ({
  source: 'arch/x86/mm/fault.c',
  prototype,
  structs: [],
  arch: 'x86_64',
});

/** What the path asks. */
export const FAULT_X86_QUESTIONS = {
  fault_in_kernel_space: question('int fault_in_kernel_space(unsigned long address)'),
  spurious_kernel_fault: question(
    'int spurious_kernel_fault(unsigned long error_code, unsigned long address)',
  ),
  spurious_kernel_fault_check: question(
    'int spurious_kernel_fault_check(unsigned long error_code, pte_t *pte)',
  ),
} as const satisfies Readonly<Record<string, Replaceable>>;
