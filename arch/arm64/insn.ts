// What the engine asks about A64 instructions: accesses, and which of them must not reach the core. Encodings are those
// of the Arm ARM, C4.1 (A64 instruction set encoding).
import {
  type AccessForm,
  type AccessKind,
  type InstructionSet,
  READ,
  type Trap,
  WRITE,
} from '../../emulator/engine.ts';
import { ARM64_FATAL, ARM64_REFUSALS } from './refusals.ts';

const word = (code: Uint8Array): number =>
  (code[0] | (code[1] << 8) | (code[2] << 16) | (code[3] << 24)) >>> 0;
const bits = (w: number, high: number, low: number): number =>
  (w >>> low) & (2 ** (high - low + 1) - 1);
const signExtend = (value: number, width: number): number =>
  (value << (32 - width)) >> (32 - width);

const isFatal = (w: number): boolean => ARM64_FATAL.some((row) => row.matches(w));

function trapOf(code: Uint8Array): Trap | null {
  const w = word(code);
  return ARM64_REFUSALS.find((row) => row.matches(w))?.trap ?? null;
}

interface Place {
  readonly base: number;
  readonly displacement: number;
  readonly index?: number;
  readonly extend?: AccessForm['extend'];
  readonly shift?: number;
}

/** @param unit bytes of the first store of the core, which makes wide ones in pieces */
const form = (
  place: Place,
  size: number,
  kind: AccessKind,
  unit = Math.min(size, 8),
  exact = true,
): AccessForm => ({
  base: place.base,
  index: place.index ?? -1,
  shift: place.shift ?? 0,
  extend: place.extend ?? 'none',
  displacementLo: place.displacement >>> 0,
  displacementHi: place.displacement < 0 ? 0xffff_ffff : 0,
  size,
  unit,
  kind,
  exact,
  lastByteFirst: false,
});

/** General register 31 of an address is SP. */
const baseOf = (w: number): number => bits(w, 9, 5);

/** Loads and stores: op0 (bits 31:28) xx1xx0xx..., C4.1.64 (Loads and Stores). */
function accessesOf(w: number): AccessForm[] {
  if ((w & 0x0a00_0000) >>> 0 !== 0x0800_0000) return systemAccess(w);
  const group = bits(w, 29, 28);
  if (group === 0) return bits(w, 26, 26) ? simdStructures(w) : exclusives(w);
  if (group === 1) return literal(w);
  return group === 2 ? pairs(w) : registers(w);
}

/** DC ZVA, Xt: writes a block; the reported address is that of the register. */
function systemAccess(w: number): AccessForm[] {
  if ((w & 0xffff_ffe0) >>> 0 !== 0xd50b_7420) return [];
  const base = bits(w, 4, 0);
  return base === 31 ? [] : [form({ base, displacement: 0 }, 1, WRITE)];
}

function exclusives(w: number): AccessForm[] {
  const place = { base: baseOf(w), displacement: 0 };
  const size = 1 << bits(w, 31, 30);
  const load = bits(w, 22, 22) === 1;
  const o2 = bits(w, 23, 23);
  const o1 = bits(w, 21, 21);
  // CAS and CASP read, then write.
  if (o1 && (o2 || bits(w, 31, 31) === 0)) {
    const width = o2 ? size : 2 * (bits(w, 30, 30) ? 8 : 4);
    return [form(place, width, READ), form(place, width, WRITE)];
  }
  const width = o1 ? size * 2 : size;
  return [form(place, width, load ? READ : WRITE)];
}

/** LDR (literal); bits 25:24 = 01 are LDAPUR and STLUR, or memory tags. */
function literal(w: number): AccessForm[] {
  if (bits(w, 25, 24) === 1) {
    if (bits(w, 21, 21) || bits(w, 11, 10)) return [];
    const place = { base: baseOf(w), displacement: signExtend(bits(w, 20, 12), 9) };
    return [form(place, 1 << bits(w, 31, 30), bits(w, 23, 22) === 0 ? WRITE : READ)];
  }
  const simd = bits(w, 26, 26);
  const opc = bits(w, 31, 30);
  if (!simd && opc === 3) return [];
  const size = simd ? 4 << opc : opc === 1 ? 8 : 4;
  return [form({ base: PC, displacement: signExtend(bits(w, 23, 5), 19) * 4 }, size, READ)];
}

const SP = 31;
const PC = 32;

function pairs(w: number): AccessForm[] {
  const opc = bits(w, 31, 30);
  const simd = bits(w, 26, 26);
  const unit = simd ? 4 << opc : opc & 2 ? 8 : 4;
  const postIndex = bits(w, 24, 23) === 1;
  const displacement = postIndex ? 0 : signExtend(bits(w, 21, 15), 7) * unit;
  const kind = bits(w, 22, 22) ? READ : WRITE;
  const base = baseOf(w);
  // SP is a multiple of 16, so a pair of eight bytes there never crosses a page.
  const whole = base === SP && unit === 8 && displacement % 16 === 0;
  return [form({ base, displacement }, unit * 2, kind, whole ? 16 : Math.min(unit, 8))];
}

/** One register: unsigned offset, unscaled, pre- and post-index, register offset, and the LSE atomics. */
function registers(w: number): AccessForm[] {
  const simd = bits(w, 26, 26);
  const opc = bits(w, 23, 22);
  const scale = simd && opc & 2 ? 4 : bits(w, 31, 30);
  const size = 1 << scale;
  const load = simd ? (opc & 1) === 1 : opc !== 0;
  const base = baseOf(w);
  // PRFM touches nothing.
  const prefetch = !simd && bits(w, 31, 30) === 3 && opc === 2;
  const kind = load ? READ : WRITE;
  if (bits(w, 24, 24)) {
    return prefetch ? [] : [form({ base, displacement: bits(w, 21, 10) * size }, size, kind)];
  }
  const op4 = bits(w, 11, 10);
  if (bits(w, 21, 21) === 0) {
    const displacement = op4 === 1 ? 0 : signExtend(bits(w, 20, 12), 9);
    return prefetch ? [] : [form({ base, displacement }, size, kind)];
  }
  if (op4 === 2) {
    const option = bits(w, 15, 13);
    const index = bits(w, 20, 16);
    const extend = option === 2 ? 'uxtw' : option === 6 ? 'sxtw' : 'none';
    // Register 31 is XZR here.
    const place = index === 31 ? {} : { index, extend, shift: bits(w, 12, 12) ? scale : 0 };
    return prefetch ? [] : [form({ base, displacement: 0, ...place } as Place, size, kind)];
  }
  if (op4 === 0) return atomics(w, base, size);
  // LDRAA, LDRAB authenticate the address first.
  return [form({ base, displacement: 0 }, 8, READ, 8, false)];
}

function atomics(w: number, base: number, size: number): AccessForm[] {
  const place = { base, displacement: 0 };
  const o3 = bits(w, 15, 15);
  const opc = bits(w, 14, 12);
  // LDAPR
  if (o3 && opc === 4) return [form(place, size, READ)];
  return [form(place, size, READ), form(place, size, WRITE)];
}

/** LD1..LD4, ST1..ST4 and the single-structure forms. */
function simdStructures(w: number): AccessForm[] {
  const kind = bits(w, 22, 22) ? READ : WRITE;
  const place = { base: baseOf(w), displacement: 0 };
  if (bits(w, 24, 24) === 0) {
    const registersOf: Readonly<Record<number, number>> = {
      0: 4,
      2: 4,
      4: 3,
      6: 3,
      7: 1,
      8: 2,
      10: 2,
    };
    const count = registersOf[bits(w, 15, 12)];
    const unit = 1 << bits(w, 11, 10);
    return count ? [form(place, count * (bits(w, 30, 30) ? 16 : 8), kind, unit)] : [];
  }
  const opcode = bits(w, 15, 13);
  const count = (((opcode & 1) << 1) | bits(w, 21, 21)) + 1;
  const element =
    opcode >= 6
      ? 1 << bits(w, 11, 10)
      : opcode >= 4
        ? bits(w, 10, 10)
          ? 8
          : 4
        : opcode >= 2
          ? 2
          : 1;
  return [form(place, count * element, kind, element)];
}

export const arm64Instructions: InstructionSet = {
  fatal(page) {
    const found: number[] = [];
    for (let at = 0; at + 4 <= page.length; at += 4) {
      if ((page[at + 3] & 0x8e) !== 0x0e) continue;
      if (isFatal(word(page.subarray(at, at + 4)))) found.push(at);
    }
    return found;
  },
  trap: trapOf,
  length: (code) => (code.length < 4 ? 0 : 4),
  repeats: () => false,
  // C4.1.66, "Branches, Exception Generating and System instructions": all but hints, barriers and register moves.
  jumps(code) {
    const w = word(code);
    if (bits(w, 28, 26) !== 0b101) return false;
    return bits(w, 31, 24) !== 0b1101_0101;
  },
  accesses: (code) => (code.length < 4 ? [] : accessesOf(word(code))),
};
