// Decodes an x86-64 instruction for the scoreboard: its form's class, the operations it becomes, the values they read
// and write, its accesses. Approximate. It follows the Golden Cove family in what the renamer does by itself (moves,
// zero idioms, small immediates, the stack pointer of push and pop), and leaves out micro-fusion limits.
import type {
  Access,
  AddressEffect,
  CostedInstruction,
  Flow,
  Repeat,
  Uop,
} from '../../emulator/cost/instruction.ts';
import { TICKS_PER_CYCLE } from '../../emulator/cost/units.ts';
import { classOf, type FormCost, measuredTicks, PORTS } from './cost-classes.ts';
import {
  CARRY,
  FLAGS,
  type ImmediateOperand,
  type MemoryOperand,
  type Operand,
  parseOperands,
  RAX,
  RBP,
  RDI,
  type RegisterOperand,
  RSI,
  RSP,
  TEMPORARY,
  VECTOR,
} from './cost-operands.ts';
import { repeatOf } from './cost-repeat.ts';
import { semanticsOf } from './cost-semantics.ts';
import { lockedCost, systemCost } from './cost-system.ts';

/** An instruction as the disassembler gives it. */
export interface DisassembledInstruction {
  readonly bytes: Uint8Array;
  /** With its prefixes: `lock add`, `rep movsb`. */
  readonly mnemonic: string;
  /** The operands' text. */
  readonly operands: string;
}

const LOADED = TEMPORARY;
const STORED = TEMPORARY + 1;
const MERGED = TEMPORARY + 2;

/** Load-to-use of the L1 data cache, general registers: measured. */
const LOAD_LATENCY = 5;
/** A sign-extending load: measured, one more. */
const SIGN_LATENCY = 1;
/** Vector loads: the vendor's manual has about two more than general ones. */
const VECTOR_LOAD_LATENCY = 7;
/** Reading or writing ah to dh takes a merge: measured, two more. */
const HIGH_BYTE_LATENCY = 2;
/** Immediates that the renamer adds by itself; the core's limit is not documented, the measured ones were one byte. */
const FOLD_LIMIT = 1024n;

const PLAIN_MOVES = new Set(
  'mov movzx movsx movsxd movbe movd movq movss movsd movaps movups movapd movupd movdqa movdqu lddqu movnti movntdq movntps movntpd'.split(
    ' ',
  ),
);
const ZERO_IDIOMS = new Set(
  'xor sub pxor xorps xorpd psubb psubw psubd psubq pandn pcmpgtb pcmpgtw pcmpgtd'.split(' '),
);
const SHIFTS = new Set('shl shr sal sar rol ror rcl rcr shld shrd'.split(' '));
const WIDE_PRODUCTS = new Set(['mul', 'imul', 'mulx']);
const FUSIBLE = new Set('cmp test add sub and inc dec'.split(' '));

const isRegister = (operand: Operand | undefined): operand is RegisterOperand =>
  operand?.kind === 'register';
const isMemory = (operand: Operand | undefined): operand is MemoryOperand =>
  operand?.kind === 'memory';
const isImmediate = (operand: Operand | undefined): operand is ImmediateOperand =>
  operand?.kind === 'immediate';
const isVector = (operand: Operand | undefined) => isRegister(operand) && operand.value >= VECTOR;

/** Ticks from a store's data to a load of it; see {@link Access}. */
interface Forwarding {
  readonly unrolled: number;
  readonly loop: number;
}

/** The measured chain through memory, less the cycle of the operation in it. */
const through = (form: string) => measuredTicks(form) - TICKS_PER_CYCLE;

/** Memory renaming: the load's result is another name of the stored register. */
const RENAMED: Forwarding = { unrolled: 0, loop: 0 };
/** `leave` is not among what the core learns: measured unrolled only. */
const LEAVE: Forwarding = { unrolled: measuredTicks('push+pop'), loop: measuredTicks('push+pop') };
const STACK: Forwarding = { unrolled: measuredTicks('push+pop'), loop: 0 };
const BY_IMMEDIATE: Forwarding = { unrolled: through('add m32,imm8'), loop: 0 };
const BY_ITSELF: Forwarding = { unrolled: through('inc m64'), loop: 0 };
const EXCHANGE_ADD: Forwarding = { unrolled: 0, loop: 0 };
/** The store buffer's ordinary way. */
const FORWARDED: Forwarding = { unrolled: through('add m64,r64'), loop: through('add m64,r64') };

const at = (base: number, disp: bigint) => ({ base, index: -1, scale: 1, disp });

/** Measured: no renaming with an index register, nor for a read-modify-write with a register. */
function forwardingOf(
  { mnemonic, operands }: Shape,
  memory: MemoryOperand,
  modifies: boolean,
): Forwarding {
  if (memory.index >= 0) return FORWARDED;
  if (!modifies) return RENAMED;
  if (mnemonic === 'xadd') return EXCHANGE_ADD;
  if (operands.length === 1) return BY_ITSELF;
  return isImmediate(operands[1]) ? BY_IMMEDIATE : FORWARDED;
}

/** Collects one instruction's operations. */
class Assembly {
  readonly uops: Uop[] = [];
  readonly accesses: Access[] = [];
  readonly effects: AddressEffect[] = [];

  uop(ports: number, latency: number, reads: readonly number[], writes: readonly number[]): void {
    this.add({ ports, latency, reads, writes });
  }

  add(uop: Pick<Uop, 'ports' | 'latency' | 'reads' | 'writes'> & Partial<Uop>): void {
    this.uops.push({ busy: 0, unit: -1, load: -1, store: -1, ...uop });
  }

  /** @returns number of the access */
  access(
    address: Pick<Access, 'base' | 'index' | 'scale' | 'disp'> & { readonly ripRelative?: boolean },
    width: number,
    { unrolled, loop }: Forwarding,
  ): number {
    const { base, index, scale, disp, ripRelative = false } = address;
    this.accesses.push({
      ...{ base, index, scale, disp, width },
      relative: ripRelative,
      forwarding: unrolled,
      loopForwarding: loop,
    });
    return this.accesses.length - 1;
  }

  load(access: number, latency: number, writes: readonly number[]): void {
    const { base, index } = this.accesses[access];
    const reads = [base, index].filter((value) => value >= 0);
    this.add({ ports: PORTS.load, latency, reads, writes, load: access });
  }

  store(access: number, data: readonly number[]): void {
    const { base, index } = this.accesses[access];
    const reads = [base, index].filter((value) => value >= 0);
    this.add({ ports: PORTS.storeAddress, latency: 1, reads, writes: [] });
    this.add({ ports: PORTS.storeData, latency: 1, reads: data, writes: [], store: access });
  }

  moved(to: number, from: number, add: bigint): void {
    this.effects.push({ kind: 'copy', to, from, add });
  }

  unknown(to: number): void {
    this.effects.push({ kind: 'unknown', to });
  }
}

const unique = (values: readonly number[]) => [...new Set(values)];

const flagValues = (letters: string) =>
  [...letters].map((letter) => (letter === 'C' ? CARRY : FLAGS));

/** The variants under which a form may have a class of its own. */
function variants(mnemonic: string, operands: readonly Operand[]): string[] {
  const [first, second] = operands;
  const last = operands.at(-1);
  if (SHIFTS.has(mnemonic)) {
    if (isRegister(last) && operands.length > 1) return ['cl'];
    const byOne = operands.length === 1 || (isImmediate(last) && last.number === 1n);
    return byOne ? ['1'] : [];
  }
  if (mnemonic === 'bswap') return isRegister(first) && first.width === 64 ? ['64'] : [];
  if (mnemonic === 'mov' || mnemonic === 'movabs') {
    if (isImmediate(second)) return ['imm'];
    return isRegister(first) && first.width < 32 && isRegister(second) ? ['merge'] : [];
  }
  if (mnemonic === 'movzx') {
    const copies = isRegister(first) && isRegister(second) && first.value !== second.value;
    return copies && second.width === 8 && !second.high ? ['8'] : [];
  }
  if (mnemonic === 'movq' || mnemonic === 'movd') {
    if (isVector(first) && isVector(second)) return ['xx'];
    return [isVector(first) ? 'in' : 'out'];
  }
  return [];
}

function classMnemonic(mnemonic: string, operands: readonly Operand[]): string {
  const [first] = operands;
  const width = first !== undefined && 'width' in first ? first.width : 64;
  if (mnemonic.startsWith('cmov')) return 'cmov';
  if (mnemonic.startsWith('set')) return 'set';
  if (mnemonic === 'movabs') return 'mov';
  if (mnemonic === 'imul' && operands.length === 1) return width === 64 ? 'mul' : 'mul32';
  if (mnemonic === 'mul') return width === 64 ? 'mul' : 'mul32';
  if (mnemonic === 'div' || mnemonic === 'idiv') return width === 64 ? 'div64' : 'div';
  if (mnemonic === 'lea') return leaClass(operands);
  if (/^vfn?m(add|sub)/.test(mnemonic)) return 'fma';
  if (/^v(perm|extract|insert|broadcast|pbroadcast)/.test(mnemonic)) return 'perm';
  return mnemonic.startsWith('v') ? mnemonic.slice(1) : mnemonic;
}

/** Golden Cove's `lea`: base and displacement in the renamer (64 bits), a sum on any port, a scale on three. */
function leaClass([target, source]: readonly Operand[]): string {
  if (!isMemory(source) || !isRegister(target)) return 'lea';
  if (source.index >= 0 && source.scale > 1) return 'lea.scaled';
  const simple = source.index < 0 && source.base >= 0 && target.width === 64;
  return simple ? 'lea.simple' : 'lea';
}

/** Two shapes that the renamer completes: a register set to zero, and a small immediate added to a whole register. */
function isZeroIdiom(mnemonic: string, operands: readonly Operand[]): boolean {
  const bare = mnemonic.startsWith('v') ? mnemonic.slice(1) : mnemonic;
  if (!ZERO_IDIOMS.has(bare)) return false;
  const [a, b] = operands.slice(-2);
  return (
    isRegister(a) &&
    isRegister(b) &&
    a.value === b.value &&
    a.width >= 32 &&
    a.width === b.width &&
    operands.length <= 3
  );
}

function folded(mnemonic: string, [target, source]: readonly Operand[]): bigint | null {
  if (!isRegister(target) || target.width !== 64 || target.value >= VECTOR) return null;
  if (mnemonic === 'inc') return 1n;
  if (mnemonic === 'dec') return -1n;
  if ((mnemonic !== 'add' && mnemonic !== 'sub') || !isImmediate(source)) return null;
  const amount = BigInt.asIntN(64, mnemonic === 'add' ? source.number : -source.number);
  return amount < FOLD_LIMIT && amount >= -FOLD_LIMIT ? amount : null;
}

interface Shape {
  readonly mnemonic: string;
  readonly operands: readonly Operand[];
  readonly flow: Flow;
}

function flowOf(mnemonic: string): Flow {
  if (mnemonic === 'call') return 'call';
  if (mnemonic === 'ret') return 'return';
  if (mnemonic === 'jmp') return 'jump';
  return mnemonic.startsWith('j') ? 'branch' : 'next';
}

/** Operand reads and writes of one instruction, sorted by where they go. */
function traffic(shape: Shape) {
  const { mnemonic, operands } = shape;
  const [operand] = operands;
  const narrow = operand !== undefined && 'width' in operand && operand.width === 8;
  const name = narrow && (mnemonic === 'div' || mnemonic === 'idiv') ? `${mnemonic}8` : mnemonic;
  const { roles, flagsRead, flagsWritten, reads, writes } = semanticsOf(name, operands.length);
  const read = [...reads, ...flagValues(flagsRead)];
  const written = [...writes];
  let memory: MemoryOperand | null = null;
  let memoryRole = '';
  let highByte = false;
  operands.forEach((operand, i) => {
    const role = roles[i] ?? 'r';
    if (isMemory(operand)) {
      memory = operand;
      memoryRole = role;
    }
    if (!isRegister(operand)) return;
    highByte ||= operand.high;
    const merges = role === 'w' && operand.width < 32 && operand.value < VECTOR;
    if (role !== 'w' || merges) read.push(operand.value);
    if (role === 'w' || role === 'x') written.push(operand.value);
  });
  // A scalar move between registers keeps the upper part of its destination; from memory it clears it.
  if ((mnemonic === 'movss' || mnemonic === 'movsd') && operands.every(isVector)) {
    read.push(...written);
  }
  return {
    read,
    written,
    flags: flagValues(flagsWritten),
    memory: memory as MemoryOperand | null,
    memoryRole,
    highByte,
  };
}

function addressEffects(out: Assembly, shape: Shape, written: readonly number[]): void {
  const { mnemonic, operands } = shape;
  const [target, source] = operands;
  const amount = folded(mnemonic, operands);
  if (isRegister(target) && target.width === 64 && target.value < VECTOR) {
    if (amount !== null) return out.moved(target.value, target.value, amount);
    if (mnemonic === 'mov' && isRegister(source)) return out.moved(target.value, source.value, 0n);
    if (mnemonic === 'lea' && isMemory(source) && source.index < 0 && source.base >= 0) {
      return out.moved(target.value, source.base, source.disp);
    }
  }
  if (mnemonic === 'mov' && isRegister(target) && isImmediate(source)) {
    const value = BigInt.asUintN(target.width, source.number);
    out.effects.push({ kind: 'constant', to: target.value, value });
    return;
  }
  for (const value of written) if (value < VECTOR) out.unknown(value);
}

/** The operations of an ordinary instruction: load, the class's own, store. @returns slots */
function ordinary(out: Assembly, shape: Shape, cost: FormCost): number {
  const { mnemonic, operands } = shape;
  const { read, written, flags, memory, memoryRole, highByte } = traffic(shape);
  const loads = memory !== null && (memoryRole === 'r' || memoryRole === 'x');
  const stores = memory !== null && (memoryRole === 'w' || memoryRole === 'x');
  const vector = operands.some(isVector);
  let access = -1;
  if (memory !== null && memoryRole !== 'a') {
    const width = (memory.width || widthOf(operands)) / 8;
    access = out.access(memory, width, forwardingOf(shape, memory, loads && stores));
  } else if (memory !== null) {
    read.push(...[memory.base, memory.index].filter((value) => value >= 0));
  }
  addressEffects(out, shape, written);
  const bare = mnemonic.startsWith('v') ? mnemonic.slice(1) : mnemonic;
  const plain = PLAIN_MOVES.has(bare) && memory !== null;
  if (plain && loads) {
    const sign = mnemonic === 'movsx' || mnemonic === 'movsxd' ? SIGN_LATENCY : 0;
    const latency = vector ? VECTOR_LOAD_LATENCY : LOAD_LATENCY + sign;
    out.load(access, latency, written);
    // A byte or word that is loaded into a part of a register is merged into the rest.
    if (read.length === 0) return 1;
    const target = out.uops.pop();
    if (target !== undefined) out.add({ ...target, writes: [LOADED] });
    out.uop(PORTS.alu, 1, [LOADED, ...read], written);
    return 1;
  }
  if (plain && stores) {
    out.store(access, read);
    return 1;
  }
  if (loads) {
    out.load(access, vector ? VECTOR_LOAD_LATENCY : LOAD_LATENCY, [LOADED]);
    read.push(LOADED);
  }
  if (mnemonic === 'push') {
    out.store(out.access(at(RSP, -8n), 8, STACK), read);
    out.moved(RSP, RSP, -8n);
    return loads ? 2 : 1;
  }
  const results = stores ? [...written, STORED] : written;
  compute(out, shape, cost, { read: unique(read), results, flags, highByte });
  if (stores) out.store(access, [STORED]);
  return cost.slots + (stores ? 1 : 0);
}

function widthOf(operands: readonly Operand[]): number {
  const register = operands.find(isRegister);
  return register === undefined ? 64 : register.width;
}

interface Computation {
  readonly read: readonly number[];
  readonly results: readonly number[];
  readonly flags: readonly number[];
  readonly highByte: boolean;
}

/** The class's own operations: the first carries the result, the others take their ports. */
function compute(out: Assembly, shape: Shape, cost: FormCost, work: Computation): void {
  const { read, results, flags } = work;
  const { mnemonic, operands } = shape;
  const latency = cost.latency + (work.highByte ? HIGH_BYTE_LATENCY : 0);
  const ports = cost.ports.map((name) => PORTS[name]);
  if (isZeroIdiom(mnemonic, operands)) {
    out.uop(0, 0, [], [...results, ...flags]);
    return;
  }
  if (folded(mnemonic, operands) !== null) {
    const [value] = results;
    out.uop(0, 0, [value], [value]);
    out.uop(PORTS.alu, 1, [value], flags);
    return;
  }
  if (ports[0] === 0) {
    out.uop(0, 0, read.slice(0, 1), results);
    return;
  }
  const flagPair = /^(cmov|set)n?(be|a|bee|ae)$/.test(mnemonic) && /(be|a)$/.test(mnemonic);
  if (flagPair && !/(nbe|na)$/.test(mnemonic)) {
    out.uop(PORTS.flag, 1, [CARRY, FLAGS], [MERGED]);
    const others = read.filter((value) => value !== CARRY && value !== FLAGS);
    out.uop(PORTS.flag, 1, [...others, MERGED], results);
    return;
  }
  if (SHIFTS.has(mnemonic) && cost.ports.length === 2) {
    // By cl the old flags stay if the count is 0, by one rotates keep some: a second operation merges them.
    out.uop(ports[0], latency, read, [...results, MERGED]);
    out.uop(ports[1], 1, [MERGED, CARRY, FLAGS], flags);
    return;
  }
  if (WIDE_PRODUCTS.has(mnemonic) && results.length === 2) {
    // The upper half comes a cycle after the lower: measured with mulx and with mul.
    const [low, high] = mnemonic === 'mulx' ? [results[1], results[0]] : results;
    out.uop(ports[0], latency, read, [low, ...flags, MERGED]);
    out.uop(ports[1], 1, [MERGED], [high]);
    for (const extra of ports.slice(2)) out.uop(extra, 1, [], []);
    return;
  }
  const unit = cost.busy > 0 ? 0 : -1;
  out.add({
    ports: ports[0],
    latency,
    reads: read,
    writes: [...results, ...flags],
    busy: cost.busy,
    unit,
  });
  for (const extra of ports.slice(1)) out.uop(extra, 1, [], []);
}

function stackOperation(out: Assembly, shape: Shape): number | null {
  const [operand] = shape.operands;
  switch (shape.mnemonic) {
    case 'pop': {
      const access = out.access(at(RSP, 0n), 8, STACK);
      if (isRegister(operand)) {
        out.load(access, LOAD_LATENCY, [operand.value]);
        out.unknown(operand.value);
      }
      out.moved(RSP, RSP, 8n);
      return 1;
    }
    case 'leave': {
      out.uop(0, 0, [RBP], [RSP]);
      const access = out.access(at(RBP, 0n), 8, LEAVE);
      out.load(access, LOAD_LATENCY, [RBP]);
      out.moved(RSP, RBP, 8n);
      out.unknown(RBP);
      return 3;
    }
    case 'call': {
      out.store(out.access(at(RSP, -8n), 8, STACK), []);
      out.uop(PORTS.branch, 1, isRegister(operand) ? [operand.value] : [], []);
      out.moved(RSP, RSP, -8n);
      return 2;
    }
    case 'ret': {
      out.load(out.access(at(RSP, 0n), 8, STACK), LOAD_LATENCY, [LOADED]);
      out.uop(PORTS.branch, 1, [LOADED], []);
      out.moved(RSP, RSP, 8n);
      return 1;
    }
    default:
      return null;
  }
}

/** Lone string instructions: their chain through rsi and rdi, with the measured time of one step. */
function stringOperation(out: Assembly, shape: Shape): number | null {
  const { mnemonic, operands } = shape;
  if (operands.some(isVector)) return null;
  const match = /^(lods|stos|movs|scas|cmps)([bwdq])$/.exec(mnemonic);
  if (match === null) return null;
  const width = { b: 1, w: 2, d: 4, q: 8 }[match[2]] ?? 8;
  const { latency, slots } = systemCost(mnemonic.replace(/[wd]$/, 'q')) ?? { latency: 2, slots: 4 };
  const step = BigInt(width);
  if (match[1] === 'lods' || match[1] === 'movs' || match[1] === 'cmps') {
    out.load(out.access(at(RSI, 0n), width, RENAMED), LOAD_LATENCY, [LOADED]);
    out.uop(PORTS.alu, latency, [RSI], [RSI]);
    out.moved(RSI, RSI, step);
  }
  if (match[1] !== 'lods') {
    const access = out.access(at(RDI, 0n), width, RENAMED);
    if (match[1] === 'stos') out.store(access, [RAX]);
    else if (match[1] === 'movs') out.store(access, [LOADED]);
    else {
      out.load(access, LOAD_LATENCY, [STORED]);
      out.uop(PORTS.alu, 1, [STORED, match[1] === 'scas' ? RAX : LOADED], [CARRY, FLAGS]);
    }
    out.uop(PORTS.alu, latency, [RDI], [RDI]);
    out.moved(RDI, RDI, step);
  }
  return slots;
}

function repeatFor(mnemonic: string): Repeat | null {
  const match = /^(lods|stos|movs|scas|cmps)([bwdq])$/.exec(mnemonic);
  return match === null ? null : repeatOf(match[1], { b: 1, w: 2, d: 4, q: 8 }[match[2]] ?? 8);
}

/** A length-changing prefix: 66h before an opcode with a 16-bit immediate (optimisation manual, LCP). */
function hasSlowLength(bytes: Uint8Array, operands: readonly Operand[]): boolean {
  if (!bytes.includes(0x66) || bytes[0] !== 0x66) return false;
  const wide = operands.some((operand) => 'width' in operand && operand.width === 16);
  const opcode = bytes[1] >= 0x40 && bytes[1] <= 0x4f ? bytes[2] : bytes[1];
  const immediate16 =
    opcode === 0x81 ||
    opcode === 0xc7 ||
    opcode === 0x69 ||
    opcode === 0xf7 ||
    (opcode & 0xc7) === 5;
  return wide && immediate16 && isImmediate(operands.at(-1));
}

/** @returns the instruction for the scoreboard; what it does not know it guesses, and never throws */
export function decodeX86Cost(insn: DisassembledInstruction): CostedInstruction {
  const words = insn.mnemonic.split(' ');
  const mnemonic = words[words.length - 1];
  const prefix = words.length > 1 ? words[0] : '';
  const operands = parseOperands(insn.operands);
  const shape: Shape = { mnemonic, operands, flow: flowOf(mnemonic) };
  const out = new Assembly();
  const cost = classOf(classMnemonic(mnemonic, operands), ...variants(mnemonic, operands));
  // An exchange with memory locks without the prefix (SDM, XCHG).
  const locks = prefix === 'lock' || (mnemonic === 'xchg' && operands.some(isMemory));
  const system = systemCost(mnemonic, locks ? 'lock' : prefix);
  let slots: number;
  if (shape.flow === 'branch') {
    out.uop(PORTS.shift, 1, flagValues(semanticsOf(mnemonic, 1).flagsRead), []);
    slots = 1;
  } else if (shape.flow === 'jump') {
    out.uop(
      PORTS.branch,
      1,
      operands.filter(isRegister).map((operand) => operand.value),
      [],
    );
    slots = 1;
  } else {
    slots = stringOperation(out, shape) ?? stackOperation(out, shape) ?? ordinary(out, shape, cost);
    if (system !== null) slots = system.slots;
  }
  const [, source] = operands;
  const memory = operands.find(isMemory);
  const memoryAndImmediate = memory !== undefined && isImmediate(source);
  return {
    form: system === null ? cost.form : system.form,
    length: insn.bytes.length,
    slots,
    microcoded: system !== null || cost.microcoded,
    complex: slots > 1 || cost.complex,
    slowLength: hasSlowLength(insn.bytes, operands),
    uops: out.uops,
    accesses: out.accesses,
    effects: out.effects,
    flow: shape.flow,
    fusible: FUSIBLE.has(mnemonic) && !memoryAndImmediate && memory?.ripRelative !== true,
    fuses: shape.flow === 'branch',
    repeat: prefix.startsWith('rep') ? repeatFor(mnemonic) : null,
    locked: locks && memory !== undefined ? lockedCost(mnemonic) : null,
  };
}
