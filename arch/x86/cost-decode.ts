// Decodes an x86-64 instruction for the scoreboard: its form's class, the operations it becomes, the values they read
// and write, its accesses. Approximate: it follows the Golden Cove family and leaves out limits of micro-fusion.
import { addressAt, InstructionBuilder, registersOf } from '../../emulator/cost/builder.ts';
import type { CostedInstruction, Flow } from '../../emulator/cost/instruction.ts';
import { type FormCost, LOAD_LATENCY, PORTS, VECTOR_LOAD_LATENCY } from './cost-classes.ts';
import { compute } from './cost-compute.ts';
import { costOfForm } from './cost-form.ts';
import { forwardingOf, STACK } from './cost-forwarding.ts';
import {
  FLAGS,
  isImmediate,
  isMemory,
  isRegister,
  isVector,
  LOADED,
  type Masking,
  maskingOf,
  type Operand,
  parseOperands,
  RCX,
  RSP,
  STORED,
} from './cost-operands.ts';
import { repeatOf } from './cost-repeat.ts';
import { semanticsOf } from './cost-semantics.ts';
import { loadTarget, stackOperation, stringForm, stringOperation } from './cost-stack.ts';
import { lockedCost, systemCost } from './cost-system.ts';
import { flagValues, noteAddresses, type Traffic, trafficOf } from './cost-traffic.ts';

/** An instruction as the disassembler gives it. */
export interface DisassembledInstruction {
  readonly bytes: Uint8Array;
  /** With its prefixes: `lock add`, `rep movsb`. */
  readonly mnemonic: string;
  /** The operands' text. */
  readonly operands: string;
}

interface Shape {
  readonly mnemonic: string;
  readonly operands: readonly Operand[];
  readonly masking: Masking | null;
}

const PLAIN_MOVES = new Set([
  ...['mov', 'movzx', 'movsx', 'movsxd', 'movd', 'movq', 'movss', 'movsd', 'lddqu'],
  ...['movaps', 'movups', 'movapd', 'movupd', 'movdqa', 'movdqu'],
  ...['movnti', 'movntdq', 'movntps', 'movntpd', 'movntdqa', 'movdiri'],
  ...['broadcastss', 'broadcastsd', 'broadcastf128', 'broadcasti128'],
  ...['pbroadcastd', 'pbroadcastq', 'extractf128', 'extracti128', 'movdqa64', 'movdqa32'],
  ...['movdqu64', 'movdqu32', 'movdqu16', 'movdqu8', 'movddup', 'movlpd', 'movlps'],
]);
const FUSIBLE = new Set(['cmp', 'test', 'add', 'sub', 'and', 'inc', 'dec']);
/** A sign-extending load: measured, one cycle more. */
const SIGN_LATENCY = 1;

function flowOf(mnemonic: string): Flow {
  if (mnemonic === 'call') return 'call';
  if (mnemonic === 'ret') return 'return';
  if (mnemonic === 'jmp') return 'jump';
  return mnemonic.startsWith('j') || mnemonic.startsWith('loop') ? 'branch' : 'next';
}

/** Bytes of the access. Where the text names none, the register says it. */
function widthOf(operands: readonly Operand[], traffic: Traffic): number {
  const register = operands.find(isRegister);
  return (traffic.memory?.width || (register?.width ?? 64)) / 8;
}

/** A move from or to memory: nothing but the access, unless a part of a register is filled. */
function plainMove(
  out: InstructionBuilder,
  { mnemonic, operands }: Shape,
  traffic: Traffic,
  access: number,
): number {
  const { reads, writes } = traffic;
  if (traffic.stores) {
    out.store(access, reads);
    return 1;
  }
  const sign = mnemonic === 'movsx' || mnemonic === 'movsxd' ? SIGN_LATENCY : 0;
  const latency = operands.some(isVector) ? VECTOR_LOAD_LATENCY : LOAD_LATENCY + sign;
  if (reads.length === 0) out.load(access, latency, writes);
  else {
    out.load(access, latency, [LOADED]);
    out.uop(operands.some(isVector) ? PORTS.vec : PORTS.alu, 1, [LOADED, ...reads], writes);
  }
  return 1;
}

/** The operations of an ordinary instruction: load, the class's own, store. @returns slots */
function ordinary(out: InstructionBuilder, shape: Shape, cost: FormCost): number {
  const { mnemonic, operands } = shape;
  const traffic = trafficOf(mnemonic, operands, shape.masking);
  const { memory, loads, stores, writes } = traffic;
  const reads = [...traffic.reads];
  noteAddresses(out, mnemonic, operands, traffic);
  let access = -1;
  if (memory !== null && (loads || stores)) {
    const forwarding = forwardingOf(mnemonic, operands, memory, loads && stores);
    access = out.access(memory, widthOf(operands, traffic), forwarding);
    const bare = mnemonic.startsWith('v') ? mnemonic.slice(1) : mnemonic;
    if (PLAIN_MOVES.has(bare)) return plainMove(out, shape, traffic, access);
  } else if (memory !== null) reads.push(...registersOf(memory));
  if (loads) {
    out.load(access, operands.some(isVector) ? VECTOR_LOAD_LATENCY : LOAD_LATENCY, [LOADED]);
    reads.push(LOADED);
  }
  if (mnemonic === 'push') {
    out.store(out.access(addressAt(RSP, -8), 8, STACK), reads);
    out.moved(RSP, RSP, -8);
    return loads ? 2 : 1;
  }
  const results = stores ? [...writes, STORED] : writes;
  const { flags, highByte } = traffic;
  compute(out, cost, { mnemonic, operands, reads, results, flags, highByte });
  if (stores) out.store(access, [STORED]);
  return cost.slots + (stores ? 1 : 0);
}

/** Renamer slots of `loop`: the public tables of the family. */
const LOOP_SLOTS = 7;

/** `loop` and its variants: the count goes down by one, then the branch. */
function countedBranch(out: InstructionBuilder, mnemonic: string): number {
  out.uop(PORTS.alu, 1, [RCX], [RCX]);
  out.unknown([RCX]);
  out.uop(PORTS.shift, 1, mnemonic === 'loop' ? [RCX] : [RCX, FLAGS], []);
  return LOOP_SLOTS;
}

/** The operations of any instruction. @returns slots, as if nothing held the machine up */
function assemble(out: InstructionBuilder, shape: Shape, cost: FormCost): number {
  const { mnemonic, operands } = shape;
  const flow = flowOf(mnemonic);
  if (flow === 'branch') {
    if (mnemonic.startsWith('loop')) return countedBranch(out, mnemonic);
    const { reads, flagsRead } = semanticsOf(mnemonic, 1);
    out.uop(PORTS.shift, 1, [...reads, ...flagValues(flagsRead)], []);
    return 1;
  }
  if (flow === 'jump') {
    out.uop(PORTS.branch, 1, loadTarget(out, operands), []);
    return 1;
  }
  return (
    stringOperation(out, mnemonic, operands) ??
    stackOperation(out, mnemonic, operands) ??
    ordinary(out, shape, cost)
  );
}

/** A length-changing prefix: 66h before an opcode with a 16-bit immediate (optimisation manual, LCP). */
function hasSlowLength(bytes: Uint8Array, operands: readonly Operand[]): boolean {
  if (bytes[0] !== 0x66 || !isImmediate(operands.at(-1))) return false;
  const wide = operands.some((operand) => 'width' in operand && operand.width === 16);
  const opcode = (bytes[1] & 0xf0) === 0x40 ? bytes[2] : bytes[1];
  // Group 1, MOV, IMUL and TEST with Iw, and the short forms with ax.
  return wide && ([0x81, 0xc7, 0x69, 0xf7, 0xa9].includes(opcode) || (opcode & 0xc7) === 0x05);
}

function isFusible({ mnemonic, operands }: Shape): boolean {
  const memory = operands.find(isMemory);
  if (!FUSIBLE.has(mnemonic)) return false;
  if (memory === undefined) return true;
  const compares = mnemonic === 'cmp' || mnemonic === 'test';
  return compares && !memory.relative && !operands.some(isImmediate);
}

/** @returns the instruction for the scoreboard; what it does not know it guesses, and never throws */
export function decodeX86Cost(insn: DisassembledInstruction): CostedInstruction {
  const words = insn.mnemonic.split(' ');
  const mnemonic = words[words.length - 1];
  const operands = parseOperands(insn.operands);
  const shape: Shape = { mnemonic, operands, masking: maskingOf(insn.operands) };
  const touches = operands.some(isMemory);
  // An exchange with memory locks without the prefix (SDM, XCHG).
  const locks = touches && (words[0] === 'lock' || mnemonic === 'xchg');
  const system = systemCost(mnemonic, locks);
  const form = costOfForm(mnemonic, operands);
  // The time of a locked operation is the lock's.
  const cost = locks ? { ...form, latency: 1 } : form;
  const out = new InstructionBuilder(PORTS);
  const own = assemble(out, shape, cost);
  const slots = system?.slots ?? own;
  const repeated = words[0].startsWith('rep') ? stringForm(mnemonic, operands) : null;
  return {
    form: system?.form ?? cost.form,
    length: insn.bytes.length,
    slots,
    microcoded: system !== null || cost.microcoded || repeated !== null,
    complex: slots > 1 || cost.complex,
    slowLength: hasSlowLength(insn.bytes, operands),
    uops: out.uops,
    accesses: out.accesses,
    effects: out.effects,
    flow: flowOf(mnemonic),
    fusible: isFusible(shape),
    repeat: repeated === null ? null : repeatOf(repeated.operation, repeated.width),
    locked: locks ? lockedCost(mnemonic) : null,
  };
}
