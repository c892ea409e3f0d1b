// Functions of arch/x86/mm/fault.c.
import type { Replaceable } from './replaceable.ts';

/** A function of the path: its names of arguments say what it is handed (testbed/replace/path-arguments.ts). */
const path = (prototype: string): Replaceable => ({
  source: 'arch/x86/mm/fault.c',
  prototype,
  structs: ['pt_regs'],
  arch: 'x86_64',
});

export const FAULT_X86_FUNCTIONS = {
  page_fault_oops: path(
    'void page_fault_oops(struct pt_regs *regs, unsigned long error_code, unsigned long address)',
  ),
} as const satisfies Readonly<Record<string, Replaceable>>;
