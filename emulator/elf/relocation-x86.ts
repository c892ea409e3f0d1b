// x86-64's relocations (System V psABI, 4.4.1) as kernel code and modules use them. Left out: TLS, PLT entries (a call
// goes straight to its function), copy and other dynamic ones, sizes, relaxation of GOT loads.
import {
  distance,
  fitsSigned,
  fitsUnsigned,
  type Place,
  type Relocation,
  type RelocationTable,
  whole,
} from './relocation.ts';

const absolute = (_place: Place, target: bigint) => BigInt.asUintN(64, target);
const signed = (_place: Place, target: bigint) => BigInt.asIntN(64, target);
const s = (bits: number) => (value: bigint) => fitsSigned(value, bits);
const u = (bits: number) => (value: bigint) => fitsUnsigned(value, bits);
const none: Relocation = { name: 'R_X86_64_NONE', size: 0, got: false, apply: () => null };

export const X86_RELOCATIONS: RelocationTable = new Map<number, Relocation>([
  [0, none],
  [1, whole('R_X86_64_64', 8, absolute, null)],
  [2, whole('R_X86_64_PC32', 4, distance, s(32))],
  [4, whole('R_X86_64_PLT32', 4, distance, s(32))],
  [9, whole('R_X86_64_GOTPCREL', 4, distance, s(32), true)],
  [10, whole('R_X86_64_32', 4, absolute, u(32))],
  [11, whole('R_X86_64_32S', 4, signed, s(32))],
  [12, whole('R_X86_64_16', 2, absolute, u(16))],
  [13, whole('R_X86_64_PC16', 2, distance, s(16))],
  [14, whole('R_X86_64_8', 1, absolute, u(8))],
  [15, whole('R_X86_64_PC8', 1, distance, s(8))],
  [24, whole('R_X86_64_PC64', 8, distance, null)],
  [41, whole('R_X86_64_GOTPCRELX', 4, distance, s(32), true)],
  [42, whole('R_X86_64_REX_GOTPCRELX', 4, distance, s(32), true)],
]);
