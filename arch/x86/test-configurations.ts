// Random whole configurations in the shape of the golden file: registers, tables and one access a case, with the outcome
// that test-manual.ts gives. One seed, one case.
import { hex } from '../../emulator/bits.ts';
import { Dice, flag } from '../test-dice.ts';
import {
  type GoldenAccess,
  type GoldenEntry,
  type GoldenOutcome,
  stateOf,
  type X86Case,
} from './golden-case.ts';
import { type ManualMemory, manualAccess } from './test-manual.ts';

const LEVELS: Readonly<Record<number, string>> = {
  48: 'pml5',
  39: 'pml4',
  30: 'pdpt',
  21: 'pd',
  12: 'pt',
};
const MIB = 2n ** 20n;
const GIB = 2n ** 30n;
const ROOT = 0x100_0000n;

/** Builds the tables of a case: an entry is drawn when a walk first comes to it. */
class Tables {
  readonly memory: ManualMemory = new Map();
  readonly list: GoldenEntry[] = [];
  private readonly frames = [ROOT];
  private readonly dice: Dice;
  /** What U/S mostly is, and whether all goes well down to the leaf more often than not. */
  private readonly user: boolean;
  private readonly calm: boolean;
  private readonly mayAlias: boolean;
  private readonly may1g: boolean;

  constructor(dice: Dice, mayAlias: boolean, may1g: boolean) {
    this.dice = dice;
    this.user = dice.once(2);
    this.calm = dice.once(3);
    this.mayAlias = mayAlias;
    this.may1g = may1g;
  }

  walk(va: bigint, top: number): void {
    let table = ROOT;
    for (let low = top; ; low -= 9) {
      const index = Number((va >> BigInt(low)) & 511n);
      const at = table + 8n * BigInt(index);
      let entry = this.memory.get(at);
      if (entry === undefined) {
        entry = this.draw(low);
        this.memory.set(at, entry);
        this.list.push({ level: LEVELS[low], pa: hex(table), index, entry: hex(entry) });
      }
      table = entry & 0xf_ffff_f000n;
      if (low === 12 || !this.frames.includes(table)) return;
    }
  }

  private draw(low: number): bigint {
    const { dice } = this;
    const odds = this.calm ? 60 : 12;
    const size = 1n << BigInt(low);
    const leaf =
      low === 12 || (low === 21 && dice.once(4)) || (low === 30 && this.may1g && dice.once(3));
    let entry = leaf ? this.page(size) : this.nextTable();
    entry |=
      flag(0, !dice.once(odds)) |
      flag(1, !dice.once(this.calm ? 20 : 4)) |
      flag(2, dice.once(this.calm ? 20 : 5) !== this.user) |
      flag(63, dice.once(odds)) |
      flag(7, (low !== 12 && leaf) || (low === 12 && dice.once(2)) || (low > 30 && dice.once(40)));
    // PWT, PCD, A, D, G, ignored bits and the key.
    entry |= dice.some(0x7ff0_0000_0000_0f78n);
    if (low !== 12 && leaf) entry |= flag(12, dice.once(4));
    if (dice.once(odds * 2)) entry |= 1n << BigInt(48 + dice.below(4));
    // Low address bits of a large page.
    if (low !== 12 && leaf && dice.once(odds)) entry |= dice.some((size - 1n) & ~0x1fffn);
    return entry;
  }

  /** FORMAT.md: data lie from 2 to 6 MiB, and 1 GiB above that. */
  private page(size: bigint): bigint {
    const base = this.dice.once(2) ? GIB : 0n;
    if (size > 2n * MIB) return base;
    const frames = (4n * MIB) / size;
    return base + 2n * MIB + BigInt(this.dice.below(Number(frames))) * size;
  }

  private nextTable(): bigint {
    const { dice, frames } = this;
    if (this.mayAlias && dice.once(30)) return dice.pick(frames);
    const frame = frames[frames.length - 1] + BigInt(1 + dice.below(16)) * 0x1000n;
    frames.push(frame);
    return frame;
  }
}

/** Indices from the top level down. Slot 511 of a root is the harness's. */
function addressOf(dice: Dice, la57: boolean, size: number): { va: bigint; wild: boolean } {
  const width = la57 ? 57 : 48;
  if (dice.once(12)) {
    // With five levels, -2^47 would lie in slot 511.
    const edges = la57 ? [1n << 47n, 1n << 56n, -(1n << 56n)] : [1n << 47n, -(1n << 47n)];
    const edge = dice.pick([...edges, 1n << 63n]);
    const va = edge + BigInt(dice.below(18) - 9);
    return { va: BigInt.asUintN(64, va), wild: true };
  }
  const offset = dice.once(3) ? 0xfff - dice.below(size + 1) : dice.below(0x1000);
  // Two PD indices suit a 1G page over the data; the PT index decides whether an access crosses into the next PD entry,
  // and the last PD index whether into the next PDPT entry.
  const pd = dice.once(10) ? 511 : 1 + dice.below(2);
  const pt = pd !== 2 && dice.once(3) ? 511 : dice.below(511);
  let va = BigInt((pd << 21) | (pt << 12) | offset) | (BigInt(dice.below(511)) << 30n);
  va |= BigInt(dice.below(511)) << 39n;
  if (la57) va |= BigInt(dice.below(511)) << 48n;
  va = BigInt.asIntN(width, va);
  if (dice.once(25)) va ^= 1n << BigInt(width - 1 + dice.below(64 - width));
  return { va: BigInt.asUintN(64, va), wild: false };
}

function accessOf(dice: Dice, la57: boolean) {
  const kind = dice.pick(['read', 'write', 'rmw', 'fetch'] as const);
  const size = kind === 'fetch' ? 2 : dice.pick([1, 2, 4, 8, 8]);
  const { va, wild } = addressOf(dice, la57, size);
  const aligned = kind === 'rmw' ? va - (va % BigInt(size)) : va;
  const stack = kind !== 'fetch' && dice.once(6);
  const access: GoldenAccess = { kind, va: hex(aligned), size };
  return { access: stack ? { ...access, seg: 'ss' } : access, wild };
}

type ExpectingCase = X86Case & { readonly expect: GoldenOutcome };

/** A case with its expected outcome. It touches data, never a table. @param seed 32 bits */
export function randomCase(seed: number): ExpectingCase {
  const dice = new Dice(seed);
  for (;;) {
    const golden = drawCase(dice, seed);
    const { expect } = golden;
    if (expect.fault !== null || isData(BigInt(expect.pa!))) return golden;
  }
}

/** Of a virtual address: a 1G page there leads to data. */
const isData = (pa: bigint): boolean => pa % GIB >= 2n * MIB && pa % GIB < 6n * MIB;

function drawCase(dice: Dice, seed: number): ExpectingCase {
  const la57 = dice.once(3);
  const { access, wild } = accessOf(dice, la57);
  const va = BigInt(access.va);
  const last = BigInt.asUintN(64, va + BigInt(access.size - 1));
  const indices = [12n, 21n, 30n, 39n, 48n].flatMap((low) =>
    [va, last].map((one) => (one >> low) & 511n),
  );
  const tables = new Tables(dice, !indices.includes(511n), !wild && [va, last].every(isData));
  for (const one of [va, last]) tables.walk(one, la57 ? 48 : 39);
  const golden: X86Case = {
    id: `random-${seed}`,
    class: 'random',
    cr0: hex(0x8000_0033n | flag(16, !dice.once(3))),
    cr4: hex(
      0x620n |
        flag(7, dice.once(2)) |
        flag(12, la57) |
        flag(20, dice.once(2)) |
        flag(21, dice.once(2)) |
        flag(22, dice.once(3)) |
        flag(24, dice.once(4)),
    ),
    efer: hex(0x500n | flag(11, !dice.once(5))),
    pkru: hex(dice.some(0xffff_ffffn) & dice.word64()),
    pkrs: hex(dice.some(0xffff_ffffn) & dice.word64()),
    cr3: hex(ROOT | (dice.once(4) ? dice.some(0xfffn) : 0n)),
    cpl: dice.pick([0, 3]),
    rflags_ac: dice.below(2),
    ...(dice.once(10) ? { page1g: false } : {}),
    tables: tables.list,
    access,
    expect: { fault: null },
    tables_after: [],
    tables_after_binding: true,
  };
  return { ...golden, ...manualEnd(golden, tables.memory) };
}

function manualEnd(golden: X86Case, memory: ManualMemory) {
  const { kind, va, size, seg } = golden.access;
  const access = { kind, va: BigInt(va), size, stack: seg === 'ss' };
  const got = manualAccess(memory, stateOf(golden), access);
  const tables_after = golden.tables.flatMap((one) => {
    const now = memory.get(BigInt(one.pa) + 8n * BigInt(one.index))!;
    return now === BigInt(one.entry) ? [] : [{ ...one, entry: hex(now) }];
  });
  if (got.fault === null) return { expect: { fault: null, pa: hex(got.pa) }, tables_after };
  const { vector, code, cr2 } = got.fault;
  const fault = { vector, error_code: hex(code) };
  return { expect: { fault: cr2 === null ? fault : { ...fault, cr2: hex(cr2) } }, tables_after };
}
