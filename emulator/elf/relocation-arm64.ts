// AArch64's relocations (ELF for the Arm 64-bit Architecture, 5.7) as kernel code and modules use them. Left out: TLS,
// veneers for branches that do not reach, dynamic ones, PC-relative MOVW, 32-bit GOT entries.
import {
  distance,
  fitsSigned,
  fitsUnsigned,
  type Place,
  type Relocation,
  type RelocationTable,
  tooFar,
  whole,
} from './relocation.ts';

const absolute = (_place: Place, target: bigint) => BigInt.asUintN(64, target);
/** ABS32 and ABS16 take a value that fits with or without a sign. */
const either = (bits: number) => (value: bigint) =>
  fitsUnsigned(value, bits) || fitsSigned(BigInt.asIntN(64, value), bits);
const s = (bits: number) => (value: bigint) => fitsSigned(value, bits);
const none: Relocation = { name: 'R_AARCH64_NONE', size: 0, got: false, apply: () => null };

/** Puts `bits` bits of `value` into the instruction at bit `at`. */
function insert({ view, offset }: Place, value: bigint, at: number, bits: number): void {
  const mask = (2 ** bits - 1) * 2 ** at;
  const field = Number(BigInt.asUintN(bits, value)) * 2 ** at;
  view.setUint32(offset, ((view.getUint32(offset, true) & ~mask) | field) >>> 0, true);
}

/** A branch or literal load: a distance in instructions. @param bits width of the field @param at its lowest bit */
const branch = (name: string, bits: number, at: number): Relocation => ({
  name,
  size: 4,
  got: false,
  apply(place, target) {
    const value = distance(place, target);
    if (value % 4n !== 0n) return `the target is not a multiple of 4 bytes away`;
    if (!fitsSigned(value, bits + 2)) return tooFar(value, bits + 2);
    insert(place, value >> 2n, at, bits);
    return null;
  },
});

/** ADR and ADRP: immlo in bits 30:29, immhi in 23:5. */
function adr(name: string, page: boolean, checked: boolean, got = false): Relocation {
  const low = page ? 0xfffn : 0n;
  return {
    name,
    size: 4,
    got,
    apply(place, target) {
      const value = BigInt.asIntN(64, (target & ~low) - (place.address & ~low));
      if (checked && !fitsSigned(value, page ? 33 : 21)) return tooFar(value, page ? 33 : 21);
      const imm = page ? value >> 12n : value;
      insert(place, imm, 29, 2);
      insert(place, imm >> 2n, 5, 19);
      return null;
    },
  };
}

/** Bits 11:0 of the address in an immediate of 12 bits, scaled by the size of the access. */
const low12 = (name: string, scale: bigint, got = false): Relocation => ({
  name,
  size: 4,
  got,
  apply(place, target) {
    const value = target & 0xfffn;
    if (value % (1n << scale) !== 0n) return `the address is not a multiple of ${1n << scale}`;
    insert(place, value >> scale, 10, 12);
    return null;
  },
});

/** MOVZ, MOVK: 16 bits of the address. @param group 0 to 3 @param checked nothing may lie above them */
const movw = (name: string, group: number, checked: boolean): Relocation => ({
  name,
  size: 4,
  got: false,
  apply(place, target) {
    const value = BigInt.asUintN(64, target);
    const top = (group + 1) * 16;
    if (checked && !fitsUnsigned(value, top)) return tooFar(value, top);
    insert(place, value >> BigInt(group * 16), 5, 16);
    return null;
  },
});

export const ARM64_RELOCATIONS: RelocationTable = new Map<number, Relocation>([
  [0, none],
  [256, none],
  [257, whole('R_AARCH64_ABS64', 8, absolute, null)],
  [258, whole('R_AARCH64_ABS32', 4, absolute, either(32))],
  [259, whole('R_AARCH64_ABS16', 2, absolute, either(16))],
  [260, whole('R_AARCH64_PREL64', 8, distance, null)],
  [261, whole('R_AARCH64_PREL32', 4, distance, s(32))],
  [262, whole('R_AARCH64_PREL16', 2, distance, s(16))],
  [263, movw('R_AARCH64_MOVW_UABS_G0', 0, true)],
  [264, movw('R_AARCH64_MOVW_UABS_G0_NC', 0, false)],
  [265, movw('R_AARCH64_MOVW_UABS_G1', 1, true)],
  [266, movw('R_AARCH64_MOVW_UABS_G1_NC', 1, false)],
  [267, movw('R_AARCH64_MOVW_UABS_G2', 2, true)],
  [268, movw('R_AARCH64_MOVW_UABS_G2_NC', 2, false)],
  [269, movw('R_AARCH64_MOVW_UABS_G3', 3, false)],
  [273, branch('R_AARCH64_LD_PREL_LO19', 19, 5)],
  [274, adr('R_AARCH64_ADR_PREL_LO21', false, true)],
  [275, adr('R_AARCH64_ADR_PREL_PG_HI21', true, true)],
  [276, adr('R_AARCH64_ADR_PREL_PG_HI21_NC', true, false)],
  [277, low12('R_AARCH64_ADD_ABS_LO12_NC', 0n)],
  [278, low12('R_AARCH64_LDST8_ABS_LO12_NC', 0n)],
  [279, branch('R_AARCH64_TSTBR14', 14, 5)],
  [280, branch('R_AARCH64_CONDBR19', 19, 5)],
  [282, branch('R_AARCH64_JUMP26', 26, 0)],
  [283, branch('R_AARCH64_CALL26', 26, 0)],
  [284, low12('R_AARCH64_LDST16_ABS_LO12_NC', 1n)],
  [285, low12('R_AARCH64_LDST32_ABS_LO12_NC', 2n)],
  [286, low12('R_AARCH64_LDST64_ABS_LO12_NC', 3n)],
  [299, low12('R_AARCH64_LDST128_ABS_LO12_NC', 4n)],
  [311, adr('R_AARCH64_ADR_GOT_PAGE', true, true, true)],
  [312, low12('R_AARCH64_LD64_GOT_LO12_NC', 3n, true)],
  [314, whole('R_AARCH64_PLT32', 4, distance, s(32))],
]);
