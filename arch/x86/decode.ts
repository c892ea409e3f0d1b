// Prefixes, opcode and ModRM of an x86-64 instruction in 64-bit mode, and so its length (SDM Vol. 2A, chapter 2 and
// appendix A). VEX and EVEX are only measured; XOP passes for another instruction. What an instruction does is in
// operands.ts.

/** Parts of one instruction. Offsets count from its first byte. */
export interface Decoded {
  /** 0: one-byte opcodes; 0x0f, 0x0f38, 0x0f3a: the escape before the opcode. */
  readonly map: 0 | 0x0f | 0x0f38 | 0x0f3a;
  readonly opcode: number;
  /** Bytes in all; 0 if the code ends too early or the instruction does not exist. */
  readonly length: number;
  readonly operandSize16: boolean;
  readonly addressSize32: boolean;
  /** 0xf2, 0xf3, or 0. */
  readonly repeat: number;
  readonly lock: boolean;
  /** FS or GS override: its base is added. */
  readonly segmentBase: boolean;
  readonly rex: number;
  readonly hasModrm: boolean;
  readonly mod: number;
  /** Without REX.R. */
  readonly reg: number;
  /** Memory operand, where mod is not 3: register numbers with REX, -1 none; base -2: instruction pointer. */
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly displacement: number;
  readonly immediate: number;
  /** Bytes of the immediate, which ends the instruction; a RIP-relative displacement stands before it. */
  readonly immediateSize: number;
}

const REX_B = 1;
const REX_X = 2;
const REX_W = 8;

/** `from..to` and single opcodes as a set. */
function opcodes(...ranges: readonly (number | readonly [number, number])[]): ReadonlySet<number> {
  const set = new Set<number>();
  for (const range of ranges) {
    const [from, to] = typeof range === 'number' ? [range, range] : range;
    for (let n = from; n <= to; n++) set.add(n);
  }
  return set;
}

// Appendix A, table A-2. The arithmetic rows 00 to 3f repeat every eight.
const ALU_ROWS = [0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38];
const MODRM_1 = opcodes(
  ...ALU_ROWS.map((row) => [row, row + 3] as const),
  ...[0x63, 0x69, 0x6b, 0xc0, 0xc1, 0xc6, 0xc7, 0xf6, 0xf7, 0xfe, 0xff],
  ...([
    [0x80, 0x8f],
    [0xd0, 0xd3],
    [0xd8, 0xdf],
  ] as const),
);
const IMM8_1 = opcodes(
  ...ALU_ROWS.map((row) => row + 4),
  ...[0x6a, 0x6b, 0x80, 0x83, 0xa8, 0xc0, 0xc1, 0xc6, 0xcd, 0xeb],
  ...([
    [0x70, 0x7f],
    [0xb0, 0xb7],
    [0xe0, 0xe7],
  ] as const),
);
/** Four bytes, or two with an operand size prefix. */
const IMM_Z_1 = opcodes(...ALU_ROWS.map((row) => row + 5), 0x68, 0x69, 0x81, 0xa9, 0xc7);
/** Not in 64-bit mode. */
const NONE_1 = opcodes(
  ...[0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x82, 0x9a],
  ...[0xce, 0xd4, 0xd5, 0xd6, 0xea],
);

// Table A-3.
const NO_MODRM_2 = opcodes(
  ...([
    [0x05, 0x09],
    [0x30, 0x37],
    [0x80, 0x8f],
    [0xa0, 0xa2],
    [0xa8, 0xaa],
    [0xc8, 0xcf],
  ] as const),
  ...[0x0b, 0x0e, 0x77],
);
const IMM8_2 = opcodes([0x70, 0x73], 0xa4, 0xac, 0xba, 0xc2, 0xc4, 0xc5, 0xc6, 0x0f);

/** Length of the immediate of an opcode. */
function immediateLength(
  map: number,
  opcode: number,
  reg: number,
  op16: boolean,
  rexW: boolean,
  a32: boolean,
): number {
  const z = op16 && !rexW ? 2 : 4;
  if (map === 0x0f) {
    if (opcode >= 0x80 && opcode <= 0x8f) return 4;
    return IMM8_2.has(opcode) ? 1 : 0;
  }
  if (map === 0x0f3a) return 1;
  if (map === 0x0f38) return 0;
  if (IMM8_1.has(opcode)) return 1;
  if (opcode === 0xe8 || opcode === 0xe9) return 4;
  if (IMM_Z_1.has(opcode)) return z;
  if (opcode >= 0xb8 && opcode <= 0xbf) return rexW ? 8 : z;
  if (opcode >= 0xa0 && opcode <= 0xa3) return a32 ? 4 : 8;
  if (opcode === 0xf6) return reg < 2 ? 1 : 0;
  if (opcode === 0xf7) return reg < 2 ? z : 0;
  if (opcode === 0xc2 || opcode === 0xca) return 2;
  return opcode === 0xc8 ? 3 : 0;
}

function signed(code: Uint8Array, at: number, length: number): number {
  if (length === 1) return (code[at] << 24) >> 24;
  if (length === 4) {
    return code[at] | (code[at + 1] << 8) | (code[at + 2] << 16) | (code[at + 3] << 24);
  }
  return 0;
}

/** Bytes between the first of VEX and EVEX and the opcode. */
const VECTOR_PAYLOAD: Readonly<Record<number, number>> = { 197: 1, 196: 2, 98: 3 };

/** Offset behind a VEX or EVEX instruction (SDM Vol. 2A, 2.3 and 2.7). @param at behind its first byte */
function vectorEnd(code: Uint8Array, at: number, first: number): number {
  const map = first === 0xc5 ? 1 : code[at] & (first === 0xc4 ? 0x1f : 7);
  const opcodeAt = at + VECTOR_PAYLOAD[first];
  const opcode = code[opcodeAt];
  const immediate = map === 3 || (map === 1 && IMM8_2.has(opcode)) ? 1 : 0;
  // vzeroupper, vzeroall
  if (map === 1 && opcode === 0x77) return opcodeAt + 1;
  const modrm = code[opcodeAt + 1];
  const mod = modrm >> 6;
  const hasSib = mod !== 3 && (modrm & 7) === 4;
  const noBase = mod === 0 && ((hasSib ? code[opcodeAt + 2] : modrm) & 7) === 5;
  const displacement = mod === 1 ? 1 : mod === 2 || noBase ? 4 : 0;
  return opcodeAt + 2 + (hasSib ? 1 : 0) + displacement + immediate;
}

const isLegacyPrefix = (byte: number): boolean =>
  (byte & 0xe7) === 0x26 ||
  (byte >= 0x64 && byte <= 0x67) ||
  byte === 0xf0 ||
  (byte & 0xfe) === 0xf2;

/** True for bytes that may stand before an opcode. */
export const isPrefix = (byte: number): boolean => isLegacyPrefix(byte) || (byte & 0xf0) === 0x40;

/** @param code the instruction and what follows, up to 15 bytes are looked at */
export function decode(code: Uint8Array): Decoded {
  let op16 = false;
  let a32 = false;
  let repeat = 0;
  let lock = false;
  let segmentBase = false;
  let rex = 0;
  let at = 0;
  for (; at < code.length && isPrefix(code[at]); at++) {
    const byte = code[at];
    // A REX prefix counts only directly before the opcode.
    rex = (byte & 0xf0) === 0x40 ? byte : 0;
    if (byte === 0x66) op16 = true;
    else if (byte === 0x67) a32 = true;
    else if (byte === 0xf0) lock = true;
    else if (byte >= 0xf2) repeat = byte;
    else if (rex === 0) segmentBase = byte === 0x64 || byte === 0x65;
  }
  let map: Decoded['map'] = 0;
  let opcode = code[at++];
  if (opcode === 0x0f) {
    map = 0x0f;
    opcode = code[at++];
    if (opcode === 0x38 || opcode === 0x3a) {
      map = opcode === 0x38 ? 0x0f38 : 0x0f3a;
      opcode = code[at++];
    }
  }
  if (map === 0 && VECTOR_PAYLOAD[opcode]) at = vectorEnd(code, at, opcode);
  const hasModrm = map === 0 ? MODRM_1.has(opcode) : map !== 0x0f || !NO_MODRM_2.has(opcode);
  let mod = 3;
  let reg = 0;
  let base = -1;
  let index = -1;
  let scale = 0;
  let displacement = 0;
  if (hasModrm) {
    const modrm = code[at++];
    mod = modrm >> 6;
    reg = (modrm >> 3) & 7;
    // Moves to and from control and debug registers ignore mod.
    const register = mod === 3 || (map === 0x0f && opcode >= 0x20 && opcode <= 0x23);
    if (register) {
      mod = 3;
    } else {
      let displacementLength = mod === 1 ? 1 : mod === 2 ? 4 : 0;
      base = (modrm & 7) | (rex & REX_B ? 8 : 0);
      if ((modrm & 7) === 4) {
        const sib = code[at++];
        scale = sib >> 6;
        index = ((sib >> 3) & 7) | (rex & REX_X ? 8 : 0);
        if (index === 4) index = -1;
        base = (sib & 7) | (rex & REX_B ? 8 : 0);
        if ((sib & 7) === 5 && mod === 0) {
          base = -1;
          displacementLength = 4;
        }
      } else if ((modrm & 7) === 5 && mod === 0) {
        base = -2;
        displacementLength = 4;
      }
      displacement = signed(code, at, displacementLength);
      at += displacementLength;
    }
  }
  const rexW = (rex & REX_W) !== 0;
  const immediateSize = immediateLength(map, opcode, reg, op16, rexW, a32);
  const immediate = signed(code, at, immediateSize);
  at += immediateSize;
  const exists = opcode !== undefined && !(map === 0 && NONE_1.has(opcode)) && at <= 15;
  return {
    map,
    opcode,
    length: exists && at <= code.length ? at : 0,
    operandSize16: op16,
    addressSize32: a32,
    repeat,
    lock,
    segmentBase,
    rex,
    hasModrm,
    mod,
    reg,
    base,
    index,
    scale,
    displacement,
    immediate,
    immediateSize,
  };
}
