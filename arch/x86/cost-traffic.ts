// What an x86-64 instruction reads and writes, sorted by where it goes: registers, flags, memory.
import { type InstructionBuilder, registersOf } from '../../emulator/cost/builder.ts';
import {
  CARRY,
  FLAGS,
  isImmediate,
  isMemory,
  isRegister,
  isVector,
  MASK,
  type Masking,
  type MemoryOperand,
  type Operand,
  VECTOR,
} from './cost-operands.ts';
import { foldedSum } from './cost-rename.ts';
import { semanticsOf } from './cost-semantics.ts';

export interface Traffic {
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  /** Flags written. */
  readonly flags: readonly number[];
  readonly memory: MemoryOperand | null;
  readonly loads: boolean;
  readonly stores: boolean;
  /** One of ah to dh is an operand. */
  readonly highByte: boolean;
}

export const flagValues = (letters: string): number[] =>
  [...letters].map((letter) => (letter === 'C' ? CARRY : FLAGS));

/** A write to a part of a general register that leaves the rest: bytes and words, but not double words. */
const merges = (role: string, { width, value }: { width: number; value: number }) =>
  role === 'w' && width < 32 && value < VECTOR;

/** The name under which the semantics are found. Division by a byte leaves rdx alone. */
function nameOf(mnemonic: string, [operand]: readonly Operand[]): string {
  // Half a vector to memory reads no memory.
  if (/^v?mov[lh]p[sd]$/.test(mnemonic) && isMemory(operand)) return 'storehalf';
  const byte = operand !== undefined && 'width' in operand && operand.width === 8;
  return byte && (mnemonic === 'div' || mnemonic === 'idiv') ? `${mnemonic}8` : mnemonic;
}

/** @param masking of the destination, or null */
export function trafficOf(
  mnemonic: string,
  operands: readonly Operand[],
  masking: Masking | null,
): Traffic {
  const semantics = semanticsOf(nameOf(mnemonic, operands), operands.length);
  const { roles } = semantics;
  const reads = [...semantics.reads, ...flagValues(semantics.flagsRead)];
  const writes = [...semantics.writes];
  let memory: MemoryOperand | null = null;
  let memoryRole = '';
  operands.forEach((operand, i) => {
    const role = roles[i] ?? 'r';
    if (isMemory(operand)) {
      memory = operand;
      memoryRole = role;
    }
    if (!isRegister(operand)) return;
    if (role !== 'w' || merges(role, operand)) reads.push(operand.value);
    if (role === 'w' || role === 'x') writes.push(operand.value);
  });
  // A scalar move between registers keeps the upper part of its destination; from memory it clears it.
  const scalar = mnemonic === 'movss' || mnemonic === 'movsd';
  if (scalar && operands.every(isVector)) reads.push(...writes);
  if (masking !== null) {
    // Without zeroing a vector keeps what the mask leaves out; a mask as destination has zeros there.
    if (!masking.zeroes) reads.push(...writes.filter((value) => value < MASK));
    reads.push(masking.mask);
  }
  return {
    reads: [...new Set(reads)],
    writes,
    flags: flagValues(semantics.flagsWritten),
    memory,
    loads: memoryRole === 'r' || memoryRole === 'x',
    stores: memoryRole === 'w' || memoryRole === 'x',
    highByte: operands.some((operand) => isRegister(operand) && operand.high),
  };
}

/** What the instruction does to the addresses of later ones, where no engine runs the code. */
export function noteAddresses(
  out: InstructionBuilder,
  mnemonic: string,
  operands: readonly Operand[],
  traffic: Traffic,
): void {
  const [target, source] = operands;
  const { reads, writes, memory } = traffic;
  const general = writes.filter((value) => value < VECTOR);
  const amount = foldedSum(mnemonic, operands);
  if (!isRegister(target) || general.length !== 1) out.unknown(general);
  else if (amount !== null) out.moved(target.value, target.value, amount);
  else if (mnemonic === 'mov' && isImmediate(source)) {
    out.constant(target.value, Number(BigInt.asUintN(target.width, source.number)));
  } else if (mnemonic === 'mov' && target.width === 64 && isRegister(source)) {
    out.moved(target.value, source.value, 0);
  } else if (mnemonic === 'lea' && isMemory(source)) {
    const plain = source.index < 0 && source.base >= 0;
    if (plain) out.moved(target.value, source.base, source.disp);
    else out.derived(target.value, `lea ${source.scale} ${source.disp}`, registersOf(source));
  } else if (memory === null && reads.every((value) => value < VECTOR)) {
    const numbers = operands.map((operand) => (isImmediate(operand) ? operand.number : ''));
    out.derived(target.value, `${mnemonic} ${target.width} ${numbers}`, reads);
  } else out.unknown(general);
}
