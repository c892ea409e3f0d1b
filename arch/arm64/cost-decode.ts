// Decodes an AArch64 instruction for the scoreboard: class, operations, values read and written, accesses. Approximate;
// it leaves out system registers and the flags' parts.
import { type Forwarding, InstructionBuilder } from '../../emulator/cost/builder.ts';
import type { CostedInstruction, Flow } from '../../emulator/cost/instruction.ts';
import { TICKS_PER_CYCLE } from '../../emulator/cost/units.ts';
import { type ClassCost, classOf, PORTS } from './cost-classes.ts';
import { formOf } from './cost-form.ts';
import { type Operands, parseOperands, type Register, SP } from './cost-operands.ts';
import { accessRoles, rolesOf } from './cost-roles.ts';

/** An instruction as the disassembler gives it. */
export interface DisassembledInstruction {
  readonly bytes: Uint8Array;
  readonly mnemonic: string;
  readonly operands: string;
}

const ACCESSES = /^(ld|st|prf|swp|cas)/;
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
/** The second register of a pair comes when a lone one would. */
const SECOND_LATENCY = 4;
const MEMORY_PORTS = { load: PORTS.l, storeAddress: PORTS.l, storeData: PORTS.d } as const;

function flowOf(mnemonic: string): Flow {
  if (mnemonic === 'bl' || mnemonic === 'blr') return 'call';
  if (mnemonic === 'ret') return 'return';
  if (mnemonic === 'b' || mnemonic === 'br') return 'jump';
  return /^(b\.|cbn?z|tbn?z)/.test(mnemonic) ? 'branch' : 'next';
}

function compute(out: InstructionBuilder, mnemonic: string, operands: Operands, cost: ClassCost) {
  const { reads, writes } = rolesOf(mnemonic, operands);
  const [first, ...others] = cost.ports;
  const { latency } = cost;
  const busy = cost.busy > 1 ? cost.busy * TICKS_PER_CYCLE : 0;
  out.add({ ports: PORTS[first], latency, reads, writes, busy });
  for (const port of others) out.uop(PORTS[port], 1, [], []);
  for (const target of writes) if (target <= SP) noteAddress(out, mnemonic, operands, target);
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

/** Bytes of one register's part of the access. */
function unitBytes(mnemonic: string, [first]: readonly Register[]): number {
  if (/b$/.test(mnemonic)) return 1;
  if (/h$/.test(mnemonic)) return 2;
  return BYTES[first?.size ?? 'x'] ?? 8;
}

/** Operations of a load: the first has the result, the others only take their pipelines. */
function load(
  out: InstructionBuilder,
  { ports, latency }: ClassCost,
  reads: readonly number[],
  { filled, kept }: { readonly filled: readonly number[]; readonly kept: readonly number[] },
  access: number,
): void {
  const [first, ...others] = ports;
  const all = [...reads, ...kept];
  // A vector pair's second register comes by a load of its own.
  const pair = filled.length === 2 && latency > SECOND_LATENCY && !others.includes('v');
  if (pair) out.uop(PORTS.l, SECOND_LATENCY, reads, filled.slice(1));
  const own = pair ? filled.slice(0, 1) : filled;
  out.add({ ports: PORTS[first], latency, reads: all, writes: own, load: access });
  const left = pair ? others.slice(1) : others;
  for (const port of left) out.uop(PORTS[port], 1, [], []);
}

/** A store leaves as a whole, when address and data are there. */
function store(
  out: InstructionBuilder,
  { ports, latency }: ClassCost,
  reads: readonly number[],
  { filled, stored }: { readonly filled: readonly number[]; readonly stored: readonly number[] },
  access: number,
): void {
  const all = [...reads, ...stored];
  ports.forEach((port, n) => {
    if (port === 'd') return;
    out.uop(PORTS[port], n === 0 ? latency : 1, all, n === 0 ? filled : []);
  });
  out.add({ ports: PORTS.d, latency: 1, reads: stored, writes: [], store: access });
}

/** An access's operations, and that of a written base. @returns slots */
function memory(out: InstructionBuilder, mnemonic: string, operands: Operands): number {
  const { registers, address } = operands;
  if (address === null) return 1;
  const { filled, stored, loads, stores } = accessRoles(mnemonic, operands);
  const moved = loads && stores ? filled : stores ? stored : registers;
  const width = unitBytes(mnemonic, registers.slice(-1)) * Math.max(1, moved.length);
  const access = out.access({ ...address, relative: false }, width, FORWARDING);
  const reads = [address.base, address.index].filter((value) => value >= 0);
  const form = formOf(mnemonic, operands);
  let slots = 0;
  if (loads) {
    const cost = stores ? ATOMIC_LOAD : classOf('load', form);
    load(out, cost, reads, { filled, kept: stores ? [] : stored }, access);
    slots += cost.slots;
  }
  if (stores) {
    const cost = loads ? ATOMIC_STORE : classOf('store', form);
    store(out, cost, reads, { filled: loads ? [] : filled, stored }, access);
    slots += cost.slots;
  }
  out.unknown(filled.filter((value) => value <= SP));
  if (!address.writeback || address.base < 0) return slots;
  out.uop(PORTS.i, 1, [...reads, ...stored], [address.base]);
  out.unknown([address.base]);
  return slots + 1;
}

/** An atomic read-modify-write: a load and a store, which is an estimate. */
const ATOMIC_LOAD: ClassCost = { name: 'atomic', ports: ['l'], latency: 4, busy: 1, slots: 1 };
const ATOMIC_STORE: ClassCost = {
  name: 'atomic',
  ports: ['l', 'd'],
  latency: 1,
  busy: 1,
  slots: 2,
};

/** A load relative to the instruction. */
const isLiteral = (mnemonic: string, { address }: Operands) =>
  address === null && /^ldr(sw)?$/.test(mnemonic);

/** @returns the instruction for the scoreboard; what it does not know it guesses, and never throws */
export function decodeArm64Cost(insn: DisassembledInstruction): CostedInstruction {
  const { mnemonic } = insn;
  const operands = parseOperands(insn.operands);
  const out = new InstructionBuilder(MEMORY_PORTS);
  const accesses = operands.address !== null && ACCESSES.test(mnemonic);
  const family = mnemonic.startsWith('b.') ? 'b' : mnemonic;
  const table = isLiteral(mnemonic, operands) ? 'load' : 'operation';
  const cost = classOf(table, formOf(family, operands));
  let { slots } = cost;
  if (accesses) slots = memory(out, mnemonic, operands);
  else compute(out, mnemonic, operands, cost);
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
