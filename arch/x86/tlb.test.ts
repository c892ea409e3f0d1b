import { describe, expect, it } from 'vitest';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hi32, lo32 } from '../../emulator/bits.ts';
import { type AccessKind, FETCH, READ, WRITE } from '../../emulator/engine.ts';
import { Mmu } from '../../mm/mmu.ts';
import {
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_SMAP,
  CR4_SMEP,
  type X86PagingState,
} from './paging.ts';
import { TestTables } from './test-tables.ts';
import {
  changeRights,
  GOLDEN_COVE_L1D,
  GOLDEN_COVE_STLB,
  invlpg,
  invpcid,
  movToCr3,
  movToCr4,
} from './tlb.ts';

const VA = virtAddr(0xffff_c900_0123_4000n);
const OTHER = virtAddr(0xffff_c900_0123_5000n);
const OLD = 0x9003n;
const NEW = 0xa003n;
const G = 0x100n;

/** A CPU whose TLB holds VA (not global) and OTHER (global), both of which have moved since. */
function stale(change: Partial<X86PagingState> = {}) {
  const tables = new TestTables();
  const paging = tables.unit({ cr4: CR4_PAE | CR4_PGE | CR4_PCIDE, ...change });
  const told: string[] = [];
  const mmu = new Mmu({
    paging,
    tlb: GOLDEN_COVE_STLB,
    listener: { onEvict: () => {}, onEvictAll: () => told.push('all') },
  });
  const ask = (va: VirtAddr, kind: AccessKind = READ) =>
    mmu.translate(hi32(va), lo32(va), kind) ? mmu.pa : `fault ${mmu.faultCode}`;
  tables.set(VA, 12, OLD);
  tables.set(OTHER, 12, OLD | G);
  ask(VA);
  ask(OTHER);
  tables.set(VA, 12, NEW);
  tables.set(OTHER, 12, NEW | G);
  /** Whether VA and OTHER are still answered from the TLB. */
  const kept = () => [ask(VA) === 0x9000, ask(OTHER) === 0x9000];
  return { tables, cpu: { mmu, paging }, mmu, paging, ask, kept, told };
}

describe('INVLPG (SDM Vol. 3A, 4.10.4.1)', () => {
  it('drops a page in the current PCID, global or not', () => {
    const { cpu, kept } = stale();
    expect(kept()).toEqual([true, true]);
    invlpg(cpu, virtAddr(VA + 0x123n));
    expect(kept()).toEqual([false, true]);
    invlpg(cpu, OTHER);
    expect(kept()).toEqual([false, false]);
  });

  it('leaves the page in other PCIDs', () => {
    const { cpu, kept } = stale();
    movToCr3(cpu, 0x1001n);
    invlpg(cpu, VA);
    movToCr3(cpu, 0x1000n | (1n << 63n));
    expect(kept()).toEqual([true, true]);
  });

  it('is no operation for an address that is not canonical', () => {
    const { cpu, kept } = stale();
    invlpg(cpu, virtAddr(VA ^ (1n << 63n)));
    expect(kept()).toEqual([true, true]);
  });

  it('drops the whole of a large page', () => {
    const { tables, cpu, ask } = stale();
    const large = virtAddr(0x4000_0000n);
    tables.set(large, 21, 0x60_0083n);
    expect(ask(large)).toBe(0x60_0000);
    tables.set(large, 21, 0x80_0083n);
    expect(ask(virtAddr(large + 0x1f_f000n))).toBe(0x7f_f000);
    invlpg(cpu, virtAddr(large + 0x5000n));
    expect(ask(large)).toBe(0x80_0000);
  });
});

describe('INVPCID (SDM Vol. 2, INVPCID)', () => {
  it.each([
    [0, 0n, VA, [false, true]],
    [0, 0n, OTHER, [true, true]], // individual address: global translations stay
    [0, 1n, VA, [true, true]],
    [1, 0n, VA, [false, true]],
    [1, 1n, VA, [true, true]],
    [2, 0n, VA, [false, false]],
    [3, 0n, VA, [false, true]],
  ] as const)('type %i, PCID %i', (type, pcid, va, left) => {
    const { cpu, kept } = stale();
    expect(invpcid(cpu, type, pcid, va)).toBe(true);
    expect(kept()).toEqual(left);
  });

  it('drops the entries of other PCIDs by types 2 and 3', () => {
    for (const [type, left] of [
      [2, [false, false]],
      [3, [false, true]],
    ] as const) {
      const { cpu, kept } = stale();
      movToCr3(cpu, 0x1001n);
      invpcid(cpu, type, 0n, VA);
      movToCr3(cpu, 0x1000n | (1n << 63n));
      expect(kept()).toEqual(left);
    }
  });

  it('raises #GP for a wrong descriptor, and drops nothing', () => {
    const { cpu, kept } = stale();
    expect(invpcid(cpu, 4, 0n, VA)).toBe(false);
    expect(invpcid(cpu, 1, 0x1000n, VA)).toBe(false);
    expect(invpcid(cpu, 0, 0n, virtAddr(1n << 60n))).toBe(false);
    expect(kept()).toEqual([true, true]);
    const without = stale({ cr4: CR4_PAE | CR4_PGE });
    expect(invpcid(without.cpu, 1, 1n, VA)).toBe(false);
    expect(invpcid(without.cpu, 1, 0n, VA)).toBe(true);
  });
});

describe('MOV to CR3 (SDM Vol. 3A, 4.10.4.1)', () => {
  it('drops what is not global while PCIDs are off', () => {
    const { cpu, kept } = stale({ cr4: CR4_PAE | CR4_PGE });
    expect(movToCr3(cpu, 0x1000n)).toBe(true);
    expect(kept()).toEqual([false, true]);
  });

  it('drops the PCID that it loads, unless bit 63 says not to', () => {
    const { cpu, kept, paging } = stale();
    expect(movToCr3(cpu, 0x1005n)).toBe(true);
    expect(kept()[0]).toBe(false);
    expect(movToCr3(cpu, 0x1000n | (1n << 63n))).toBe(true);
    expect(paging.state.cr3).toBe(0x1000n);
    expect(kept()).toEqual([true, true]);
    expect(movToCr3(cpu, 0x1000n)).toBe(true);
    expect(kept()).toEqual([false, true]);
  });

  it('always makes the engine forget: its cache has no PCIDs', () => {
    const { cpu, told } = stale();
    movToCr3(cpu, 0x1005n | (1n << 63n));
    movToCr3(cpu, 0x1005n);
    expect(told).toEqual(['all', 'all']);
  });

  it('raises #GP for reserved bits', () => {
    const { cpu, paging } = stale({ cr4: CR4_PAE });
    for (const bit of [48n, 51n, 52n, 62n, 63n]) {
      expect(movToCr3(cpu, 0x1000n | (1n << bit))).toBe(false);
    }
    expect(paging.state.cr3).toBe(0x1000n);
  });
});

describe('MOV to CR4 (SDM Vol. 3A, 4.10.4.1)', () => {
  const base = CR4_PAE | CR4_PGE | CR4_PCIDE;
  it.each([
    ['PGE cleared', base, base & ~CR4_PGE, [false, false]],
    ['PCIDE cleared', base, base & ~CR4_PCIDE, [false, false]],
    ['PCIDE set', base & ~CR4_PCIDE, base, [true, true]],
    ['SMEP set', base, base | CR4_SMEP, [false, false]],
    ['SMEP cleared', base | CR4_SMEP, base, [true, true]],
    ['SMAP set', base, base | CR4_SMAP, [true, true]],
    ['nothing', base, base, [true, true]],
  ] as const)('%s', (_, before, after, left) => {
    const { cpu, kept } = stale({ cr4: before });
    expect(movToCr4(cpu, after)).toBe(true);
    expect(kept()).toEqual(left);
  });

  it('drops only the current PCID when SMEP is set, and everything when PGE is', () => {
    for (const [after, left] of [
      [base | CR4_SMEP, true],
      [base & ~CR4_PGE, false],
    ] as const) {
      const { cpu, kept } = stale();
      movToCr3(cpu, 0x1001n);
      movToCr4(cpu, after);
      movToCr3(cpu, 0x1000n | (1n << 63n));
      expect(kept()[0]).toBe(left);
    }
  });

  it('raises #GP for LA57, PAE, and PCIDE over a CR3 with low bits', () => {
    const { cpu } = stale({ cr4: CR4_PAE, cr3: 0x1018n });
    expect(movToCr4(cpu, CR4_PAE | CR4_LA57)).toBe(false);
    expect(movToCr4(cpu, 0n)).toBe(false);
    expect(movToCr4(cpu, CR4_PAE | CR4_PCIDE)).toBe(false);
    expect(cpu.paging.state.cr4).toBe(CR4_PAE);
  });
});

describe('rights of now', () => {
  it('apply to entries made before', () => {
    const { tables, cpu, ask, told } = stale({ cr4: CR4_PAE | CR4_SMAP | CR4_SMEP });
    tables.set(VA, 12, 0x9005n);
    invlpg(cpu, VA);
    changeRights(cpu, { ac: true });
    expect(ask(VA)).toBe(0x9000);
    changeRights(cpu, { ac: false });
    expect(ask(VA)).toBe('fault 1');
    changeRights(cpu, { cpl: 3 });
    expect(ask(VA)).toBe(0x9000);
    expect(ask(VA, WRITE)).toBe('fault 7');
    changeRights(cpu, { cpl: 0, ac: true, cr0: cpu.paging.state.cr0 & ~CR0_WP });
    expect(ask(VA)).toBe(0x9000);
    expect(ask(VA, WRITE)).toBe(0x9000);
    expect(ask(VA, FETCH)).toBe('fault 17');
    expect(told).toHaveLength(4);
  });
});

describe('a page fault (SDM Vol. 3A, 4.10.4.1)', () => {
  it('by a stale read-only entry comes once: the kernel finds it spurious', () => {
    const { tables, cpu, ask, mmu } = stale();
    tables.set(VA, 12, 0x9001n);
    invlpg(cpu, VA);
    expect(ask(VA)).toBe(0x9000);
    tables.set(VA, 12, 0x9003n);
    expect(mmu.staleness(VA)).toBe('rights');
    expect(ask(VA, WRITE)).toBe('fault 3');
    expect(ask(VA, WRITE)).toBe(0x9000);
  });

  it('removes a global entry of its page too', () => {
    const { tables, cpu, ask } = stale();
    tables.set(OTHER, 12, 0x9101n);
    invlpg(cpu, OTHER);
    ask(OTHER);
    tables.set(OTHER, 12, 0xa103n);
    expect(ask(OTHER)).toBe(0x9000);
    expect(ask(OTHER, WRITE)).toBe('fault 3');
    expect(ask(OTHER)).toBe(0xa000);
  });
});

describe('a million translations', () => {
  it.each([
    ['hits', GOLDEN_COVE_STLB],
    ['misses', [{ name: 'small', shifts: [12], sets: 1, ways: 4 }]],
  ])('that are %s leave the heap as it was', (_, tlb) => {
    const tables = new TestTables();
    for (let page = 0n; page < 64n; page++) tables.set(page << 12n, 12, 0x9003n);
    const mmu = new Mmu({ paging: tables.unit(), tlb });
    const ask = (times: number) => {
      for (let i = 0; i < times; i++) mmu.translate(0, (i & 63) << 12, i & 1 ? WRITE : READ);
    };
    ask(100_000);
    const before = process.memoryUsage().heapUsed;
    ask(1_000_000);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(32 * 2 ** 20);
    expect(mmu.misses > 1_000_000).toBe(tlb !== GOLDEN_COVE_STLB);
  });
});

describe('the shapes', () => {
  it('have the sizes that were measured', () => {
    const entries = (shape: typeof GOLDEN_COVE_L1D) => shape.map(({ sets, ways }) => sets * ways);
    expect(entries(GOLDEN_COVE_STLB)).toEqual([2048, 1024]);
    expect(entries(GOLDEN_COVE_L1D)).toEqual([96, 32, 8]);
  });
});
