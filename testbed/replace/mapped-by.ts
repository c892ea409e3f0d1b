// Which address an entry maps that compiled code changes: those of arenas and of KFENCE's pool are known.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import type { Kernel } from '../kernel.ts';

/** What finds the address whose entry lies at a physical address; null for one that is of neither. */
export function mappedByIn(kernel: Kernel): (pa: number) => VirtAddr | null {
  const { mm } = kernel;
  /** First address of a table that was found, by the table's physical address. */
  const known = new Map<number, bigint>();
  const find = (table: number): bigint | null => {
    const before = known.get(table);
    if (before !== undefined && mm.ptepOffset(virtAddr(before)) === table) return before;
    for (const { start, end } of ranges(kernel)) {
      const span = BigInt(mm.pmdSize);
      for (let va = start - (start % span); va < end; va += span) {
        if (mm.ptepOffset(virtAddr(va)) !== table) continue;
        known.set(table, va);
        return va;
      }
    }
    return null;
  };
  return (pa) => {
    const table = pa - (pa % mm.pageSize);
    const first = find(table);
    return first === null ? null : virtAddr(first + BigInt(((pa - table) / 8) * mm.pageSize));
  };
}

function* ranges({ arenas, kfence }: Kernel): Generator<{ start: bigint; end: bigint }> {
  for (const { kernVmStart, recoveryEnd } of arenas.values()) {
    yield { start: kernVmStart, end: recoveryEnd };
  }
  if (kfence !== null) yield { start: kfence.pool, end: kfence.pool + BigInt(kfence.poolSize) };
}
