// What an AArch64 instruction means for the order of stores to tables: barriers, TLBI, branches, and loads and stores of
// table entries themselves, told to the history of the tables (mm/table-history.ts).
import type { VirtAddr } from '../emulator/address.ts';
import { field, u64 } from '../emulator/bits.ts';
import { WRITE } from '../emulator/engine.ts';
import type { TableOrder } from '../mm/context.ts';
import type { PageAccess } from './insn-access.ts';
import type { Kernel } from './kernel.ts';
import type { Vcpu } from './vcpu.ts';

/** Stores with release semantics, alone or as part of an atomic (DDI 0487, B2.3.11, C3.2). */
const RELEASE =
  /^(stlr|stlur|stllr|stlxr|stlxp|(cas|swp|ldadd|ldclr|ldeor|ldset|ld[su]m(ax|in))a?l)/;
const CONDITIONAL = /^(b\.|bc\.|cbn?z|tbn?z)/;

/**
 * Watches one instruction. Call it before the instruction runs.
 * @param text as the disassembler writes it. @param accesses what it is about to access
 * @returns to be called behind it. @param retired whether it has retired
 */
export function watchInstruction(
  kernel: Kernel,
  vcpu: Vcpu,
  text: string,
  accesses: readonly PageAccess[],
  tables: TableOrder,
): (retired: boolean) => void {
  const tlbi = /^tlbi\s+(\w+)(?:,\s*(x\w+))?/.exec(text);
  const operand =
    tlbi?.[2] === undefined || tlbi[2] === 'xzr' ? 0n : vcpu.cpu.readRegister(tlbi[2]);
  const stores = tableWords(kernel, accesses, true).map(
    (pa) => [pa, kernel.ram.read64(pa)] as const,
  );
  const loads = tableWords(kernel, accesses, false);
  return (retired) => {
    if (!retired) return;
    if (RELEASE.test(text)) tables.released();
    const kinds = accesses.map(({ kind }) => kind);
    if (kinds.length > 0)
      tables.accessed(
        kinds.some((kind) => kind !== WRITE),
        kinds.includes(WRITE),
      );
    for (const pa of loads) tables.observed(pa);
    for (const [pa, before] of stores) tables.stored(pa, before, kernel.ram.read64(pa), false);
    barrier(text, tables);
    if (tlbi !== null) invalidate(tlbi[1], operand, kernel.pageSize, tables);
  };
}

/** 8-byte words of page tables that are loaded, or stored. */
function tableWords(kernel: Kernel, accesses: readonly PageAccess[], stored: boolean): number[] {
  return accesses.flatMap(({ pa, size, kind }) => {
    if (pa === null || (kind === WRITE) !== stored) return [];
    if (!kernel.mm.isTable(pa)) return [];
    const words: number[] = [];
    for (let word = pa - (pa % 8); word < pa + size; word += 8) words.push(word);
    return words;
  });
}

function barrier(text: string, tables: TableOrder): void {
  const [name, option = 'sy'] = text.split(/[\s,]+/);
  switch (name) {
    case 'isb':
      tables.synchronized();
      return;
    case 'dmb':
      if (!/ld$/.test(option)) tables.released();
      return;
    case 'dsb': {
      const kind = /ld$/.test(option) ? 'ld' : /st$/.test(option) ? 'st' : 'full';
      tables.dsb(kind, !option.startsWith('nsh'));
      return;
    }
    default:
      if (CONDITIONAL.test(text)) tables.branched();
  }
}

/** TLBI by address names VA[55:12] in bits 43:0 of Xt; the others count as naming everything. */
function invalidate(name: string, operand: bigint, pageSize: number, tables: TableOrder): void {
  const broadcast = /(is|os)(nxs)?$/.test(name);
  if (!/^va/.test(name)) {
    tables.tlbi(null, null, broadcast);
    return;
  }
  const va = u64(BigInt.asIntN(56, field(operand, 43, 0) << 12n)) as VirtAddr;
  tables.tlbi(va, u64(va + BigInt(pageSize)) as VirtAddr, broadcast);
}
