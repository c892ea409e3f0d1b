// Decodes an AArch64 instruction for the scoreboard: class, operations, values read and written, accesses. Approximate;
// it leaves out system registers and the flags' parts.
import { type Forwarding, InstructionBuilder } from '../../emulator/cost/builder.ts';
import type { CostedInstruction, Flow } from '../../emulator/cost/instruction.ts';
import { TICKS_PER_CYCLE } from '../../emulator/cost/units.ts';
import {
  type ClassCost,
  classOf,
  LOAD_LATENCY,
  MEMORY_PORTS,
  PORTS,
  VECTOR_LOAD_LATENCY,
} from './cost-classes.ts';
import { FLAGS, type Operands, parseOperands, type Register, SP, VECTOR } from './cost-operands.ts';

/** An instruction as the disassembler gives it. */
export interface DisassembledInstruction {
  readonly bytes: Uint8Array;
  readonly mnemonic: string;
  readonly operands: string;
}

const SETS_FLAGS = /^(adds|subs|ands|bics|adcs|sbcs|negs|cmp|cmn|tst|ccmp|ccmn|fcmpe?)$/;
const READS_FLAGS =
  /^(adcs?|sbcs?|csel|csinc|csinv|csneg|csetm?|cinc|cinv|cneg|ccmp|ccmn|fcsel|b\..+)$/;
const COMPARES = /^(cmp|cmn|tst|ccmp|ccmn|fcmpe?)$/;
/** The destination is an operand too. */
const ACCUMULATES = /^(movk|bfi|bfxil|bfm|fmla|fmls|mla|mls|ins)$/;
const ACCESSES = /^(ld|st|prf|swp|cas)/;
const ATOMIC =
  /^(swp|cas|ld(add|clr|set|eor|[su]max|[su]min)|st(add|clr|set|eor)|lda?xr|stl?xr|stlr)/;
const SHIFTED = new Set(['add', 'sub', 'adds', 'subs', 'cmp', 'cmn', 'neg']);
const BYTES: Readonly<Record<string, number>> = {
  w: 4,
  x: 8,
  b: 1,
  h: 2,
  s: 4,
  d: 8,
  q: 16,
  v: 16,
};
/** A store's bytes to a load: an estimate, a cycle more than a load from the cache. */
const FORWARDING: Forwarding = { unrolled: 5 * TICKS_PER_CYCLE, loop: 5 * TICKS_PER_CYCLE };

function flowOf(mnemonic: string): Flow {
  if (mnemonic === 'bl' || mnemonic === 'blr') return 'call';
  if (mnemonic === 'ret') return 'return';
  if (mnemonic === 'b' || mnemonic === 'br') return 'jump';
  return /^(b\.|cbn?z|tbn?z)/.test(mnemonic) ? 'branch' : 'next';
}

/** The refinement under which a class may stand, or ''. */
function variantOf(mnemonic: string, { registers, shift, amount }: Operands): string {
  const [first, second] = registers;
  if (mnemonic === 'fmov') {
    const into = first !== undefined && first.value >= VECTOR;
    const from = second === undefined || second.value >= VECTOR;
    if (into === from) return '';
    return into ? 'in' : 'out';
  }
  // A left shift by up to 4 is free in the adder; anything else goes through the multi-cycle pipeline.
  const costly = shift !== '' && !(shift === 'lsl' && amount <= 4);
  if (SHIFTED.has(mnemonic) && costly && first?.size !== 'v') return 'shift';
  return first?.size ?? '';
}

const values = (registers: readonly Register[]) =>
  registers.map((register) => register.value).filter((value) => value >= 0);

function compute(
  out: InstructionBuilder,
  mnemonic: string,
  operands: Operands,
  cost: ClassCost,
): number {
  const { registers } = operands;
  const compares = COMPARES.test(mnemonic) || flowOf(mnemonic) !== 'next';
  const targets = compares ? [] : values(registers.slice(0, 1));
  const reads = values(compares ? registers : registers.slice(1));
  if (ACCUMULATES.test(mnemonic)) reads.push(...targets);
  if (READS_FLAGS.test(mnemonic)) reads.push(FLAGS);
  const writes = SETS_FLAGS.test(mnemonic) ? [...targets, FLAGS] : targets;
  const busy = cost.busy > 1 ? cost.busy * TICKS_PER_CYCLE : 0;
  const { unit, latency } = cost;
  out.add({ ports: PORTS[cost.port], latency, reads, writes, busy, unit: busy > 0 ? unit : -1 });
  for (const target of targets) if (target <= SP) noteAddress(out, mnemonic, operands, target);
  return cost.slots;
}

function noteAddress(
  out: InstructionBuilder,
  mnemonic: string,
  { registers, immediate, shift }: Operands,
  target: number,
): void {
  const [, source, other] = registers;
  const from = source?.value ?? -1;
  const sum = mnemonic === 'add' || mnemonic === 'sub';
  if (mnemonic === 'mov' && from >= 0) out.moved(target, from, 0);
  else if (sum && from >= 0 && other === undefined && shift === '' && immediate !== null) {
    out.moved(target, from, mnemonic === 'add' ? immediate : -immediate);
  } else out.unknown([target]);
}

/** Operations that a load or store takes of the dispatcher's width, to agree with llvm-mca. */
function memorySlots(stores: boolean, pair: boolean, wide: boolean, writeback: boolean): number {
  const update = writeback ? 1 : 0;
  if (!stores) return (pair ? 2 : 1) + update;
  if (wide) return (pair ? 5 : 4) + 2 * update;
  return (pair ? 3 : 2) + update;
}

/** Bytes of one register's part of the access. */
function unitBytes(mnemonic: string, [first]: readonly Register[]): number {
  if (/b$/.test(mnemonic)) return 1;
  if (/h$/.test(mnemonic)) return 2;
  return BYTES[first?.size ?? 'x'] ?? 8;
}

/** Read-modify-write and exclusive accesses: an access each way, as one load and one store. */
function atomic(out: InstructionBuilder, mnemonic: string, operands: Operands): number {
  const { registers, address } = operands;
  if (address === null) return 1;
  const moved = values(registers);
  const access = out.access(
    { ...address, relative: false },
    unitBytes(mnemonic, registers),
    FORWARDING,
  );
  const loads = !/^st(l?xr|lr)/.test(mnemonic);
  const stores = !/^lda?xr/.test(mnemonic);
  // The loaded register is the last, but a compare-and-swap loads the first.
  const target = mnemonic.startsWith('cas') ? moved[0] : moved.at(-1);
  if (loads) out.load(access, LOAD_LATENCY, target === undefined ? [] : [target]);
  if (stores) out.store(access, moved.slice(0, 1));
  out.unknown(moved.filter((value) => value <= SP));
  return (loads ? 1 : 0) + (stores ? 2 : 0);
}

function memory(out: InstructionBuilder, mnemonic: string, operands: Operands): number {
  const { registers, address } = operands;
  if (address === null) return 1;
  const stores = mnemonic.startsWith('st');
  // Two words that are loaded together are one operation.
  const pair = registers.length > 1 && (stores || registers[0].size !== 'w');
  const width = unitBytes(mnemonic, registers) * Math.max(1, registers.length);
  const moved = values(registers);
  const access = out.access({ ...address, relative: false }, width, FORWARDING);
  const reads = [address.base, address.index].filter((value) => value >= 0);
  if (stores) {
    if (pair) out.uop(PORTS.l, 1, reads, []);
    out.store(access, moved);
  } else {
    const vector = moved.some((value) => value >= VECTOR);
    const latency = vector ? VECTOR_LOAD_LATENCY : LOAD_LATENCY;
    out.load(access, latency, moved);
    if (pair) out.uop(PORTS.l, latency, reads, moved.slice(1));
    out.unknown(moved.filter((value) => value <= SP));
  }
  if (address.writeback && address.base >= 0) {
    out.uop(PORTS.i, 1, [address.base], [address.base]);
    out.unknown([address.base]);
  }
  const wide = registers.some(({ size }) => size === 'q' || size === 'v');
  return memorySlots(stores, pair, wide, address.writeback);
}

/** @returns the instruction for the scoreboard; what it does not know it guesses, and never throws */
export function decodeArm64Cost(insn: DisassembledInstruction): CostedInstruction {
  const { mnemonic } = insn;
  const operands = parseOperands(insn.operands);
  const out = new InstructionBuilder(MEMORY_PORTS);
  const accesses = operands.address !== null && ACCESSES.test(mnemonic);
  const family = mnemonic.startsWith('b.') ? 'b' : mnemonic;
  const cost = classOf(family, variantOf(mnemonic, operands));
  const slots = accesses
    ? (ATOMIC.test(mnemonic) ? atomic : memory)(out, mnemonic, operands)
    : compute(out, mnemonic, operands, cost);
  return {
    form: accesses ? 'memory' : cost.name,
    length: insn.bytes.length,
    slots,
    microcoded: false,
    slowLength: false,
    complex: false,
    uops: out.uops,
    accesses: out.accesses,
    effects: out.effects,
    flow: flowOf(mnemonic),
    fusible: false,
    repeat: null,
    locked: null,
  };
}
