// Decodes an AArch64 instruction for the scoreboard: class, operations, values read and written, accesses. Approximate;
// it leaves out system registers and the flags' parts.
import type {
  Access,
  AddressEffect,
  CostedInstruction,
  Flow,
  Uop,
} from '../../emulator/cost/instruction.ts';
import { TICKS_PER_CYCLE } from '../../emulator/cost/units.ts';
import {
  type ClassCost,
  classOf,
  LOAD_LATENCY,
  PORTS,
  VECTOR_LOAD_LATENCY,
} from './cost-classes.ts';
import { FLAGS, type Operands, parseOperands, type Register, SP, VECTOR } from './cost-operands.ts';

export interface DisassembledInstruction {
  readonly bytes: Uint8Array;
  readonly mnemonic: string;
  readonly operands: string;
}

const SETS_FLAGS = /^(adds|subs|ands|bics|adcs|sbcs|negs|cmp|cmn|tst|ccmp|ccmn|fcmp|fcmpe)$/;
const READS_FLAGS =
  /^(adcs?|sbcs?|csel|csinc|csinv|csneg|csetm?|cinc|cinv|cneg|ccmp|ccmn|fcsel|b\..*)$/;
const COMPARES = /^(cmp|cmn|tst|ccmp|ccmn|fcmp|fcmpe)$/;
/** The destination is an operand too. */
const ACCUMULATES = /^(movk|bfi|bfxil|bfm|fmla|fmls|mla|mls|ins)$/;
const SHIFTED = new Set(['add', 'sub', 'adds', 'subs', 'cmp', 'cmn', 'neg']);
const WIDTHS: Readonly<Record<string, number>> = {
  w: 4,
  x: 8,
  b: 1,
  h: 2,
  s: 4,
  d: 8,
  q: 16,
  v: 16,
};
/** Ticks from a store to a load of its bytes: the guide has no figure, this is the load's own time. */
const FORWARDING = 5 * TICKS_PER_CYCLE;

class Assembly {
  readonly uops: Uop[] = [];
  readonly accesses: Access[] = [];
  readonly effects: AddressEffect[] = [];

  add(uop: Pick<Uop, 'ports' | 'latency' | 'reads' | 'writes'> & Partial<Uop>): void {
    this.uops.push({ busy: 0, unit: -1, load: -1, store: -1, ...uop });
  }
}

function flowOf(mnemonic: string): Flow {
  if (mnemonic === 'bl' || mnemonic === 'blr') return 'call';
  if (mnemonic === 'ret') return 'return';
  if (mnemonic === 'b' || mnemonic === 'br') return 'jump';
  return /^(b\.|cbn?z|tbn?z)/.test(mnemonic) ? 'branch' : 'next';
}

function variants(mnemonic: string, { registers, shift, amount }: Operands): string[] {
  const [first, second] = registers;
  if (mnemonic === 'fmov') {
    const into = first !== undefined && first.value >= VECTOR;
    const from = second !== undefined && second.value >= VECTOR;
    return into === from ? [] : [into ? 'in' : 'out'];
  }
  if (first?.size === 'v') return ['v'];
  // A left shift by up to 4 is free in the adder; anything else goes through the multi-cycle pipeline.
  const costly = shift !== '' && !(shift === 'lsl' && amount <= 4);
  if (SHIFTED.has(mnemonic) && costly) return ['shift'];
  return first === undefined ? [] : [first.size];
}

const values = (registers: readonly Register[]) =>
  registers.map((register) => register.value).filter((value) => value >= 0);

function compute(out: Assembly, mnemonic: string, operands: Operands, cost: ClassCost): number {
  const { registers } = operands;
  const compares = COMPARES.test(mnemonic) || flowOf(mnemonic) !== 'next';
  const targets = compares ? [] : values(registers.slice(0, 1));
  const sources = values(compares ? registers : registers.slice(1));
  if (ACCUMULATES.test(mnemonic)) sources.push(...targets);
  if (READS_FLAGS.test(mnemonic)) sources.push(FLAGS);
  const writes = SETS_FLAGS.test(mnemonic) ? [...targets, FLAGS] : targets;
  const busy = cost.busy > 1 ? cost.busy * TICKS_PER_CYCLE : 0;
  const unit = busy > 0 ? (cost.ports[0] === 'm' ? 0 : 1) : -1;
  out.add({
    ports: PORTS[cost.ports[0]],
    latency: cost.latency,
    reads: sources,
    writes,
    busy,
    unit,
  });
  const [target] = targets;
  if (target !== undefined && target <= SP) effects(out, mnemonic, operands, target);
  return cost.slots;
}

function effects(out: Assembly, mnemonic: string, operands: Operands, target: number): void {
  const [, source, other] = operands.registers;
  const { immediate } = operands;
  const plain = other === undefined && operands.shift === '';
  if (mnemonic === 'mov' && source !== undefined && source.value >= 0) {
    out.effects.push({ kind: 'copy', to: target, from: source.value, add: 0n });
  } else if ((mnemonic === 'add' || mnemonic === 'sub') && plain && immediate !== null && source) {
    const add = mnemonic === 'add' ? immediate : -immediate;
    out.effects.push({ kind: 'copy', to: target, from: source.value, add });
  } else out.effects.push({ kind: 'unknown', to: target });
}

/** Operations that a load or store takes of the dispatcher's width, to agree with llvm-mca. */
function memorySlots(stores: boolean, pair: boolean, vector: boolean, writeback: boolean): number {
  const update = writeback ? 1 : 0;
  if (!stores) return (pair ? 2 : 1) + update;
  if (vector) return (pair ? 5 : 4) + 2 * update;
  return (pair ? 3 : 2) + update;
}

function memory(out: Assembly, mnemonic: string, operands: Operands): number {
  const { registers, address } = operands;
  if (address === null) return 1;
  const stores = /^st/.test(mnemonic);
  const stride = stores || registers[0]?.size !== 'w';
  // Two words that are loaded together are one operation.
  const pair = registers.length > 1 && stride;
  const wide = registers.some((register) => register.size === 'q' || register.size === 'v');
  const unit = /b$/.test(mnemonic)
    ? 1
    : /h$/.test(mnemonic)
      ? 2
      : (WIDTHS[registers[0]?.size] ?? 8);
  const { base, index, scale, disp, writeback } = address;
  const reads = [base, index].filter((value) => value >= 0);
  const width = unit * Math.max(1, registers.length);
  out.accesses.push({
    ...{ base, index, scale, disp, width },
    relative: false,
    forwarding: FORWARDING,
    loopForwarding: FORWARDING,
  });
  const vector = registers.some((register) => register.value >= VECTOR);
  if (stores) {
    for (let n = 0; n < (pair ? 2 : 1); n++) {
      out.add({ ports: PORTS.l, latency: 1, reads, writes: [] });
    }
    out.add({ ports: PORTS.d, latency: 1, reads: values(registers), writes: [], store: 0 });
  } else {
    const latency = vector ? VECTOR_LOAD_LATENCY : LOAD_LATENCY;
    const written = values(registers);
    out.add({ ports: PORTS.l, latency, reads, writes: written, load: 0 });
    if (pair) out.add({ ports: PORTS.l, latency, reads, writes: written.slice(1) });
  }
  if (writeback && base >= 0) {
    out.add({ ports: PORTS.i, latency: 1, reads: [base], writes: [base] });
    out.effects.push({ kind: 'unknown', to: base });
  }
  if (!stores) {
    for (const value of values(registers)) {
      if (value <= SP) out.effects.push({ kind: 'unknown', to: value });
    }
  }
  return memorySlots(stores, pair, wide, writeback);
}

/** @returns the instruction for the scoreboard; what it does not know it guesses, and never throws */
export function decodeArm64Cost(insn: DisassembledInstruction): CostedInstruction {
  const { mnemonic } = insn;
  const operands = parseOperands(insn.operands);
  const out = new Assembly();
  const moves = operands.address !== null && /^(ld|st|prf|swp|cas)/.test(mnemonic);
  const bare = mnemonic.startsWith('b.') ? 'b' : mnemonic;
  const cost = classOf(bare, variants(mnemonic, operands));
  const slots = moves ? memory(out, mnemonic, operands) : compute(out, mnemonic, operands, cost);
  return {
    form: moves ? 'memory' : cost.name,
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
    fuses: false,
    repeat: null,
    locked: null,
  };
}
