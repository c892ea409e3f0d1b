// A paging-structure entry of any level as a tree of named fields, and as the short list of its set bits. It describes
// entries of 4- and 5-level paging (SDM Vol. 3A, tables 4-14 to 4-20) and leaves out EPT, HLAT and what Linux
// stores in entries that are not present.
import type { Field } from '../fields.ts';
import { fieldOf, flagOf } from '../fields.ts';

/** The manual's names, from the root of 5-level paging down. */
export type X86Level = 'PML5' | 'PML4' | 'PDPT' | 'PD' | 'PT';

/** Level whose index begins at bit `shift` of the address. */
export const LEVEL_BY_SHIFT: Readonly<Record<number, X86Level>> = {
  48: 'PML5',
  39: 'PML4',
  30: 'PDPT',
  21: 'PD',
  12: 'PT',
};

const LEAF_SHIFT: Readonly<Partial<Record<X86Level, number>>> = { PT: 12, PD: 21, PDPT: 30 };
/** What a leaf maps, by log2 of its size. */
export const PAGE_NAME: Readonly<Record<number, string>> = {
  12: '4K page',
  21: '2M page',
  30: '1G page',
};

/** What decides which bits are reserved: CPUID.80000008H:EAX[7:0], EFER.NXE and the page1GB feature. */
export interface X86EntryRules {
  readonly maxPhysAddr: number;
  readonly nxe: boolean;
  readonly page1g: boolean;
}

const MODERN: X86EntryRules = { maxPhysAddr: 52, nxe: true, page1g: true };

/** log2 of the page that a present entry maps, or 0 if it names a table or is malformed. */
function leafShift(entry: bigint, level: X86Level): number {
  const shift = LEAF_SHIFT[level] ?? 0;
  return shift === 12 || (entry >> 7n) & 1n ? shift : 0;
}

/**
 * The entry's fields from bit 0 up.
 * @param level the table it stands in; the same bits mean other things elsewhere
 */
export function decodeX86Pte(
  entry: bigint,
  level: X86Level = 'PT',
  rules: X86EntryRules = MODERN,
): readonly Field[] {
  const flag = (name: string, at: number, clear: string, set: string) =>
    flagOf(entry, name, at, clear, set);
  if ((entry & 1n) === 0n) {
    return [
      flag('P', 0, 'not present: the processor ignores all other bits', ''),
      fieldOf(entry, 'ignored', 63, 1),
    ];
  }
  const leaf = leafShift(entry, level);
  const fields = [
    flag('P', 0, '', leaf === 0 ? 'present' : `present: ${PAGE_NAME[leaf]}`),
    flag('R/W', 1, 'read-only', 'writable'),
    flag('U/S', 2, 'supervisor', 'user'),
    flag('PWT', 3, '', 'write-through'),
    flag('PCD', 4, '', 'cache disabled'),
    flag('A', 5, 'not accessed', 'accessed'),
  ];
  fields.push(...(leaf === 0 ? tableFields(entry, level, rules) : leafFields(entry, leaf, rules)));
  fields.push(flag('XD', 63, 'executable', rules.nxe ? 'no fetch' : 'reserved: EFER.NXE is 0'));
  return fields;
}

function tableFields(entry: bigint, level: X86Level, rules: X86EntryRules): Field[] {
  const ps = level === 'PML5' || level === 'PML4' ? 'reserved: must be 0' : 'maps a page';
  return [
    fieldOf(entry, 'ignored', 6, 6),
    flagOf(entry, 'PS', 7, 'names a table', ps),
    fieldOf(entry, 'ignored', 11, 8),
    ...addressFields(entry, 12, rules),
    fieldOf(entry, 'ignored', 62, 52),
  ];
}

function leafFields(entry: bigint, shift: number, rules: X86EntryRules): Field[] {
  const large = shift !== 12;
  const fields = [
    flagOf(entry, 'D', 6, 'clean', 'dirty'),
    large
      ? flagOf(
          entry,
          'PS',
          7,
          '',
          shift === 30 && !rules.page1g ? 'reserved: no 1G pages' : 'maps a page',
        )
      : fieldOf(entry, 'PAT', 7, 7),
    flagOf(entry, 'G', 8, 'not global', 'global'),
    fieldOf(entry, 'ignored', 11, 9),
  ];
  if (large) {
    fields.push(
      fieldOf(entry, 'PAT', 12, 12),
      fieldOf(entry, 'reserved', shift - 1, 13, mustBeZero),
    );
  }
  fields.push(...addressFields(entry, shift, rules), fieldOf(entry, 'ignored', 58, 52));
  fields.push(fieldOf(entry, 'key', 62, 59, 'protection key, if CR4.PKE or CR4.PKS is set'));
  return fields;
}

function addressFields(entry: bigint, shift: number, rules: X86EntryRules): Field[] {
  const { maxPhysAddr } = rules;
  const what = shift === 12 ? 'frame' : 'page';
  const fields = [
    fieldOf(
      entry,
      'address',
      maxPhysAddr - 1,
      shift,
      (value) => `${what} at 0x${(value << BigInt(shift)).toString(16)}`,
    ),
  ];
  if (maxPhysAddr < 52) fields.push(fieldOf(entry, 'reserved', 51, maxPhysAddr, mustBeZero));
  return fields;
}

const mustBeZero = (value: bigint): string => (value === 0n ? '' : 'must be 0');

const SHORT: readonly (readonly [number, string])[] = [
  [0, 'P'],
  [1, 'RW'],
  [2, 'US'],
  [3, 'PWT'],
  [4, 'PCD'],
  [5, 'A'],
];

/** The set bits of an entry in the manual's words, such as `P RW A D G XD`; empty for an entry of 0. */
export function x86EntryBits(entry: bigint, level: X86Level): string {
  const has = (at: number) => ((entry >> BigInt(at)) & 1n) === 1n;
  const words = SHORT.filter(([at]) => has(at)).map(([, name]) => name);
  const leaf = leafShift(entry, level);
  if (leaf !== 0 && has(6)) words.push('D');
  if (has(7)) words.push(level === 'PT' ? 'PAT' : 'PS');
  if (leaf !== 0 && has(8)) words.push('G');
  if (leaf > 12 && has(12)) words.push('PAT');
  const key = (entry >> 59n) & 15n;
  if (leaf !== 0 && key !== 0n) words.push(`key${key}`);
  if (has(63)) words.push('XD');
  return words.join(' ');
}
