// Random sequences of accesses to one page, changes of its entries and flushes, against the slow walker: an access comes to
// what the tables say now, or said at an access since the last flush of the page. After a flush, or a fault, only to
// what they say now. No entry gains anything but accessed and dirty flags; where none was changed by hand, those that
// the walker sets.
import { expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import { Ram } from '../../emulator/ram.ts';
import { Mmu } from '../../mm/mmu.ts';
import { Dice } from '../test-dice.ts';
import { runSequences } from '../test-sequences.ts';
import { performAccess } from './access.ts';
import { stateOf } from './golden-case.ts';
import { CR4_PGE, X86Paging } from './paging.ts';
import { randomCase } from './test-configurations.ts';
import { type ManualAccess, type ManualMemory, manualAccess } from './test-manual.ts';
import { GOLDEN_COVE_STLB, invlpg, movToCr3, movToCr4 } from './tlb.ts';

const AD = 0x60n;
/** P, R/W, U/S, A, D, G, an address bit, a key bit, XD. */
const CHANGES = [0, 0, 0, 1, 1, 2, 2, 5, 6, 8, 8, 13, 21, 60, 63];

/** Tables that an access used, and whether it left a global translation. */
interface Used {
  readonly memory: ManualMemory;
  readonly global: boolean;
}

function leafOf(memory: ManualMemory, cr3: bigint, va: bigint, la57: boolean): bigint {
  let table = cr3 & 0xf_ffff_f000n;
  for (let low = la57 ? 48n : 39n; ; low -= 9n) {
    const entry = memory.get(table + 8n * ((va >> low) & 511n)) ?? 0n;
    if (low === 12n || (low < 39n && (entry & 0x80n) !== 0n)) return entry;
    table = entry & 0xf_ffff_ffff_f000n;
  }
}

class Sequence {
  readonly dice: Dice;
  readonly memory: ManualMemory = new Map();
  readonly tlb: { mmu: Mmu; paging: X86Paging };
  readonly va: bigint;
  private readonly ram: Ram;
  private used: Used[] = [];
  /** An entry was changed since the last flush. */
  private changed = false;
  /** Accesses that came to something else than the tables of now say. */
  stale = 0;

  constructor(seed: number, ram: Ram) {
    this.dice = new Dice(seed);
    this.ram = ram;
    const golden = randomCase(seed);
    for (const { pa, index, entry } of golden.tables) {
      this.store(BigInt(pa) + 8n * BigInt(index), BigInt(entry));
    }
    const paging = new X86Paging(ram, stateOf(golden));
    this.tlb = { paging, mmu: new Mmu({ paging, tlb: GOLDEN_COVE_STLB }) };
    // Not over a page edge.
    this.va = BigInt(golden.access.va) & ~7n;
  }

  private store(at: bigint, entry: bigint): void {
    this.memory.set(at, entry);
    this.ram.write64(Number(at), entry);
  }

  step(): void {
    const { dice, tlb, va } = this;
    const { state } = tlb.paging;
    switch (dice.below(8)) {
      case 0:
        invlpg(tlb, virtAddr(va));
        this.flushed();
        return;
      case 1:
        expect(movToCr3(tlb, state.cr3)).toBe(true);
        this.used = this.used.filter(({ global }) => global);
        return;
      case 2:
        if (dice.once(3)) {
          expect(movToCr4(tlb, state.cr4 ^ CR4_PGE)).toBe(true);
          this.flushed();
        } else this.change();
        return;
      case 3:
      case 4:
        this.change();
        return;
      default:
        this.access({
          kind: dice.pick(['read', 'write', 'rmw', 'fetch'] as const),
          va,
          size: 1 << dice.below(2),
          stack: false,
        });
    }
  }

  private flushed(): void {
    this.used = [];
    this.changed = false;
  }

  private change(): void {
    const { dice } = this;
    this.changed = true;
    const at = dice.pick([...this.memory.keys()]);
    this.store(at, this.memory.get(at)! ^ (1n << BigInt(dice.pick(CHANGES))));
  }

  private access(access: ManualAccess): void {
    const { memory, ram, va, tlb } = this;
    const { state } = tlb.paging;
    const before = new Map(memory);
    const after = new Map(memory);
    const allowed = [
      manualAccess(after, state, access),
      ...this.used.map((one) => manualAccess(new Map(one.memory), state, access)),
    ];
    const got = performAccess(tlb.mmu, tlb.paging, { ...access, va: virtAddr(va) });
    const outcome = got.ok
      ? { fault: null, pa: BigInt(got.pa) }
      : { fault: { vector: got.vector, code: got.errorCode, cr2: got.cr2 } };
    expect(allowed).toContainEqual(outcome);
    if (!isDeepEqual(allowed[0], outcome)) this.stale++;
    for (const at of memory.keys()) {
      const now = ram.read64(Number(at));
      expect(now & ~AD).toBe(before.get(at)! & ~AD);
      expect(before.get(at)! & ~now).toBe(0n);
      memory.set(at, now);
    }
    if (!this.changed) expect(memory).toEqual(after);
    // A fault drops the page's translations; what it does not know of was never there.
    if (!got.ok) this.flushed();
    else {
      const leaf = leafOf(before, state.cr3, va, (state.cr4 & (1n << 12n)) !== 0n);
      const global = (leaf & 0x100n) !== 0n && (state.cr4 & CR4_PGE) !== 0n;
      this.used.push({ memory: before, global });
    }
  }

  end(): void {
    for (const at of this.memory.keys()) this.ram.write64(Number(at), 0n);
  }
}

const plain = (_: string, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value);
const isDeepEqual = (one: object, other: object): boolean =>
  JSON.stringify(one, plain) === JSON.stringify(other, plain);

it('an access comes to what the tables say, or said since the last flush', () => {
  const ram = new Ram(0, 272 * 2 ** 20);
  runSequences((seed) => new Sequence(seed, ram));
});
