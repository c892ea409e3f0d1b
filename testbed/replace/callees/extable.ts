// The search for exception-table entries, for compiled code that asks for one.
import type { ExtableEntry } from '../../../arch/arch.ts';
import { virtAddr } from '../../../emulator/address.ts';
import type { Callee } from '../guest-calls.ts';
import { type CalleeParts, plain } from './index.ts';

export function extableCallees({ kernel, extable }: CalleeParts): [string, Callee][] {
  const at = (entry: ExtableEntry | null) => (entry === null ? 0n : extable.address(entry));
  return [
    [
      'search_exception_tables',
      plain((argument) => at(kernel.searchExceptionTables(virtAddr(argument(0))))),
    ],
    [
      'search_kernel_exception_table',
      plain((argument) => at(kernel.searchKernelExceptionTable(virtAddr(argument(0))))),
    ],
    ['search_module_extables', plain(() => 0n)],
  ];
}
