// What the engine asks about x86-64 instructions: lengths, accesses, and which of them must not reach the core, because
// it runs them wrongly or by the host's clock and chance.
import {
  type AccessForm,
  type InstructionSet,
  READ,
  type Trap,
  WRITE,
} from '../../emulator/engine.ts';
import { type Decoded, decode, legacyPrefixes } from './decode.ts';
import { type Operand, operands } from './operands.ts';

/** Index in the general registers (rax rbx rcx rdx rsi rdi rbp rsp r8..) of a register's number in encodings. */
const GENERAL = [0, 2, 3, 1, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
const RSI = 4;
const RDI = 5;
const RBP = 6;
const RSP = 7;
const RIP = 16;

const refuse = (why: string): Trap => ({ action: 'refuse', why });
const AVX = refuse('AVX (VEX and EVEX encodings) is not modelled by the engine');
const PORTS = refuse('I/O ports are not modelled');
const SYSTEM_CALL = refuse('system calls are not modelled: the code runs in the kernel');
const CHANCE = refuse("the host's random numbers would make runs differ");
const HLT: Trap = { action: 'halt', name: 'hlt' };
const TOUCH: Trap = { action: 'touch' };

function trapOf(code: Uint8Array): Trap | null {
  const at = legacyPrefixes(code);
  const first = code[at];
  if (first === 0xc4 || first === 0xc5 || first === 0x62) return AVX;
  const d = decode(code);
  const op = d.opcode;
  if (d.map === 0) {
    if (op === 0xf4) return HLT;
    const port =
      (op >= 0x6c && op <= 0x6f) || (op >= 0xe4 && op <= 0xe7) || (op >= 0xec && op <= 0xef);
    return port ? PORTS : null;
  }
  if (d.map !== 0x0f) return null;
  // syscall, sysret, sysenter, sysexit
  if (op === 0x05 || op === 0x07 || op === 0x34 || op === 0x35) return SYSTEM_CALL;
  // rdrand, rdseed
  if (op === 0xc7 && d.mod === 3 && d.reg >= 6) return CHANCE;
  // clflush, clflushopt, clwb: the core makes no access, the hardware reads.
  if (op === 0xae && d.mod !== 3 && (d.reg === 7 || (d.reg === 6 && d.operandSize16))) return TOUCH;
  return null;
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

export const x86Instructions: InstructionSet = {
  fatal: () => [],
  trap: trapOf,
  length: (code) => decode(code).length,
  repeats(code) {
    const d = decode(code);
    return d.map === 0 && d.repeat !== 0 && isString(d.opcode);
  },
  accesses(code) {
    const d = decode(code);
    return d.length === 0 ? [] : operands(d).map((one) => formOf(d, one));
  },
};
