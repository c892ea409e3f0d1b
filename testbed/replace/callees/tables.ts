// What compiled code that walks init_mm leaves to the model: tables are made of pages that the model counts, and malformed
// entries cleared.
import { hex, hex16 } from '../../../emulator/bits.ts';
import { KernelStuck } from '../../../mm/context.ts';
import type { Callee } from '../guest-calls.ts';
import { type Argument, type CalleeParts, plain } from './index.ts';

/** Number of the argument that points to the entry, by the function that puts a table there. */
const MAKERS: Readonly<Record<string, number>> = {
  __p4d_alloc: 1,
  __pud_alloc: 1,
  __pmd_alloc: 1,
  __pte_alloc_kernel: 0,
};
const CLEARERS = ['pgd_clear_bad', 'p4d_clear_bad', 'pud_clear_bad', 'pmd_clear_bad'];

/** What walks of other address spaces call, which walks of init_mm have in them and never reach. */
const OTHERS = ['__pte_alloc', 'pte_offset_map_lock', '__pte_offset_map_lock'];

/** Names of all of them. */
export const TABLE_CALLEES: readonly string[] = [...Object.keys(MAKERS), ...CLEARERS, ...OTHERS];

export function tableCallees({ kernel, structures, swapper }: CalleeParts): [string, Callee][] {
  const { context, mm, ram } = kernel;
  /** Physical address of the entry that an argument points to. */
  const entryAt = (name: string, argument: Argument, index: number): number => {
    const va = argument(index);
    const offset = va - swapper;
    const isTop = offset >= 0n && offset < BigInt(kernel.pageSize);
    const pa = isTop ? mm.swapperPgDir + Number(offset) : structures.physical(va);
    if (pa !== null && pa % 8 === 0 && mm.isTable(pa)) return pa;
    throw new KernelStuck(`${name} is called with ${hex(va)}, which points to no table entry`);
  };
  return [
    // Every table of another address space is one of init_mm's.
    ['arch_sync_kernel_mappings', plain(() => null)],
    ...OTHERS.map((name): [string, Callee] => [
      name,
      plain(() => {
        throw new KernelStuck(`calls ${name}: only init_mm's tables are in memory`);
      }),
    ]),
    ...Object.entries(MAKERS).map(([name, index]): [string, Callee] => [
      name,
      plain((argument) => BigInt(mm.makeTable(entryAt(name, argument, index)))),
    ]),
    ...CLEARERS.map((name): [string, Callee] => [
      name,
      plain((argument) => {
        const at = entryAt(name, argument, 0);
        context.printk(`bad entry ${hex16(ram.read64(at))}`, name);
        ram.write64(at, 0n);
        return null;
      }),
    ]),
  ];
}
