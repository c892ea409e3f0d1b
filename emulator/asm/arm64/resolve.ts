// An AArch64 instruction with every symbol replaced by its number, and the text of it that the encoder gets.
import type { AssemblyError } from '../error.ts';
import { type Expr, evaluate, type Scope } from '../expression.ts';
import type { Arm64Insn, Operand, Part } from './operands.ts';

export type Resolved =
  | Extract<Operand, { kind: 'register' | 'list' | 'float' }>
  | { readonly kind: 'value'; readonly value: bigint }
  | { readonly kind: 'shift'; readonly op: string; readonly amount: bigint | null }
  | { readonly kind: 'memory'; readonly parts: readonly Resolved[]; readonly writeback: boolean }
  | { readonly kind: 'name'; readonly text: string };

export interface ResolvedInsn {
  readonly mnemonic: string;
  readonly operands: readonly Resolved[];
}

type Fail = (reason: string, remedy: string, column?: number) => AssemblyError;

/** @throws the error that `fail` makes: undefined symbols, an address that `:abs_g0:` cannot hold */
export function resolve(insn: Arm64Insn, scope: Scope, fail: Fail): ResolvedInsn {
  const operands = insn.operands.map((operand, i) =>
    resolveOperand(operand, scope, (reason, remedy, column = insn.columns[i]) =>
      fail(reason, remedy, column),
    ),
  );
  return { mnemonic: insn.mnemonic, operands };
}

function resolveOperand(operand: Operand, scope: Scope, fail: Fail): Resolved {
  switch (operand.kind) {
    case 'value':
      return {
        kind: 'value',
        value: takePart(evaluate(operand.expr, scope, fail), operand.part, fail),
      };
    case 'shift':
      return { ...operand, amount: shiftAmount(operand.amount, scope, fail) };
    case 'memory':
      return { ...operand, parts: operand.parts.map((part) => resolveOperand(part, scope, fail)) };
    case 'name':
      if (!/^\w+$/.test(operand.text))
        throw fail(`what is "${operand.text}"?`, 'name a label or a register');
      return { kind: 'name', text: operand.text.toLowerCase() };
    case 'pool':
      throw fail('only ldr takes =value', 'write ldr x0, =value');
    default:
      return operand;
  }
}

function shiftAmount(expr: Expr | null, scope: Scope, fail: Fail): bigint | null {
  if (expr === null) return null;
  const amount = evaluate(expr, scope, fail);
  if (amount >= 0n && amount < 64n) return amount;
  throw fail(`shift by ${amount}`, 'shift by 0 to 63');
}

/** ELF for the Arm 64-bit Architecture, 5.7.4 and 5.7.6: which bits each operator takes, and which check for overflow. */
function takePart(value: bigint, part: Part | null, fail: Fail): bigint {
  if (part === null) return value;
  const address = BigInt.asUintN(64, value);
  if (part === 'lo12') return address & 0xfffn;
  const group = BigInt(part[5]);
  if (!part.endsWith('_nc') && address >> (16n * (group + 1n)) !== 0n) {
    throw fail(`0x${address.toString(16)} has bits above those of :${part}:`, `use :${part}_nc:`);
  }
  return (address >> (16n * group)) & 0xffffn;
}

/** The encoder's spelling, numbers in decimal. */
export function render({ mnemonic, operands }: ResolvedInsn): string {
  const written = operands.map(renderOperand);
  return written.length === 0 ? mnemonic : `${mnemonic} ${written.join(', ')}`;
}

function renderOperand(operand: Resolved): string {
  switch (operand.kind) {
    case 'register':
      return operand.name + lane(operand.lane);
    case 'list':
      return `{${operand.names.join(', ')}}${lane(operand.lane)}`;
    case 'value':
      return `#${operand.value}`;
    case 'float':
      return `#${operand.value.toFixed(8)}`;
    case 'shift':
      return operand.amount === null ? operand.op : `${operand.op} #${operand.amount}`;
    case 'memory':
      return `[${operand.parts.map(renderOperand).join(', ')}]${operand.writeback ? '!' : ''}`;
    case 'name':
      return operand.text;
  }
}

const lane = (number: bigint | null) => (number === null ? '' : `[${number}]`);
