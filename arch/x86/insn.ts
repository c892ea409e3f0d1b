// What the engine asks about x86-64 instructions: lengths, accesses, and which of them must not reach the core, because
// it runs them wrongly or by the host's clock and chance.
import {
  type AccessForm,
  type InstructionSet,
  READ,
  type Trap,
  WRITE,
} from '../../emulator/engine.ts';
import { type Decoded, decode, isPrefix } from './decode.ts';
import { type Operand, operands } from './operands.ts';
import { X86_REFUSALS } from './refusals.ts';

/** Index in the general registers (rax rbx rcx rdx rsi rdi rbp rsp r8..) of a register's number in encodings. */
const GENERAL = [0, 2, 3, 1, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
const RSI = 4;
const RDI = 5;
const RBP = 6;
const RSP = 7;
const RIP = 16;

/** bt, bts, btr, btc: with LOCK and a register the core's translator aborts the process. */
const isBitString = (op: number, reg: number): boolean =>
  (op & 0xe7) === 0xa3 || (op === 0xba && reg >= 4);

function trapOf(code: Uint8Array): Trap | null {
  const decoded = decode(code);
  return X86_REFUSALS.find((row) => row.matches(decoded))?.trap ?? null;
}

/** Starts of what {@link isBitString} says of a page: each prefix from which a LOCK lies ahead may be the first. */
function fatalIn(page: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = page.indexOf(0x0f, 1); at > 0; at = page.indexOf(0x0f, at + 1)) {
    const modrm = page[at + 2];
    if (modrm < 0xc0 || !isBitString(page[at + 1], (modrm >> 3) & 7)) continue;
    let locked = false;
    for (let start = at - 1; start >= 0 && isPrefix(page[start]); start--) {
      locked = locked || page[start] === 0xf0;
      if (locked) found.push(start);
    }
  }
  // The same with its opcode on the next page. Whether it is one shows when it is reached.
  const cut = page.at(-1) === 0x0f ? page.length - 1 : page.length;
  let locked = false;
  for (let start = cut - 1; start >= 0 && isPrefix(page[start]); start--) {
    locked = locked || page[start] === 0xf0;
    if (locked) found.push(start);
  }
  return found;
}

function formOf(d: Decoded, one: Operand): AccessForm {
  let base = -1;
  let index = -1;
  let displacement = one.offset;
  // Addresses of 32 bits wrap, and FS and GS have a base.
  let exact = one.exact && !d.addressSize32;
  if (one.at === 'modrm') {
    base = d.base === -2 ? RIP : d.base < 0 ? -1 : GENERAL[d.base];
    index = d.index < 0 ? -1 : GENERAL[d.index];
    displacement = d.displacement + (d.base === -2 ? d.length : 0);
    exact = exact && !d.segmentBase;
  } else {
    base = { stack: RSP, frame: RBP, rsi: RSI, rdi: RDI }[one.at];
    if (one.at === 'rsi') exact = exact && !d.segmentBase;
  }
  return {
    base,
    index,
    shift: d.scale,
    extend: 'none',
    displacementLo: displacement >>> 0,
    displacementHi: displacement < 0 ? 0xffff_ffff : 0,
    size: one.size,
    unit: one.unit,
    kind: one.write ? WRITE : READ,
    exact,
    lastByteFirst: one.lastByteFirst,
  };
}

/** String instructions that a repeat prefix repeats: ins, outs, movs, cmps, stos, lods, scas. */
const isString = (op: number): boolean =>
  (op >= 0x6c && op <= 0x6f) || (op >= 0xa4 && op <= 0xa7) || (op >= 0xaa && op <= 0xaf);

/** One-byte opcodes that jump: jcc, loops and jrcxz, calls, jumps, returns, int, int3, int1, iret. */
const isJump = (op: number): boolean =>
  (op & 0xf0) === 0x70 ||
  (op >= 0xe0 && op <= 0xe3) ||
  [0xc2, 0xc3, 0xca, 0xcb, 0xcc, 0xcd, 0xcf, 0xe8, 0xe9, 0xeb, 0xf1].includes(op);

export const x86Instructions: InstructionSet = {
  fatal: fatalIn,
  trap: trapOf,
  length: (code) => decode(code).length,
  repeats(code) {
    const d = decode(code);
    return d.map === 0 && d.repeat !== 0 && isString(d.opcode);
  },
  jumps(code) {
    const d = decode(code);
    if (d.map === 0) return isJump(d.opcode) || (d.opcode === 0xff && d.reg >= 2 && d.reg <= 5);
    // jcc; ud2 and the system calls leave the code too.
    return d.map === 0x0f && ((d.opcode & 0xf0) === 0x80 || [0x05, 0x0b, 0x34].includes(d.opcode));
  },
  accesses(code) {
    const d = decode(code);
    return d.length === 0 ? [] : operands(d).map((one) => formOf(d, one));
  },
};
