// A VMSAv8-64 stage 1 descriptor of any level as a tree of named fields, and as the short list of its set bits (DDI 0487,
// D8.3.1, table descriptors, and D8.3.2, block and page descriptors). Left out: the formats of FEAT_D128 and of
// permission indirection, and what Linux stores in entries that are not valid.
import { bit, field, hex } from '../../emulator/bits.ts';
import { type Field, fieldOf, flagOf } from '../fields.ts';

/** What decides where the address bits lie. */
export interface Arm64EntryRules {
  /** log2 of the granule: 12, 14 or 16. */
  readonly granuleShift: number;
  /** TCR_EL1.DS = 1: 52-bit addresses with the 4K and 16K granules. */
  readonly ds: boolean;
  /** Descriptors of the 64K granule hold OA[51:48] in bits 15:12. */
  readonly lpa: boolean;
}

const RULES_4K: Arm64EntryRules = { granuleShift: 12, ds: false, lpa: false };

type Kind = 'invalid' | 'table' | 'block' | 'page';

/** AArch64.DecodeDescriptorType() */
function kindOf(entry: bigint, level: number, rules: Arm64EntryRules): Kind {
  if (!bit(entry, 0)) return 'invalid';
  if (bit(entry, 1)) return level === 3 ? 'page' : 'table';
  return level < 3 && level >= firstBlockLevel(rules) ? 'block' : 'invalid';
}

function firstBlockLevel({ granuleShift, ds, lpa }: Arm64EntryRules): number {
  if (granuleShift === 12) return ds ? 0 : 1;
  if (granuleShift === 14) return ds ? 1 : 2;
  return lpa ? 1 : 2;
}

/** log2 of what an entry of a level maps. */
const spanShift = (level: number, { granuleShift }: Arm64EntryRules) =>
  granuleShift + (3 - level) * (granuleShift - 3);

/**
 * The descriptor's fields from bit 0 up.
 * @param level -1 to 3: the table it stands in; the same bits mean other things elsewhere
 */
export function decodeArm64Pte(
  entry: bigint,
  level = 3,
  rules: Arm64EntryRules = RULES_4K,
): readonly Field[] {
  const kind = kindOf(entry, level, rules);
  const type = fieldOf(entry, 'type', 1, 0, typeMeaning(kind, entry));
  if (kind === 'invalid') {
    return [type, fieldOf(entry, 'ignored', 63, 2, 'the walker looks at no other bit')];
  }
  return [
    type,
    ...(kind === 'table' ? tableFields(entry, rules) : leafFields(entry, level, rules)),
  ];
}

function typeMeaning(kind: Kind, entry: bigint): string {
  if (kind !== 'invalid') return kind;
  return bit(entry, 0) ? 'reserved at this level: invalid' : 'invalid';
}

const tableFields = (entry: bigint, rules: Arm64EntryRules): readonly Field[] => [
  ...addressFields(entry, rules.granuleShift, 'table', rules),
  flagOf(entry, 'PXNTable', 59, '', 'no execution at EL1 below'),
  flagOf(entry, 'UXNTable', 60, '', 'no execution at EL0 below'),
  fieldOf(entry, 'APTable', 62, 61, (value) => AP_TABLE[Number(value)]),
  flagOf(entry, 'NSTable', 63, '', 'ignored in Non-secure state'),
];

const AP_TABLE = ['no effect', 'no access at EL0', 'read-only', 'read-only, no access at EL0'];
const AP = ['EL1 read/write', 'EL1 and EL0 read/write', 'EL1 read-only', 'EL1 and EL0 read-only'];
const SHAREABILITY = ['non-shareable', 'reserved', 'outer shareable', 'inner shareable'];

function leafFields(entry: bigint, level: number, rules: Arm64EntryRules): readonly Field[] {
  const shift = spanShift(level, rules);
  const wide = rules.ds && rules.granuleShift !== 16;
  return [
    fieldOf(entry, 'AttrIndx', 4, 2, (value) => `MAIR_EL1.Attr${value}`),
    flagOf(entry, 'NS', 5, '', 'ignored in Non-secure state'),
    fieldOf(entry, 'AP[2:1]', 7, 6, (value) => AP[Number(value)]),
    ...(wide ? [] : [fieldOf(entry, 'SH', 9, 8, (value) => SHAREABILITY[Number(value)])]),
    flagOf(entry, 'AF', 10, 'not accessed', 'accessed'),
    flagOf(entry, 'nG', 11, 'global', 'of one ASID'),
    ...(level < 3
      ? [flagOf(entry, 'nT', 16, '', 'not for the TLB (break-before-make level 2)')]
      : []),
    ...addressFields(entry, shift, level === 3 ? 'page' : 'block', rules),
    flagOf(entry, 'GP', 50, '', 'guarded page (BTI)'),
    flagOf(entry, 'DBM', 51, '', 'dirty state in hardware, if TCR_EL1.HD is set'),
    flagOf(entry, 'Contiguous', 52, '', 'one of a contiguous group'),
    flagOf(entry, 'PXN', 53, 'executable at EL1', 'no execution at EL1'),
    flagOf(entry, 'UXN', 54, 'executable at EL0', 'no execution at EL0'),
    fieldOf(entry, 'software', 58, 55, softwareMeaning),
    fieldOf(entry, 'PBHA', 62, 59),
  ];
}

/** Bits that Linux keeps in a valid entry (asm/pgtable-prot.h). */
function softwareMeaning(value: bigint): string {
  const names = [
    [1n, 'dirty'],
    [2n, 'special'],
  ] as const;
  const set = names.filter(([mask]) => (value & mask) !== 0n).map(([, name]) => name);
  return set.length > 0 ? `Linux: ${set.join(', ')}` : '';
}

/** The output address, and the fields that hold its bits above 47. */
function addressFields(
  entry: bigint,
  shift: number,
  what: string,
  rules: Arm64EntryRules,
): readonly Field[] {
  const { granuleShift, ds, lpa } = rules;
  const wide = ds && granuleShift !== 16;
  const top = wide ? 49 : 47;
  let address = field(entry, top, shift) << BigInt(shift);
  const high: Field[] = [];
  if (wide) {
    address |= field(entry, 9, 8) << 50n;
    high.push(fieldOf(entry, 'OA[51:50]', 9, 8));
  } else if (granuleShift === 16 && lpa) {
    address |= field(entry, 15, 12) << 48n;
    high.push(fieldOf(entry, 'OA[51:48]', 15, 12));
  }
  return [...high, fieldOf(entry, 'address', top, shift, `${what} at ${hex(address)}`)];
}

const LEAF_WORDS: readonly (readonly [number, string])[] = [
  [10, 'AF'],
  [11, 'nG'],
  [50, 'GP'],
  [51, 'DBM'],
  [52, 'Contiguous'],
  [53, 'PXN'],
  [54, 'UXN'],
];

const TABLE_WORDS: readonly (readonly [number, string])[] = [
  [59, 'PXNTable'],
  [60, 'UXNTable'],
  [61, 'APTable[0]'],
  [62, 'APTable[1]'],
];

/** Attributes of a descriptor in the manual's words, such as `AttrIndx0 SH3 AF DBM PXN UXN`; empty if it is invalid. */
export function arm64EntryBits(
  entry: bigint,
  level: number,
  rules: Arm64EntryRules = RULES_4K,
): string {
  const kind = kindOf(entry, level, rules);
  const words = (names: readonly (readonly [number, string])[]) =>
    names.filter(([at]) => bit(entry, at)).map(([, name]) => name);
  if (kind === 'invalid') return '';
  if (kind === 'table') return words(TABLE_WORDS).join(' ');
  const wide = rules.ds && rules.granuleShift !== 16;
  return [
    `AttrIndx${field(entry, 4, 2)}`,
    ...words([
      [6, 'AP[1]'],
      [7, 'AP[2]'],
    ]),
    ...(wide ? [] : [`SH${field(entry, 9, 8)}`]),
    ...words(LEAF_WORDS),
  ].join(' ');
}

/** The same in a summary, which is never empty: a table may have no attribute, and an invalid descriptor has none. */
export function arm64EntrySummary(entry: bigint, level: number, rules?: Arm64EntryRules): string {
  return arm64EntryBits(entry, level, rules) || kindOf(entry, level, rules ?? RULES_4K);
}
