// Random whole configurations in the shape of the golden file: registers, descriptors and one access a case, with the
// outcome that test-pseudocode.ts gives. One seed, one case.
import { hex } from '../../emulator/bits.ts';
import type { Ram } from '../../emulator/ram.ts';
import { Dice, flag } from '../test-dice.ts';
import { ARM64_CPUS, type Arm64CpuName } from './features.ts';
import {
  type Arm64Case,
  descriptorAddr,
  type GoldenDescriptor,
  RAM_BASE,
  RAM_SIZE,
  stateOf,
} from './golden-case.ts';
import { type GoldenOutcome, goldenFault, patternByte } from './golden-outcome.ts';
import { type Ending, instruction } from './test-instructions.ts';

type Granule = '4K' | '16K' | '64K';
const SHIFT = { '4K': 12, '16K': 14, '64K': 16 } as const;
const TG0 = { '4K': 0n, '64K': 1n, '16K': 2n } as const;
const TG1 = { '16K': 1n, '4K': 2n, '64K': 3n } as const;
const TABLES = 0x5000_0000n;
/** Blocks of every size that starts in RAM begin here. */
const DATA = 0x8000_0000n;
const DATA_SIZE = 0x4000_0000n;
/** FORMAT-arm64.md: the half that is not under test. */
const HARNESS = { ttbr: 0x4400_0000n, txsz: 25n };

/** Instructions with their sizes, as the file has them. */
const ACCESSES: readonly (readonly [insn: string, kind: string, sizes: readonly number[]])[] = [
  ['ldr', 'read', [1, 2, 4, 8]],
  ['str', 'write', [1, 2, 4, 8]],
  ['br', 'fetch', [4]],
  ['ldp', 'read', [8, 16]],
  ['stp', 'write', [8, 16]],
  ['ldtr', 'ldtr', [1, 2, 4, 8]],
  ['sttr', 'sttr', [1, 2, 4, 8]],
  ['ldxr', 'read', [8]],
  ['ldxr_stxr', 'rmw', [1, 2, 4, 8]],
  ['ldxp_stxp', 'rmw', [16]],
  ['ldar', 'read', [4, 8]],
  ['stlr', 'write', [4, 8]],
  ['dc_zva', 'zva', [64]],
  ['cas', 'rmw', [1, 2, 4, 8]],
  ['casp', 'rmw', [16]],
  ['ldadd', 'rmw', [1, 2, 4, 8]],
  ['swp', 'rmw', [1, 2, 4, 8]],
];
const NO_SIZE: readonly (readonly [insn: string, kind: string])[] = [
  ['s1e1r', 'at_r'],
  ['s1e1w', 'at_w'],
  ['s1e0r', 'at_r'],
  ['s1e0w', 'at_w'],
  ['s1e1rp', 'at_r'],
  ['s1e1wp', 'at_w'],
  ['dc_cvac', 'cm'],
  ['dc_civac', 'cm'],
  ['dc_ivac', 'cm'],
  ['dc_cvau', 'cm'],
];
const LOADS = ['ldr', 'ldp', 'ldtr', 'ldar', 'ldxr'];

interface Half {
  readonly upper: boolean;
  readonly granule: Granule;
  readonly txsz: number;
}

function drawHalf(dice: Dice, cpu: Arm64CpuName): Half {
  const features = ARM64_CPUS[cpu];
  const granule = dice.pick(['4K', '4K', '16K', '64K'] as const);
  if (!(features.granules as readonly string[]).includes(granule)) return drawHalf(dice, cpu);
  const last = features.ttst ? (granule === '64K' ? 47 : 48) : 39;
  return { upper: dice.once(2), granule, txsz: 16 + dice.below(last - 15) };
}

function drawTcr(dice: Dice, half: Half, calm: boolean): bigint {
  const { upper, granule, txsz } = half;
  const of = (lower: number, above: number) => (upper ? above : lower);
  const ips = dice.once(4) ? dice.below(8) : 5;
  return (
    0x3500_3500n |
    (BigInt(ips) << 32n) |
    (BigInt(txsz) << (upper ? 16n : 0n)) |
    (HARNESS.txsz << (upper ? 0n : 16n)) |
    ((upper ? TG0['4K'] : TG0[granule]) << 14n) |
    ((upper ? TG1[granule] : TG1['4K']) << 30n) |
    flag(of(7, 23), !calm && dice.once(12)) |
    flag(37, dice.once(3)) |
    flag(38, dice.once(3)) |
    flag(39, dice.once(2)) |
    flag(40, dice.once(2)) |
    flag(of(41, 42), dice.once(3)) |
    flag(of(55, 56), !calm && dice.once(6)) |
    // A1, AS; HWU, TBID, NFD and TCMA of both halves.
    (dice.once(4) ? dice.some(0x067f_f810_0040_0000n) : 0n)
  );
}

function drawVa(dice: Dice, { upper, txsz }: Half, size: number, granule: number): bigint {
  const bits = 64 - txsz;
  let va = BigInt.asUintN(bits, dice.word64());
  if (dice.once(12)) va = dice.pick([0n, (1n << BigInt(bits)) - 1n]);
  // Near the end of a page, or aligned.
  if (dice.once(4)) va = (va | BigInt(2 ** granule - 1)) - BigInt(dice.below(size + 1));
  else if (!dice.once(3)) va -= va % BigInt(size);
  if (va < 0n) va = 0n;
  if (upper) va -= 1n << BigInt(bits);
  if (dice.once(15)) va ^= 1n << BigInt(bits + dice.below(Math.max(1, 55 - bits)));
  if (dice.once(4)) va ^= BigInt(dice.below(256)) << 56n;
  return BigInt.asUintN(64, va);
}

/** Descriptors drawn when a walk first comes to them. */
class Tables {
  readonly list: GoldenDescriptor[] = [];
  private readonly known = new Map<bigint, bigint>();
  private readonly dice: Dice;
  private readonly calm: boolean;
  private next = TABLES;

  constructor(dice: Dice, calm: boolean) {
    this.dice = dice;
    this.calm = calm;
  }

  /** @returns address of the first table; a small one lies anywhere in a frame */
  root(half: Half): bigint {
    const { dice } = this;
    const shift = SHIFT[half.granule];
    const bits = 64 - half.txsz;
    const last = (bits - 1 - shift) % (shift - 3);
    const size = 8n << BigInt(last + 1);
    const at = this.frame(16) + BigInt(dice.below(Number(0x1_0000n / size))) * size;
    return this.calm || !dice.once(20) ? at : at | (1n << BigInt(32 + dice.below(16)));
  }

  private frame(shift: number): bigint {
    const size = 1n << BigInt(shift);
    const at = (this.next / size) * size;
    this.next = at + size;
    return at;
  }

  walk(root: bigint, va: bigint, half: Half): void {
    const shift = SHIFT[half.granule];
    const stride = shift - 3;
    const bits = 64 - half.txsz;
    let level = 4 - Math.ceil((bits - shift) / stride);
    // Out of reach, or out of RAM.
    if (root >= this.next) return;
    let table = root;
    let top = bits;
    for (; ; level++) {
      const low = shift + (3 - level) * stride;
      const index = Number((va >> BigInt(low)) & ((1n << BigInt(top - low)) - 1n));
      const at = table + 8n * BigInt(index);
      let desc = this.known.get(at);
      if (desc === undefined) {
        desc = this.draw(level, low, shift);
        this.known.set(at, desc);
        this.list.push({
          level,
          granule: half.granule.toLowerCase(),
          pa: hex(table),
          index,
          desc: hex(desc),
        });
      }
      if (level === 3 || (desc & 3n) !== 3n) return;
      table = desc & 0xffff_ffff_ffffn & ~((1n << BigInt(shift)) - 1n);
      if (table < TABLES || table >= this.next) return;
      top = low;
    }
  }

  private draw(level: number, low: number, shift: number): bigint {
    const { dice, calm } = this;
    const odds = calm ? 80 : 14;
    const block = level < 3 && dice.once(level === 0 ? 20 : 4);
    const low12 = dice.once(6);
    const type = dice.once(odds) ? BigInt(dice.below(4)) : block ? 1n : 3n;
    // Software bits, contiguous, DBM, PXN, UXN; hierarchical bits and the rest.
    let desc =
      type |
      dice.some(0x0788_0000_0000_0000n) |
      dice.some(calm ? 0x0010_0000_0000_0000n : 0x0070_0000_0000_0000n);
    desc |= flag(10, !dice.once(6)) | dice.some(0xbe0n);
    // AttrIndx: mostly Normal memory.
    desc |= BigInt(dice.once(4) ? dice.below(8) : dice.pick([0, 2, 4, 6])) << 2n;
    if (level < 3 && !block && dice.once(calm ? 8 : 3)) desc |= dice.some(0xf800_0000_0000_0000n);
    if (dice.once(odds)) desc |= 1n << BigInt(33 + dice.below(15));
    // Bits that the walk is to ignore: beside the address, and those that only a table has or only others look at.
    if (low12)
      desc |= dice.some((1n << BigInt(level === 3 || !block ? shift : low)) - 1n) & ~0xfffn;
    if (level === 3 || block) {
      desc |= dice.once(4) ? dice.some(0xf803_0000_0000_0000n) : 0n;
      const size = 1n << BigInt(low);
      const places = DATA_SIZE / size;
      if (places === 0n) return desc;
      return desc | (DATA + BigInt(dice.below(Number(places))) * size);
    }
    return desc | this.frame(shift);
  }
}

/** What cases are to be like. */
export interface Wish {
  readonly cpus: readonly Arm64CpuName[];
  /** Bits of TCR_EL1 that are to be 0. */
  readonly tcrClear: bigint;
}

const ANY: Wish = {
  cpus: ['neoverse-n1', 'neoverse-n1', 'cortex-a76', 'cortex-a57', 'max'],
  tcrClear: 0n,
};

/** A case with its expected outcome. It touches data, never a table. @param seed 32 bits @param ram empty, and left so */
export function randomCase(seed: number, ram: Ram, wish: Wish = ANY): Arm64Case {
  const dice = new Dice(seed);
  for (;;) {
    const golden = drawCase(dice, seed, ram, wish);
    if (golden !== null) return golden;
  }
}

function drawAccess(dice: Dice, cpu: Arm64CpuName, el: number) {
  if (dice.once(4)) {
    const [insn, kind] = dice.pick(NO_SIZE);
    const missing = cpu === 'cortex-a57' && insn.endsWith('p') && insn.startsWith('s1');
    const privileged = insn.startsWith('s1') || insn === 'dc_ivac';
    return missing || (privileged && el === 0) ? null : { insn, kind, size: undefined };
  }
  const [insn, kind, sizes] = dice.pick(ACCESSES);
  if (cpu === 'cortex-a57' && ['cas', 'casp', 'ldadd', 'swp'].includes(insn)) return null;
  return { insn, kind, size: dice.pick(sizes) };
}

function drawCase(dice: Dice, seed: number, ram: Ram, wish: Wish): Arm64Case | null {
  const cpu = dice.pick(wish.cpus);
  const calm = dice.once(2);
  const half = drawHalf(dice, cpu);
  const el = dice.below(2);
  const access = drawAccess(dice, cpu, el);
  if (access === null) return null;
  const va = drawVa(dice, half, access.size ?? 64, SHIFT[half.granule]);
  // What lands in the other half is the harness's.
  if (((va >> 55n) & 1n) !== (half.upper ? 1n : 0n)) return null;
  const tables = new Tables(dice, calm);
  const root = tables.root(half);
  for (const byte of [va, BigInt.asUintN(64, va + BigInt((access.size ?? 1) - 1))]) {
    tables.walk(root, byte, half);
  }
  const ttbr = root | (dice.some(0xffffn) << 48n) | (dice.once(4) ? 1n : 0n);
  const { size, ...named } = access;
  const golden = {
    id: `random-${seed}`,
    class: 'random',
    cpu,
    sctlr: hex(
      0x34d0_d804n | flag(0, !dice.once(25)) | flag(1, dice.once(4)) | flag(19, dice.once(4)),
    ),
    tcr: hex(drawTcr(dice, half, calm) & ~wish.tcrClear),
    mair: '0xffee0cbb044400ff',
    ttbr0: hex(half.upper ? HARNESS.ttbr : ttbr),
    ttbr1: hex(half.upper ? ttbr : HARNESS.ttbr),
    pan: cpu === 'cortex-a57' ? null : dice.below(2),
    ...(cpu !== 'cortex-a57' && dice.once(4) ? { uao: 1 } : {}),
    el,
    tables: tables.list,
    access: { ...named, va: hex(va), ...(size === undefined ? {} : { size }) },
    expect: { fault: null },
  } as Arm64Case;
  return expected(golden, named.insn, va, size, ram);
}

function expected(
  golden: Arm64Case,
  insn: string,
  va: bigint,
  size: number | undefined,
  ram: Ram,
): Arm64Case | null {
  for (const one of golden.tables) ram.write64(descriptorAddr(one), BigInt(one.desc));
  const ending = instruction(ram, stateOf(golden), insn, va, size ?? 64);
  const tables_after = golden.tables.flatMap((one) => {
    const now = ram.read64(descriptorAddr(one));
    return now === BigInt(one.desc) ? [] : [{ pa: one.pa, index: one.index, desc: hex(now) }];
  });
  for (const one of golden.tables) ram.write64(descriptorAddr(one), 0n);
  const outcome = outcomeOf(ending, insn, size);
  if (outcome === null) return null;
  const after = tables_after.length > 0 ? { tables_after } : {};
  return { ...golden, expect: outcome, ...after } as Arm64Case;
}

/** null if the data are not in RAM. */
function outcomeOf(ending: Ending, insn: string, size = 0): GoldenOutcome | null {
  const inData = (byte: bigint) => byte >= DATA && byte < BigInt(RAM_BASE) + BigInt(RAM_SIZE) - 64n;
  if ('esr' in ending) return ending.made.every(inData) ? { fault: goldenFault(ending) } : null;
  if ('fst' in ending) return { fault: null, par: '0x1', fst: hex(ending.fst) };
  const [pa] = ending.bytes;
  if (insn.startsWith('s1e')) {
    const outer = ending.attr < 16 || ending.attr === 0x44;
    const page = { pa: hex(pa - (pa % 4096n)), attr: hex(ending.attr) };
    return { fault: null, par: '0x0', ...page, sh: outer ? 2 : ending.sh };
  }
  if (insn.startsWith('dc_') && insn !== 'dc_zva') return { fault: null };
  if (!ending.bytes.every(inData)) return null;
  const second = ending.bytes.find((byte, i) => i > 0 && byte % 4096n === 0n);
  const contiguous =
    second !== undefined && ending.bytes[0] + BigInt(ending.bytes.indexOf(second)) === second;
  const outcome = {
    fault: null,
    pa: hex(pa),
    ...(second === undefined || contiguous ? {} : { pa2: hex(second) }),
  };
  if (!LOADS.includes(insn)) return outcome;
  const word = (bytes: readonly bigint[]) =>
    hex(bytes.reduceRight((sum, byte) => (sum << 8n) | patternByte(Number(byte)), 0n));
  const { bytes } = ending;
  const value =
    insn === 'ldp' ? [word(bytes.slice(0, size / 2)), word(bytes.slice(size / 2))] : word(bytes);
  return { ...outcome, value };
}
