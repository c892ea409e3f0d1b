// What show_fault_oops() of x86-64 kernels asks: whether it may print, and how a page is mapped.

import { tableEntries } from '../../../arch/page-table.ts';
import { hasTable } from '../../../arch/x86/oops.ts';
import { virtAddr } from '../../../emulator/address.ts';
import { bit } from '../../../emulator/bits.ts';
import type { Callee } from '../guest-calls.ts';
import { type CalleeParts, plain } from './index.ts';

const RW_BIT = 1;
const NX_BIT = 63;

export function showFaultX86Callees({ kernel, structures }: CalleeParts): [string, Callee][] {
  const write = (at: bigint, value: number, size: number): void => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    kernel.memory.write(virtAddr(at), bytes.subarray(0, size));
  };
  return [
    ['oops_may_print', plain(() => 1n)],
    [
      // pte_t *lookup_address_in_pgd_attr(pgd_t *pgd, unsigned long address, unsigned int *level, bool *nx, bool *rw):
      // the rights are those of the levels above the entry.
      'lookup_address_in_pgd_attr',
      plain((argument) => {
        const [address, level, nx, rw] = [1, 2, 3, 4].map(argument);
        const { faultContext } = kernel.cpus[kernel.context.cpu];
        const { swapperPgDir } = faultContext;
        const entries = tableEntries(faultContext, swapperPgDir, virtAddr(address), hasTable);
        const last = entries[entries.length - 1];
        const above = entries.slice(0, -1).map(({ value }) => value ?? 0n);
        write(level, last.height + 1, 4);
        write(nx, above.some((entry) => bit(entry, NX_BIT)) ? 1 : 0, 1);
        write(rw, above.every((entry) => bit(entry, RW_BIT)) ? 1 : 0, 1);
        const isNone = last.height > 0 && (last.value ?? 0n) === 0n;
        return isNone ? 0n : structures.virt(last.at);
      }),
    ],
  ];
}
