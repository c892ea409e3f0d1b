// Operations of x86-64 instructions that move pointers by themselves: the stack's, whose pointer the renamer keeps, and
// the string instructions, whose pointers go up (DF clear).
import { addressAt, type InstructionBuilder } from '../../emulator/cost/builder.ts';
import { LOAD_LATENCY, PORTS } from './cost-classes.ts';
import { FRAME, RENAMED, STACK } from './cost-forwarding.ts';
import {
  CARRY,
  FLAGS,
  isMemory,
  isRegister,
  LOADED,
  type Operand,
  RAX,
  RBP,
  RDI,
  RSI,
  RSP,
  STORED,
} from './cost-operands.ts';
import { systemCost } from './cost-system.ts';

/** Where a jump goes: a register, or a word that is loaded. */
export function loadTarget(out: InstructionBuilder, [operand]: readonly Operand[]): number[] {
  if (isRegister(operand)) return [operand.value];
  if (!isMemory(operand)) return [];
  out.load(out.access(operand, 8, RENAMED), LOAD_LATENCY, [LOADED]);
  return [LOADED];
}

/** Cycles from rbp to rsp: the measured chain, whose other instructions take none. */
const LEAVE_LATENCY = 2;

/** @returns slots, or null if the instruction is none of the stack's */
export function stackOperation(
  out: InstructionBuilder,
  mnemonic: string,
  operands: readonly Operand[],
): number | null {
  const [operand] = operands;
  switch (mnemonic) {
    case 'pop': {
      const target = isRegister(operand) ? operand.value : LOADED;
      out.load(out.access(addressAt(RSP, 0), 8, STACK), LOAD_LATENCY, [target]);
      if (isMemory(operand)) out.store(out.access(operand, 8, RENAMED), [LOADED]);
      if (isRegister(operand)) out.unknown([operand.value]);
      out.moved(RSP, RSP, 8);
      return isMemory(operand) ? 2 : 1;
    }
    case 'pushfq':
    case 'pushf':
      out.store(out.access(addressAt(RSP, -8), 8, STACK), [CARRY, FLAGS]);
      out.moved(RSP, RSP, -8);
      return 3;
    case 'popfq':
    case 'popf':
      out.load(out.access(addressAt(RSP, 0), 8, STACK), LOAD_LATENCY, [CARRY, FLAGS]);
      out.moved(RSP, RSP, 8);
      return 3;
    case 'leave':
      out.uop(PORTS.alu, LEAVE_LATENCY, [RBP], [RSP]);
      out.load(out.access(addressAt(RBP, 0), 8, FRAME), LOAD_LATENCY, [RBP]);
      out.moved(RSP, RBP, 8);
      out.unknown([RBP]);
      return 3;
    case 'call':
      out.uop(PORTS.branch, 1, loadTarget(out, operands), []);
      out.store(out.access(addressAt(RSP, -8), 8, STACK), []);
      out.moved(RSP, RSP, -8);
      return 2;
    case 'ret':
      out.load(out.access(addressAt(RSP, 0), 8, STACK), LOAD_LATENCY, [LOADED]);
      out.uop(PORTS.branch, 1, [LOADED], []);
      out.moved(RSP, RSP, 8);
      return 1;
    default:
      return null;
  }
}

const ELEMENT: Readonly<Record<string, number>> = { b: 1, w: 2, d: 4, q: 8 };

/** Operation and element bytes of a string instruction; null for others, the scalar move `movsd` among them. */
export function stringForm(
  mnemonic: string,
  operands: readonly Operand[],
): { readonly operation: string; readonly width: number } | null {
  const match = /^(lods|stos|movs|scas|cmps)([bwdq])$/.exec(mnemonic);
  const scalar = operands.length > 0 && !operands.some(isMemory);
  const vector = operands.some((operand) => isRegister(operand) && operand.width >= 128);
  if (match === null || scalar || vector) return null;
  return { operation: match[1], width: ELEMENT[match[2]] };
}

/**
 * One step of a string instruction: the chain through its pointers takes the measured time.
 * @returns slots, or null if it is none
 */
export function stringOperation(
  out: InstructionBuilder,
  mnemonic: string,
  operands: readonly Operand[],
): number | null {
  const form = stringForm(mnemonic, operands);
  if (form === null) return null;
  const { operation, width } = form;
  // Words and double words were not measured: they are costed as quad words.
  const measured = systemCost(width === 1 ? mnemonic : `${operation}q`);
  const latency = measured?.latency ?? 2;
  if (operation !== 'stos' && operation !== 'scas') {
    out.load(out.access(addressAt(RSI, 0), width, RENAMED), LOAD_LATENCY, [LOADED]);
    out.uop(PORTS.alu, latency, [RSI], [RSI]);
    out.moved(RSI, RSI, width);
  }
  if (operation === 'lods') {
    out.uop(PORTS.alu, 1, [LOADED, RAX], [RAX]);
    return measured?.slots ?? 4;
  }
  const access = out.access(addressAt(RDI, 0), width, RENAMED);
  if (operation === 'stos') out.store(access, [RAX]);
  else if (operation === 'movs') out.store(access, [LOADED]);
  else {
    out.load(access, LOAD_LATENCY, [STORED]);
    out.uop(PORTS.alu, 1, [STORED, operation === 'scas' ? RAX : LOADED], [CARRY, FLAGS]);
  }
  out.uop(PORTS.alu, latency, [RDI], [RDI]);
  out.moved(RDI, RDI, width);
  return measured?.slots ?? 4;
}
