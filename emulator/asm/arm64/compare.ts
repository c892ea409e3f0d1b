// Does the decoded instruction say what was written? The AArch64 half of the check described in x86/compare.ts.
import { TokenReader } from '../tokens.ts';
import { generalForm } from './alias.ts';
import { parseArm64 } from './operands.ts';
import { generalBits } from './registers.ts';
import { type Resolved, type ResolvedInsn, resolve } from './resolve.ts';
import { systemRegister } from './system.ts';

/** @returns true if the disassembler's text means what was written */
export function sameArm64(written: ResolvedInsn, decoded: string): boolean {
  let other: ResolvedInsn;
  try {
    const insn = parseArm64(new TokenReader({ line: 1, column: 1, text: decoded }), () => false);
    other = resolve(insn, { here: 0n, lookup: () => null }, (reason) => {
      throw new Error(reason);
    });
  } catch {
    return false;
  }
  const a = generalForm(written);
  const b = generalForm(other);
  if (a.mnemonic !== b.mnemonic) return false;
  return sameList(a.operands, b.operands, numberBits(a));
}

/** Width in which numbers are compared: `#-1` and `#0xffffffff` are one immediate of a w register. */
function numberBits({ operands }: ResolvedInsn): number {
  const general = operands.find((o) => o.kind === 'register' && generalBits(o.name) > 0);
  return general?.kind === 'register' ? generalBits(general.name) : 64;
}

function sameList(a: readonly Resolved[], b: readonly Resolved[], bits: number): boolean {
  return a.length === b.length && a.every((operand, i) => same(operand, b[i], bits));
}

function same(a: Resolved, b: Resolved, bits: number): boolean {
  switch (a.kind) {
    case 'register':
      return b.kind === 'register' && a.name === b.name && a.lane === b.lane;
    case 'list':
      return b.kind === 'list' && a.names.join() === b.names.join() && a.lane === b.lane;
    case 'value':
      if (b.kind === 'float') return Number(a.value) === b.value;
      return b.kind === 'value' && BigInt.asUintN(bits, a.value) === BigInt.asUintN(bits, b.value);
    case 'float':
      return (
        (b.kind === 'float' && a.value === b.value) ||
        (b.kind === 'value' && a.value === Number(b.value))
      );
    case 'shift':
      return b.kind === 'shift' && a.op === b.op && a.amount === b.amount;
    case 'memory':
      return b.kind === 'memory' && a.writeback === b.writeback && sameList(a.parts, b.parts, 64);
    case 'name':
      return b.kind === 'name' && sameName(a.text, b.text);
  }
}

/** Names of system registers may be spelled by their numbers. */
function sameName(a: string, b: string): boolean {
  if (a === b) return true;
  const number = systemRegister(a);
  return number !== null && number === systemRegister(b);
}
