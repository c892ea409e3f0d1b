// A64 instructions that do not reach the core. Encodings are those of the Arm ARM, C4.1 (A64 instruction set encoding).
import type { Trap } from '../../emulator/engine.ts';
import { type Refusal, refuse } from '../refusals.ts';

const bits = (w: number, high: number, low: number): number =>
  (w >>> low) & (2 ** (high - low + 1) - 1);

const opcodeSet = (...ranges: readonly (readonly [number, number])[]): ReadonlySet<number> =>
  new Set(
    ranges.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i)),
  );

/** Half precision, C4.1.66: opcodes of three-same (U:a:opcode) and two-register-miscellaneous, vector and scalar. */
const HALF_THREE = opcodeSet(
  [0, 4],
  [6, 0xa],
  [0xe, 0x10],
  [0x12, 0x18],
  [0x1a, 0x1a],
  [0x1c, 0x1e],
);
const HALF_TWO = opcodeSet(
  ...([
    [0x18, 0x1d],
    [0x2c, 0x2f],
    [0x38, 0x3b],
    [0x3d, 0x3d],
    [0x58, 0x5d],
  ] as const),
  ...([
    [0x6c, 0x6d],
    [0x6f, 0x6f],
    [0x79, 0x7b],
    [0x7d, 0x7d],
    [0x7f, 0x7f],
  ] as const),
);
const HALF_TWO_SCALAR = opcodeSet(
  ...([
    [0x1a, 0x1d],
    [0x2c, 0x2e],
    [0x3a, 0x3b],
    [0x3d, 0x3d],
    [0x3f, 0x3f],
  ] as const),
  ...([
    [0x5a, 0x5d],
    [0x6c, 0x6d],
    [0x7a, 0x7b],
    [0x7d, 0x7d],
  ] as const),
);

function isUnallocatedTwo(w: number): boolean {
  const opcode = (bits(w, 29, 29) << 6) | (bits(w, 23, 23) << 5) | bits(w, 16, 12);
  if (bits(w, 28, 28) === 0) return !HALF_TWO.has(opcode);
  return bits(w, 30, 30) === 0 || !HALF_TWO_SCALAR.has(opcode);
}

const isUnallocatedThree = (w: number): boolean =>
  !HALF_THREE.has((bits(w, 29, 29) << 4) | (bits(w, 23, 23) << 3) | bits(w, 13, 11));

const hexWord = (w: number): string => `0x${(w >>> 0).toString(16).padStart(8, '0')}`;

/** A row for the words that are `value` under `mask`, and pass `and`. */
function words(
  name: string,
  mask: number,
  value: number,
  effect: { readonly trap: Trap; readonly why: string },
  example: string,
  and: { readonly text: string; of(w: number): boolean } | null = null,
): Refusal<number> {
  const encoding = `${hexWord(value)} under ${hexWord(mask)}${and === null ? '' : `, ${and.text}`}`;
  const matches = (w: number) => (w & mask) >>> 0 === value && (and === null || and.of(w));
  return { name, encoding, ...effect, example, matches };
}

const ABORTS = refuse('unallocated: the process aborts when the core translates them');
const CLOCK = refuse("the host's clock would make runs differ");
const CHANCE = refuse("the host's random numbers would make runs differ");
const REGISTER = 0xffff_ffe0;

/** The process does not survive these. */
export const ARM64_FATAL: readonly Refusal<number>[] = [
  words('half precision, three registers', 0x9f60_c400, 0x0e40_0400, ABORTS, '002c420e', {
    text: 'unallocated opcodes',
    of: isUnallocatedThree,
  }),
  words('half precision, two registers', 0x8f7e_0c00, 0x0e78_0800, ABORTS, '0008784e', {
    text: 'unallocated opcodes',
    of: isUnallocatedTwo,
  }),
];

/** The first that matches decides. */
export const ARM64_REFUSALS: readonly Refusal<number>[] = [
  ...ARM64_FATAL,
  words(
    'wfi',
    0xffff_ffff,
    0xd503_207f,
    { trap: { action: 'halt', name: 'wfi' }, why: 'it ends a run' },
    '7f2003d5',
  ),
  words('mrs Xt, CNTPCT_EL0', REGISTER, 0xd53b_e020, CLOCK, '20e03bd5'),
  words('mrs Xt, CNTVCT_EL0', REGISTER, 0xd53b_e040, CLOCK, '40e03bd5'),
  words('mrs Xt, CNTPCTSS_EL0', REGISTER, 0xd53b_e0a0, CLOCK, 'a0e03bd5'),
  words('mrs Xt, CNTVCTSS_EL0', REGISTER, 0xd53b_e0c0, CLOCK, 'c0e03bd5'),
  words('mrs Xt, RNDR', REGISTER, 0xd53b_2400, CHANCE, '00243bd5'),
  words('mrs Xt, RNDRRS', REGISTER, 0xd53b_2420, CHANCE, '20243bd5'),
];
