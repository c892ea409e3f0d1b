// Operands of an x86-64 instruction, parsed from the disassembler's Intel text. For costing only: it knows widths,
// registers and addresses, not encodings. Sub-registers are parts of one value, as the renamer sees them; it leaves
// out the x87 stack, whose registers an instruction alone does not tell, and control and debug registers.

/** General registers 0 to 15 in the encoding's order, then vector registers 16 to 47, MMX registers, masks. */
export const VECTOR = 16;
export const MMX = 48;
export const MASK = 56;
/** The carry flag, and the other status flags, which the core renames apart. */
export const CARRY = 64;
export const FLAGS = 65;
/** First of the values that only live inside one instruction. */
export const TEMPORARY = 66;
export const LOADED = TEMPORARY + 1;
export const STORED = TEMPORARY + 2;
export const MERGED = TEMPORARY + 3;
/** Values there are, the temporaries included. */
export const VALUES = 80;

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;

export interface RegisterOperand {
  readonly kind: 'register';
  readonly value: number;
  /** Bits: 8 to 64 for general registers, 64 for MMX registers and masks, 128 to 512 for vector registers. */
  readonly width: number;
  /** ah, ch, dh, bh. */
  readonly high: boolean;
}

/** EVEX's `{k1}` behind an operand, and `{z}`. */
export interface Masking {
  /** Value of the mask. */
  readonly mask: number;
  /** What the mask leaves out becomes zero; else the destination keeps it. */
  readonly zeroes: boolean;
}

export interface ImmediateOperand {
  readonly kind: 'immediate';
  readonly number: bigint;
}

export interface MemoryOperand {
  readonly kind: 'memory';
  /** Bits; 0 if the text names no size. */
  readonly width: number;
  /** Value number, or -1. rip as base is -1 too, with {@link relative}. */
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly disp: number;
  readonly relative: boolean;
  readonly segment: string | null;
}

/** A register of a class that has no value here (x87, segment, control). */
export interface OtherOperand {
  readonly kind: 'other';
  readonly text: string;
}

export type Operand = RegisterOperand | ImmediateOperand | MemoryOperand | OtherOperand;

export const isRegister = (operand: Operand | undefined): operand is RegisterOperand =>
  operand?.kind === 'register';
export const isMemory = (operand: Operand | undefined): operand is MemoryOperand =>
  operand?.kind === 'memory';
export const isImmediate = (operand: Operand | undefined): operand is ImmediateOperand =>
  operand?.kind === 'immediate';
/** Vector or MMX register. */
export const isVector = (operand: Operand | undefined): boolean =>
  isRegister(operand) && operand.value >= VECTOR && operand.value < MASK;

const CLASSIC = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const LOW_BYTES = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'];
const HIGH_BYTES = ['ah', 'ch', 'dh', 'bh'];
const VECTOR_WIDTHS: Readonly<Record<string, number>> = { xmm: 128, ymm: 256, zmm: 512 };
const POINTER_WIDTHS: Readonly<Record<string, number>> = {
  byte: 8,
  word: 16,
  dword: 32,
  qword: 64,
  xmmword: 128,
  ymmword: 256,
  zmmword: 512,
  tbyte: 80,
};

function registers(): ReadonlyMap<string, RegisterOperand> {
  const all = new Map<string, RegisterOperand>();
  const add = (name: string, value: number, width: number, high = false) =>
    all.set(name, { kind: 'register', value, width, high });
  CLASSIC.forEach((name, value) => {
    add(name, value, 16);
    add(`e${name}`, value, 32);
    add(`r${name}`, value, 64);
  });
  LOW_BYTES.forEach((name, value) => {
    add(name, value, 8);
  });
  HIGH_BYTES.forEach((name, value) => {
    add(name, value, 8, true);
  });
  for (let value = 8; value < 16; value++) {
    add(`r${value}`, value, 64);
    add(`r${value}d`, value, 32);
    add(`r${value}w`, value, 16);
    add(`r${value}b`, value, 8);
  }
  for (const [prefix, width] of Object.entries(VECTOR_WIDTHS)) {
    for (let n = 0; n < 32; n++) add(`${prefix}${n}`, VECTOR + n, width);
  }
  for (let n = 0; n < 8; n++) {
    add(`mm${n}`, MMX + n, 64);
    add(`k${n}`, MASK + n, 64);
  }
  return all;
}

const REGISTERS = registers();

function parseMemory(text: string): MemoryOperand {
  const size = /^(\w+) ptr /.exec(text);
  const segment = /\b([c-gs]s):/.exec(text);
  const inside = text.slice(text.indexOf('[') + 1, text.lastIndexOf(']'));
  let base = -1;
  let index = -1;
  let scale = 1;
  let disp = 0;
  let relative = false;
  for (const [, sign, term] of inside.matchAll(/([+-]?)\s*([^\s+-]+)/g)) {
    const [name, factor] = term.split('*');
    const register = REGISTERS.get(name);
    if (name === 'rip') relative = true;
    else if (register === undefined) disp += sign === '-' ? -Number(name) : Number(name);
    else if (factor !== undefined || base >= 0) {
      index = register.value;
      scale = factor === undefined ? 1 : Number(factor);
    } else base = register.value;
  }
  return {
    kind: 'memory',
    width: size === null ? 0 : (POINTER_WIDTHS[size[1]] ?? 0),
    base,
    index,
    scale,
    disp,
    relative,
    segment: segment === null ? null : segment[1],
  };
}

function parseOperand(text: string): Operand {
  const bare = text.replace(/\{[^}]*\}/g, '').trim();
  const register = REGISTERS.get(bare);
  if (register !== undefined) return register;
  if (bare.includes('[')) return parseMemory(bare);
  if (/^-?(0x[0-9a-f]+|\d+)$/.test(bare)) {
    const negative = bare.startsWith('-');
    const magnitude = BigInt(negative ? bare.slice(1) : bare);
    return { kind: 'immediate', number: negative ? -magnitude : magnitude };
  }
  return { kind: 'other', text: bare };
}

/** @param text operands as the disassembler writes them, Intel syntax; empty for none */
export function parseOperands(text: string): readonly Operand[] {
  return text.trim() === '' ? [] : text.split(',').map(parseOperand);
}

/** @returns the masking that the operands' text names, or null */
export function maskingOf(text: string): Masking | null {
  const number = /\{k([0-7])\}/.exec(text)?.[1];
  return number === undefined
    ? null
    : { mask: MASK + Number(number), zeroes: text.includes('{z}') };
}
