// The search for exception-table entries, for compiled code that asks for one.
import type { ExtableEntry } from '../../../arch/arch.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { KernelStuck } from '../../../mm/context.ts';
import { type Callee, s32 } from '../guest-calls.ts';
import { type CalleeParts, plain } from './index.ts';

/** A table of more entries is none. */
const MOST_ENTRIES = 0x10_0000n;

export function extableCallees(parts: CalleeParts): [string, Callee][] {
  const { kernel, extable } = parts;
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
    [
      // void *bsearch(const void *key, const void *base, size_t num, size_t size, int (*cmp)(key, element))
      'bsearch',
      function* (argument) {
        const [key, base, num, size, cmp] = [0, 1, 2, 3, 4].map(argument);
        if (num > MOST_ENTRIES) throw new KernelStuck(`searches ${num} entries`);
        const name = kernel.symbols.find(virtAddr(cmp))?.name ?? 'cmp_func_t';
        let [low, high] = [0n, num];
        while (low < high) {
          const middle = (low + high) / 2n;
          const element = base + middle * size;
          const order = s32(yield* parts.calls!.call(name, virtAddr(cmp), [key, element]));
          if (order === 0) return element;
          if (order < 0) high = middle;
          else low = middle + 1n;
        }
        return 0n;
      },
    ],
  ];
}
