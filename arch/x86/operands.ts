// Memory accesses of x86-64 instructions, with the kind that the error code's W bit would show: every
// read-modify-write is a write from its first access (measured on hardware, also for a cmpxchg that fails). SDM Vol. 2
// for operands and sizes. Left out: far branches, task and descriptor-table loads behind a selector, AVX.
import type { Decoded } from './decode.ts';

/** One access: where its address comes from, its size in bytes, and whether it writes. */
export interface Operand {
  /** modrm: the memory operand. stack: [rsp + offset]. The others are the registers of string instructions. */
  readonly at: 'modrm' | 'stack' | 'frame' | 'rsi' | 'rdi';
  readonly offset: number;
  readonly size: number;
  /** Bytes of the first store of the core, which makes wide ones in pieces. */
  readonly unit: number;
  readonly write: boolean;
  /** False: the address depends on more than the operand (bit strings, moffs, XSAVE areas by mask). */
  readonly exact: boolean;
  readonly lastByteFirst: boolean;
}

const operand = (at: Operand['at'], size: number, write: boolean, offset = 0): Operand => ({
  at,
  offset,
  size,
  unit: Math.min(size, 8),
  write,
  exact: true,
  lastByteFirst: false,
});

const memory = (size: number, write: boolean): Operand[] =>
  size > 0 ? [operand('modrm', size, write)] : [];
const vague = (operands: readonly Operand[]): Operand[] =>
  operands.map((one) => ({ ...one, exact: false }));
const inPieces = (operands: readonly Operand[], unit: number): Operand[] =>
  operands.map((one) => ({ ...one, unit: Math.min(one.size, unit) }));
const push = operand('stack', 8, true, -8);
const pop = operand('stack', 8, false);

/** General operand size in bytes: 2, 4 or 8. */
const wordSize = (d: Decoded): number => (d.rex & 8 ? 8 : d.operandSize16 ? 2 : 4);
const sizeOf = (d: Decoded): number => ((d.opcode & 1) === 0 ? 1 : wordSize(d));

/** All accesses in the order of the hardware; empty if there are none. */
export function operands(d: Decoded): Operand[] {
  if (d.map === 0x0f) return twoByte(d);
  if (d.map === 0x0f38) return d.mod === 3 ? [] : map38(d);
  if (d.map === 0x0f3a) return d.mod === 3 ? [] : map3a(d);
  return implicit(d) ?? (d.hasModrm && d.mod !== 3 ? explicit(d) : []);
}

/** One-byte opcodes without a memory operand in ModRM, and those that also touch the stack. */
function implicit(d: Decoded): Operand[] | null {
  const op = d.opcode;
  const stackSize = d.operandSize16 ? 2 : 8;
  if ((op >= 0x50 && op <= 0x57) || op === 0x68 || op === 0x6a || op === 0x9c) {
    return [operand('stack', stackSize, true, -stackSize)];
  }
  if ((op >= 0x58 && op <= 0x5f) || op === 0x9d) return [operand('stack', stackSize, false)];
  switch (op) {
    case 0xa0:
    case 0xa1:
    case 0xa2:
    case 0xa3:
      return vague(memory(sizeOf(d), op >= 0xa2));
    case 0xa4:
    case 0xa5:
      return [operand('rsi', sizeOf(d), false), operand('rdi', sizeOf(d), true)];
    case 0xa6:
    case 0xa7:
      return [operand('rsi', sizeOf(d), false), operand('rdi', sizeOf(d), false)];
    case 0xaa:
    case 0xab:
      return [operand('rdi', sizeOf(d), true)];
    case 0xac:
    case 0xad:
      return [operand('rsi', sizeOf(d), false)];
    case 0xae:
    case 0xaf:
      return [operand('rdi', sizeOf(d), false)];
    case 0xc2:
    case 0xc3:
      return [pop];
    case 0xc8:
    case 0xe8:
      return [push];
    case 0xc9:
      return [operand('frame', 8, false)];
    case 0xcf:
      return [operand('stack', 40, false)];
    case 0xd7:
      return vague(memory(1, false));
    case 0x8f:
      return d.mod === 3 ? [operand('stack', stackSize, false)] : [pop, ...vague(memory(8, true))];
    case 0xff:
      if (d.reg === 2) return d.mod === 3 ? [push] : [...memory(8, false), push];
      if (d.reg === 6) {
        const down = operand('stack', stackSize, true, -stackSize);
        return d.mod === 3 ? [down] : [...memory(stackSize, false), down];
      }
      return null;
    default:
      return null;
  }
}

/** One-byte opcodes with a memory operand. */
function explicit(d: Decoded): Operand[] {
  const op = d.opcode;
  const size = sizeOf(d);
  if (op < 0x40) return memory(size, (op & 2) === 0 && op >> 3 !== 7);
  if (op >= 0xd8 && op <= 0xdf) return x87(op & 7, d.reg);
  switch (op) {
    case 0x63:
      return memory(4, false);
    case 0x69:
    case 0x6b:
      return memory(wordSize(d), false);
    case 0x80:
    case 0x81:
    case 0x83:
      return memory(size, d.reg !== 7);
    case 0x84:
    case 0x85:
    case 0x8a:
    case 0x8b:
      return memory(size, false);
    case 0x8c:
      return memory(2, true);
    case 0x8e:
      return memory(2, false);
    case 0x8d:
      return [];
    case 0xf6:
    case 0xf7:
      return memory(size, d.reg === 2 || d.reg === 3);
    case 0xfe:
      return memory(1, true);
    case 0xff:
      // inc, dec; jmp; far branches read a pointer of 6 or 10 bytes.
      if (d.reg < 2) return memory(size, true);
      return memory(d.reg === 4 ? 8 : wordSize(d) + 2, false);
    default:
      // xchg, mov to memory, shifts, mov immediate.
      return memory(size, true);
  }
}

/** Sizes of x87 memory operands by opcode & 7, then reg; negative: stored; 0: none. SDM Vol. 2A, table A-7. */
const X87: readonly (readonly number[])[] = [
  [4, 4, 4, 4, 4, 4, 4, 4],
  [4, 0, -4, -4, 28, 2, -28, -2],
  [4, 4, 4, 4, 4, 4, 4, 4],
  [4, -4, -4, -4, 0, 10, 0, -10],
  [8, 8, 8, 8, 8, 8, 8, 8],
  [8, -8, -8, -8, 108, 0, -108, -2],
  [2, 2, 2, 2, 2, 2, 2, 2],
  [2, -2, -2, -2, 10, 8, -10, -8],
];

function x87(row: number, reg: number): Operand[] {
  const size = X87[row][reg];
  // Environments begin with a word of two or four bytes, BCD is written byte by byte.
  return inPieces(
    memory(Math.abs(size), size < 0),
    Math.abs(size) > 10 ? 2 : row === 7 && reg === 6 ? 1 : 8,
  );
}

/** Size of an SSE operand by mandatory prefix: none, 66, f3, f2. */
const bySse = (d: Decoded, none: number, p66: number, f3: number, f2: number): number => {
  if (d.repeat === 0xf3) return f3;
  if (d.repeat === 0xf2) return f2;
  return d.operandSize16 ? p66 : none;
};

function twoByte(d: Decoded): Operand[] {
  const op = d.opcode;
  if (op === 0xa0 || op === 0xa8) return [push];
  if (op === 0xa1 || op === 0xa9) return [pop];
  // maskmovq, maskmovdqu: bytes by mask.
  if (op === 0xf7) return vague([operand('rdi', d.operandSize16 ? 16 : 8, true)]);
  if (!d.hasModrm || d.mod === 3) return [];
  if (op >= 0x90 && op <= 0x9f) return memory(1, true);
  if (op >= 0x40 && op <= 0x4f) return memory(wordSize(d), false);
  if (op >= 0x10 && op <= 0x17) return sseMoves(d);
  if (op >= 0x28 && op <= 0x2f) return sseConversions(d);
  if (op >= 0x51 && op <= 0x5f) return memory(sseArithmetic(d), false);
  if (op >= 0x60 && op <= 0x7f) return packed(d);
  if (op >= 0xd0) return packedHigh(d);
  return system(d);
}

function sseMoves(d: Decoded): Operand[] {
  switch (d.opcode) {
    case 0x10:
    case 0x11:
      return memory(bySse(d, 16, 16, 4, 8), d.opcode === 0x11);
    case 0x12:
      return memory(bySse(d, 8, 8, 16, 8), false);
    case 0x13:
    case 0x17:
      return memory(8, true);
    case 0x16:
      return memory(bySse(d, 8, 8, 16, 8), false);
    default:
      return memory(16, false);
  }
}

function sseConversions(d: Decoded): Operand[] {
  switch (d.opcode) {
    case 0x28:
      return memory(16, false);
    case 0x29:
    case 0x2b:
      return memory(16, true);
    case 0x2a:
      return memory(d.repeat ? (d.rex & 8 ? 8 : 4) : 8, false);
    case 0x2c:
    case 0x2d:
      return memory(bySse(d, 8, 16, 4, 8), false);
    default:
      return memory(d.operandSize16 ? 8 : 4, false);
  }
}

function sseArithmetic(d: Decoded): number {
  if (d.opcode === 0x5a) return bySse(d, 8, 16, 4, 8);
  return d.opcode === 0x5b ? 16 : bySse(d, 16, 16, 4, 8);
}

/** 0f 60 to 0f 7f: MMX, and with a prefix SSE2. */
function packed(d: Decoded): Operand[] {
  const op = d.opcode;
  const full = d.operandSize16 || d.repeat ? 16 : 8;
  if (op <= 0x62) return memory(full === 16 ? 16 : 4, false);
  if (op === 0x6e) return memory(d.rex & 8 ? 8 : 4, false);
  if (op === 0x7e) return d.repeat === 0xf3 ? memory(8, false) : memory(d.rex & 8 ? 8 : 4, true);
  return memory(full, op === 0x7f);
}

/** 0f d0 to 0f ff. */
function packedHigh(d: Decoded): Operand[] {
  switch (d.opcode) {
    case 0xd6:
      return memory(8, true);
    case 0xe7:
      return memory(d.operandSize16 ? 16 : 8, true);
    case 0xe6:
      return memory(d.repeat === 0xf3 ? 8 : 16, false);
    case 0xff:
      return [];
    default:
      return memory(d.operandSize16 || d.repeat ? 16 : 8, false);
  }
}

/** The rest of the two-byte map: system, bit strings, exchanges. */
function system(d: Decoded): Operand[] {
  const size = wordSize(d);
  switch (d.opcode) {
    case 0x00:
      return memory(2, d.reg < 2);
    case 0x01:
      if (d.reg < 2) return inPieces(memory(10, true), 2);
      if (d.reg < 4) return memory(10, false);
      return d.reg === 7 ? [] : memory(2, d.reg === 4);
    case 0x02:
    case 0x03:
      return memory(2, false);
    case 0xa3:
      return vague(memory(size, false));
    case 0xab:
    case 0xb3:
    case 0xbb:
      return vague(memory(size, true));
    case 0xa4:
    case 0xa5:
    case 0xac:
    case 0xad:
      return memory(size, true);
    case 0xae:
      return stateAreas(d);
    case 0xaf:
    case 0xb8:
    case 0xbc:
    case 0xbd:
      return memory(size, false);
    case 0xb0:
    case 0xb1:
    case 0xc0:
    case 0xc1:
      return memory(sizeOf(d), true);
    case 0xb2:
    case 0xb4:
    case 0xb5:
      return memory(size + 2, false);
    case 0xb6:
    case 0xbe:
      return memory(1, false);
    case 0xb7:
    case 0xbf:
      return memory(2, false);
    case 0xba:
      return memory(size, d.reg !== 4);
    case 0xc2:
      return memory(bySse(d, 16, 16, 4, 8), false);
    case 0xc3:
      return memory(d.rex & 8 ? 8 : 4, true);
    case 0xc4:
      return memory(2, false);
    case 0xc6:
      return memory(16, false);
    case 0xc7:
      if (d.reg === 1) return memory(d.rex & 8 ? 16 : 8, true);
      return vague(memory(64, d.reg !== 3));
    default:
      // prefetch and the hint nops touch nothing.
      return [];
  }
}

const FXSAVE_AREA = 512;
/** With the header. */
const XSAVE_AREA = 576;

/**
 * 0f ae: FXSAVE and XSAVE probe the end of their area first (measured on a Xeon), the cache line flushes read. XSAVE's
 * area is the legacy region and the header, whatever EDX:EAX asks for: the core has no state beyond them. (An EPYC
 * names XSAVE's first byte while the page of that is missing, and then the last.)
 */
function stateAreas(d: Decoded): Operand[] {
  const area = (size: number, write: boolean): Operand[] =>
    inPieces(memory(size, write), 2).map((one) => ({ ...one, lastByteFirst: true }));
  switch (d.reg) {
    case 0:
      return area(FXSAVE_AREA, true);
    case 1:
      return area(FXSAVE_AREA, false);
    case 2:
      return memory(4, false);
    case 3:
      return memory(4, true);
    case 4:
      return area(XSAVE_AREA, true);
    case 5:
      // The header comes first, at 512 (measured on an EPYC).
      return vague(memory(XSAVE_AREA, false));
    case 6:
      // With 66 it is clwb, otherwise xsaveopt.
      return d.operandSize16 ? memory(1, false) : area(XSAVE_AREA, true);
    default:
      return memory(1, false);
  }
}

function map38(d: Decoded): Operand[] {
  const op = d.opcode;
  if (op === 0xf0 || op === 0xf1) {
    if (d.repeat === 0xf2) return memory(op === 0xf0 ? 1 : wordSize(d), false);
    return memory(wordSize(d), op === 0xf1);
  }
  if (op === 0xf6) return memory(d.rex & 8 ? 8 : 4, false);
  // pmovsx, pmovzx: half, quarter or eighth of a register.
  if ((op >= 0x20 && op <= 0x25) || (op >= 0x30 && op <= 0x35)) {
    return memory([8, 4, 2, 8, 4, 8][op & 7], false);
  }
  return memory(d.operandSize16 ? 16 : 8, false);
}

function map3a(d: Decoded): Operand[] {
  switch (d.opcode) {
    case 0x14:
      return memory(1, true);
    case 0x15:
      return memory(2, true);
    case 0x16:
      return memory(d.rex & 8 ? 8 : 4, true);
    case 0x17:
      return memory(4, true);
    case 0x20:
      return memory(1, false);
    case 0x21:
      return memory(4, false);
    case 0x22:
      return memory(d.rex & 8 ? 8 : 4, false);
    default:
      return memory(d.operandSize16 ? 16 : 8, false);
  }
}
