// AArch64's relocations (ELF for the Arm 64-bit Architecture, 5.7) as compilers and kernels use them. Left out: veneers
// for branches that do not reach.
import {
  absolute,
  DYNAMIC,
  distance,
  fitsSigned,
  fitsUnsigned,
  none,
  type Place,
  type Relocation,
  type RelocationOperand,
  type RelocationTable,
  TLS,
  tooFar,
  whole,
} from './relocation.ts';

/** ABS32 and ABS16 take a value that fits with or without a sign. */
const either = (bits: number) => (value: bigint) =>
  fitsUnsigned(value, bits) || fitsSigned(BigInt.asIntN(64, value), bits);
const s = (bits: number) => (value: bigint) => fitsSigned(value, bits);

/** Puts `bits` bits of `value` into the instruction at bit `at`. */
function insert({ view, offset }: Place, value: bigint, at: number, bits: number): void {
  const mask = (2 ** bits - 1) * 2 ** at;
  const field = Number(BigInt.asUintN(bits, value)) * 2 ** at;
  view.setUint32(offset, ((view.getUint32(offset, true) & ~mask) | field) >>> 0, true);
}

/** The field of the instruction at bit `at`, with its sign. */
function extract({ view, offset }: Place, at: number, bits: number): bigint {
  const word = BigInt(view.getUint32(offset, true));
  return BigInt.asIntN(bits, word >> BigInt(at));
}

/** A branch or literal load: a distance in instructions. @param bits width of the field @param at its lowest bit */
const branch = (
  name: string,
  bits: number,
  at: number,
  operand: RelocationOperand = 'S',
): Relocation => ({
  name,
  size: 4,
  operand,
  branch: operand === 'S' && name !== 'R_AARCH64_LD_PREL_LO19',
  apply(place, target) {
    const value = distance(place, target);
    if (value % 4n !== 0n) return `the target is not a multiple of 4 bytes away`;
    if (!fitsSigned(value, bits + 2)) return tooFar(value, bits + 2);
    insert(place, value >> 2n, at, bits);
    return null;
  },
  implicit: (place) => extract(place, at, bits) << 2n,
});

/** ADR and ADRP: immlo in bits 30:29, immhi in 23:5. */
function adr(
  name: string,
  page: boolean,
  checked: boolean,
  operand: RelocationOperand = 'S',
): Relocation {
  const low = page ? 0xfffn : 0n;
  return {
    name,
    size: 4,
    operand,
    apply(place, target) {
      const value = BigInt.asIntN(64, (target & ~low) - (place.address & ~low));
      if (checked && !fitsSigned(value, page ? 33 : 21)) return tooFar(value, page ? 33 : 21);
      const imm = page ? value >> 12n : value;
      insert(place, imm, 29, 2);
      insert(place, imm >> 2n, 5, 19);
      return null;
    },
    // In bytes also for ADRP: "the initial addend is the immediate, not scaled" (AAELF64, 5.7.2).
    implicit: (place) => (extract(place, 5, 19) << 2n) | BigInt.asUintN(2, extract(place, 29, 2)),
  };
}

/** Low bits of the address in an immediate of 12 bits, scaled by the size of the access. */
const low = (
  name: string,
  scale: bigint,
  operand: RelocationOperand = 'S',
  mask = 0xfffn,
): Relocation => ({
  name,
  size: 4,
  operand,
  apply(place, target) {
    const value = BigInt.asUintN(64, target) & mask;
    if (value % (1n << scale) !== 0n) return `the address is not a multiple of ${1n << scale}`;
    // The offset from the GOT is checked, not cut off.
    if (mask !== 0xfffn && BigInt.asUintN(64, target) !== value) return tooFar(target, 15);
    insert(place, value >> scale, 10, 12);
    return null;
  },
  implicit: (place) => BigInt.asUintN(12, extract(place, 10, 12)) << scale,
});

/** MOVZ, MOVK: 16 bits of a value. @param group 0 to 3 @param checked nothing may lie above them */
const movw = (
  name: string,
  group: number,
  checked: boolean,
  operand: RelocationOperand = 'S',
): Relocation => ({
  name,
  size: 4,
  operand,
  apply(place, target) {
    const value = BigInt.asUintN(64, target);
    const top = (group + 1) * 16;
    if (checked && !fitsUnsigned(value, top)) return tooFar(value, top);
    insert(place, value >> BigInt(group * 16), 5, 16);
    return null;
  },
  implicit: (place) => extract(place, 5, 16),
});

const MOVN_OR_MOVZ = 0x4000_0000;

/** MOVZ or MOVN, whichever the sign of the value asks for; MOVK without. @param checked it must fit 17 bits of the group */
const signedMovw = (
  name: string,
  group: number,
  checked: boolean,
  value: (place: Place, target: bigint) => bigint,
  operand: RelocationOperand = 'S',
): Relocation => ({
  name,
  size: 4,
  operand,
  apply(place, target) {
    const wanted = BigInt.asIntN(64, value(place, target));
    const bits = (group + 1) * 16 + 1;
    if (checked && !fitsSigned(wanted, bits)) return tooFar(wanted, bits);
    const { view, offset } = place;
    const word = view.getUint32(offset, true);
    const isKeep = ((word >>> 29) & 3) === 3;
    const field = wanted >> BigInt(group * 16);
    if (isKeep) insert(place, field, 5, 16);
    else {
      const turned = wanted < 0n ? word & ~MOVN_OR_MOVZ : word | MOVN_OR_MOVZ;
      view.setUint32(offset, turned >>> 0, true);
      insert(place, wanted < 0n ? ~field : field, 5, 16);
    }
    return null;
  },
  implicit: (place) => extract(place, 5, 16),
});

const signed = (_place: Place, target: bigint) => BigInt.asIntN(64, target);
const GROUPS = ['G0', 'G0_NC', 'G1', 'G1_NC', 'G2', 'G2_NC', 'G3'];
/** A family of MOVW relocations, in the order of their numbers. */
const family = (
  first: number,
  prefix: string,
  make: (name: string, group: number, checked: boolean) => Relocation,
): [number, Relocation][] =>
  GROUPS.map((name, i) => {
    const checked = !name.endsWith('NC') && name !== 'G3';
    return [first + i, make(`R_AARCH64_MOVW_${prefix}_${name}`, Number(name[1]), checked)];
  });

const known = new Map<number, Relocation>([
  [0, none('R_AARCH64_NONE')],
  [256, none('R_AARCH64_NONE')],
  [257, whole('R_AARCH64_ABS64', 8, absolute, null)],
  [258, whole('R_AARCH64_ABS32', 4, absolute, either(32))],
  [259, whole('R_AARCH64_ABS16', 2, absolute, either(16))],
  [260, whole('R_AARCH64_PREL64', 8, distance, null)],
  [261, whole('R_AARCH64_PREL32', 4, distance, s(32))],
  [262, whole('R_AARCH64_PREL16', 2, distance, s(16))],
  ...family(263, 'UABS', movw),
  ...[0, 1, 2].map((group): [number, Relocation] => [
    270 + group,
    signedMovw(`R_AARCH64_MOVW_SABS_G${group}`, group, true, signed),
  ]),
  [273, branch('R_AARCH64_LD_PREL_LO19', 19, 5)],
  [274, adr('R_AARCH64_ADR_PREL_LO21', false, true)],
  [275, adr('R_AARCH64_ADR_PREL_PG_HI21', true, true)],
  [276, adr('R_AARCH64_ADR_PREL_PG_HI21_NC', true, false)],
  [277, low('R_AARCH64_ADD_ABS_LO12_NC', 0n)],
  [278, low('R_AARCH64_LDST8_ABS_LO12_NC', 0n)],
  [279, branch('R_AARCH64_TSTBR14', 14, 5)],
  [280, branch('R_AARCH64_CONDBR19', 19, 5)],
  [282, branch('R_AARCH64_JUMP26', 26, 0)],
  [283, branch('R_AARCH64_CALL26', 26, 0)],
  [284, low('R_AARCH64_LDST16_ABS_LO12_NC', 1n)],
  [285, low('R_AARCH64_LDST32_ABS_LO12_NC', 2n)],
  [286, low('R_AARCH64_LDST64_ABS_LO12_NC', 3n)],
  ...family(287, 'PREL', (name, group, checked) => signedMovw(name, group, checked, distance)),
  [299, low('R_AARCH64_LDST128_ABS_LO12_NC', 4n)],
  ...family(300, 'GOTOFF', (name, group, checked) =>
    signedMovw(name, group, checked, signed, 'G-GOT'),
  ),
  [307, whole('R_AARCH64_GOTREL64', 8, signed, null, 'S-GOT')],
  [308, whole('R_AARCH64_GOTREL32', 4, signed, s(32), 'S-GOT')],
  [309, branch('R_AARCH64_GOT_LD_PREL19', 19, 5, 'G')],
  [310, low('R_AARCH64_LD64_GOTOFF_LO15', 3n, 'G-GOT', 0x7fffn)],
  [311, adr('R_AARCH64_ADR_GOT_PAGE', true, true, 'G')],
  [312, low('R_AARCH64_LD64_GOT_LO12_NC', 3n, 'G')],
  [313, low('R_AARCH64_LD64_GOTPAGE_LO15', 3n, 'G-Page(GOT)', 0x7fffn)],
  [314, whole('R_AARCH64_PLT32', 4, distance, s(32))],
  [315, whole('R_AARCH64_GOTPCREL32', 4, distance, s(32), 'G')],
]);

/** Thread-local storage, in the order of the numbers from 512; then what loaders of programs see. */
const TLS_NAMES = [
  ...['GD_ADR_PREL21', 'GD_ADR_PAGE21', 'GD_ADD_LO12_NC', 'GD_MOVW_G1', 'GD_MOVW_G0_NC'],
  ...['LD_ADR_PREL21', 'LD_ADR_PAGE21', 'LD_ADD_LO12_NC', 'LD_MOVW_G1', 'LD_MOVW_G0_NC'],
  ...['LD_LD_PREL19', 'LD_MOVW_DTPREL_G2', 'LD_MOVW_DTPREL_G1', 'LD_MOVW_DTPREL_G1_NC'],
  ...['LD_MOVW_DTPREL_G0', 'LD_MOVW_DTPREL_G0_NC', 'LD_ADD_DTPREL_HI12', 'LD_ADD_DTPREL_LO12'],
  ...['LD_ADD_DTPREL_LO12_NC', 'LD_LDST8_DTPREL_LO12', 'LD_LDST8_DTPREL_LO12_NC'],
  ...['LD_LDST16_DTPREL_LO12', 'LD_LDST16_DTPREL_LO12_NC', 'LD_LDST32_DTPREL_LO12'],
  ...['LD_LDST32_DTPREL_LO12_NC', 'LD_LDST64_DTPREL_LO12', 'LD_LDST64_DTPREL_LO12_NC'],
  ...['IE_MOVW_GOTTPREL_G1', 'IE_MOVW_GOTTPREL_G0_NC', 'IE_ADR_GOTTPREL_PAGE21'],
  ...['IE_LD64_GOTTPREL_LO12_NC', 'IE_LD_GOTTPREL_PREL19', 'LE_MOVW_TPREL_G2'],
  ...['LE_MOVW_TPREL_G1', 'LE_MOVW_TPREL_G1_NC', 'LE_MOVW_TPREL_G0', 'LE_MOVW_TPREL_G0_NC'],
  ...['LE_ADD_TPREL_HI12', 'LE_ADD_TPREL_LO12', 'LE_ADD_TPREL_LO12_NC', 'LE_LDST8_TPREL_LO12'],
  ...['LE_LDST8_TPREL_LO12_NC', 'LE_LDST16_TPREL_LO12', 'LE_LDST16_TPREL_LO12_NC'],
  ...['LE_LDST32_TPREL_LO12', 'LE_LDST32_TPREL_LO12_NC', 'LE_LDST64_TPREL_LO12'],
  ...['LE_LDST64_TPREL_LO12_NC', 'DESC_LD_PREL19', 'DESC_ADR_PREL21', 'DESC_ADR_PAGE21'],
  ...['DESC_LD64_LO12', 'DESC_ADD_LO12', 'DESC_OFF_G1', 'DESC_OFF_G0_NC', 'DESC_LDR'],
  ...['DESC_ADD', 'DESC_CALL', 'LE_LDST128_TPREL_LO12', 'LE_LDST128_TPREL_LO12_NC'],
  ...['LD_LDST128_DTPREL_LO12', 'LD_LDST128_DTPREL_LO12_NC'],
];
const DYNAMIC_NAMES = [
  ...['COPY', 'GLOB_DAT', 'JUMP_SLOT', 'RELATIVE', 'TLS_IMPDEF1', 'TLS_IMPDEF2', 'TLS_TPREL'],
  ...['TLSDESC', 'IRELATIVE'],
];

const refused = new Map([
  ...TLS_NAMES.map((name, i) => [512 + i, { name: `R_AARCH64_TLS${name}`, why: TLS }] as const),
  ...DYNAMIC_NAMES.map(
    (name, i) =>
      [
        1024 + i,
        { name: `R_AARCH64_${name}`, why: name.startsWith('TLS') ? TLS : DYNAMIC },
      ] as const,
  ),
]);

export const ARM64_RELOCATIONS: RelocationTable = { known, refused };
