// An x86 instruction with every symbol replaced by its number, and the text of it that the encoder gets: one spelling
// for each meaning, ranges checked, nothing left to guess. Rules of ranges: SDM Vol. 2A 2.2.1.3 (displacements are 32
// bits, sign-extended) and 2.2.1.5 (so are immediates of 64-bit operations).
import { hex, s64 } from '../../bits.ts';
import { AssemblyError } from '../error.ts';
import { addressWeight, evaluate, type Scope } from '../expression.ts';
import type { Statement } from '../source.ts';
import type { X86Insn, X86Memory, X86Operand } from './operands.ts';
import { isGeneral, registerBits } from './registers.ts';

export type ResolvedMemory = Omit<X86Memory, 'disp'> & { readonly disp: bigint };

export type Resolved =
  | Extract<X86Operand, { kind: 'register' }>
  | ResolvedMemory
  | { readonly kind: 'value'; readonly value: bigint };

export interface ResolvedInsn {
  readonly mnemonic: string;
  readonly operands: readonly Resolved[];
}

export interface ResolveContext {
  readonly statement: Statement;
  readonly scope: Scope;
  isConstant(name: string): boolean;
  /** Address behind the instruction, from which rip-relative displacements count. */
  readonly end: bigint;
}

/** @throws AssemblyError for undefined symbols and for numbers that the instruction cannot hold */
export function resolve(insn: X86Insn, context: ResolveContext): ResolvedInsn {
  const operands = insn.operands.map((operand, i): Resolved => {
    const at = { line: context.statement.line, column: insn.columns[i] };
    if (operand.kind === 'register') return operand;
    if (operand.kind === 'memory') return resolveMemory(operand, insn, at, context);
    return { kind: 'value', value: resolveValue(operand, at, context) };
  });
  const mnemonic = preferredMnemonic(insn.mnemonic, operands);
  const resolved = { mnemonic, operands: withDefaultSize(mnemonic, operands) };
  checkHighBytes(resolved, context.statement);
  checkSizes(resolved, insn, context.statement);
  return { ...resolved, operands: checkImmediates(resolved, insn, context.statement) };
}

type Place = { line: number; column: number };

const failWith =
  (place: Place) =>
  (reason: string, remedy: string, column = place.column) =>
    new AssemblyError({ line: place.line, column }, reason, remedy);

function resolveValue(
  operand: Extract<X86Operand, { kind: 'value' }>,
  at: Place,
  context: ResolveContext,
): bigint {
  const value = evaluate(operand.expr, context.scope, failWith(at));
  if (!operand.offset && addressWeight(operand.expr, context.isConstant) !== 0) {
    throw new AssemblyError(
      at,
      'a bare symbol means its address to some assemblers and the memory there to others',
      'write `offset symbol` for the address, `[rip + symbol]` for the memory',
    );
  }
  return value;
}

function resolveMemory(
  operand: X86Memory,
  insn: X86Insn,
  at: Place,
  context: ResolveContext,
): ResolvedMemory {
  const { base, index } = operand;
  checkAddressRegisters(operand, at);
  let disp = operand.disp === null ? 0n : evaluate(operand.disp, context.scope, failWith(at));
  const isPlace = operand.disp !== null && addressWeight(operand.disp, context.isConstant) !== 0;
  if ((base === 'rip' || base === 'eip') && isPlace) disp -= context.end;
  const is32 = registerBits(base ?? index ?? '') === 32;
  disp = is32 && disp < 1n << 32n && disp >= -(1n << 32n) ? BigInt.asIntN(32, disp) : s64(disp);
  const reaches = disp >= -0x8000_0000n && disp < 0x8000_0000n;
  if (!reaches && !isAbsoluteMove(operand, insn)) {
    throw new AssemblyError(
      at,
      `displacement ${hex(disp)} does not fit into 32 bits with sign`,
      'load the address into a register with movabs and use that',
    );
  }
  return { ...operand, disp };
}

/** The one form with a 64-bit address in it: mov between the accumulator and memory (SDM MOV, opcodes A0 to A3). */
const isAbsoluteMove = (memory: X86Memory, insn: X86Insn) =>
  /^mov(abs)?$/.test(insn.mnemonic) &&
  memory.base === null &&
  memory.index === null &&
  insn.operands.some((o) => o.kind === 'register' && /^([re]?ax|al)$/.test(o.name));

function checkAddressRegisters({ base, index }: X86Memory, at: Place): void {
  for (const name of [base, index]) {
    if (name === null) continue;
    const isVector = /^[xyz]mm\d+$/.test(name) && name === index;
    const isPointer = /^[er]ip$/.test(name) && name === base && index === null;
    const isAddress = isGeneral(name) && registerBits(name) >= 32;
    if (isVector || isPointer || isAddress) continue;
    throw new AssemblyError(
      at,
      `${name} cannot be part of an address here`,
      'addresses are made of 64-bit (or 32-bit) general registers; rip stands without an index',
    );
  }
  const isMixed =
    base !== null &&
    index !== null &&
    isGeneral(index) &&
    registerBits(base) !== registerBits(index);
  if (isMixed) {
    throw new AssemblyError(
      at,
      `${base} and ${index} have different widths`,
      'use two 64-bit registers',
    );
  }
}

/** `movd` with a 64-bit register is another name of movq (SDM MOVD/MOVQ), which the encoder does not know. */
function preferredMnemonic(mnemonic: string, operands: readonly Resolved[]): string {
  if (!/^v?movd$/.test(mnemonic)) return mnemonic;
  const isWide = operands.some(
    (o) => o.kind === 'register' && isGeneral(o.name) && registerBits(o.name) === 64,
  );
  return isWide ? mnemonic.replace('movd', 'movq') : mnemonic;
}

/** With a REX prefix the numbers of ah, ch, dh and bh mean spl, bpl, sil and dil (SDM Vol. 2A 2.2.1.2). */
function checkHighBytes({ mnemonic, operands }: ResolvedInsn, place: Statement): void {
  const names = operands.flatMap((o) =>
    o.kind === 'register' ? [o.name] : o.kind === 'memory' ? [o.base ?? '', o.index ?? ''] : [],
  );
  const high = names.find((name) => /^[abcd]h$/.test(name));
  if (high === undefined) return;
  const isWide = operands.some(
    (o) => o.kind === 'register' && isGeneral(o.name) && registerBits(o.name) === 64,
  );
  const extended = names.find((name) => /^(r\d+[bwd]?|[sb]pl|[sd]il)$/.test(name));
  if (extended === undefined && !isWide) return;
  throw new AssemblyError(
    place,
    `${high} cannot be used in a ${mnemonic} that needs a REX prefix`,
    'use another byte register, or shift the value first',
  );
}

/** Control transfers and the stack move 8 bytes unless told otherwise. */
function withDefaultSize(mnemonic: string, operands: Resolved[]): Resolved[] {
  if (!/^(push|pop|call|jmp)$/.test(mnemonic)) return operands;
  return operands.map((o) => (o.kind === 'memory' && o.size === null ? { ...o, size: 8 } : o));
}

const SIZE_FROM_REGISTER =
  /^(mov|add|adc|sub|sbb|and|or|xor|cmp|test|inc|dec|neg|not|mul|imul|div|idiv|btc?|btr|bts|ro[lr]|rc[lr]|s[ah][lr]|nop|xchg|xadd|cmpxchg|crc32)$/;
const SIZE_MUST_BE_TOLD =
  /^(movzx|movsx|v?cvtu?si2s[sd]|fi?(add|subr?|mulr?|divr?|comp?|ld|stp?|sttp))$/;

/** Refuses memory whose size only a guess could tell, as GNU as does. */
function checkSizes({ mnemonic, operands }: ResolvedInsn, insn: X86Insn, place: Statement): void {
  const at = operands.findIndex((operand) => operand.kind === 'memory');
  if (at < 0) return;
  const memory = operands[at] as ResolvedMemory;
  if (memory.size !== null) return;
  const isShift = /^(ro[lr]|rc[lr]|s[ah][lr])$/.test(mnemonic);
  const isTold = operands.some((o, i) => o.kind === 'register' && !(isShift && i > 0));
  const isGuess =
    SIZE_MUST_BE_TOLD.test(mnemonic) ||
    (mnemonic === 'crc32' ? true : SIZE_FROM_REGISTER.test(mnemonic) && !isTold);
  if (!isGuess) return;
  throw new AssemblyError(
    { line: place.line, column: insn.columns[at] },
    'the size of the memory operand is not known',
    'write byte ptr, word ptr, dword ptr or qword ptr before it',
  );
}

/** Instructions whose immediate is as wide as their operands (32 bits, sign-extended, where those have 64). */
const FULL_IMMEDIATE = /^(mov|movabs|add|or|adc|sbb|and|sub|xor|cmp|test|imul)$/;

function checkImmediates(
  { mnemonic, operands }: ResolvedInsn,
  insn: X86Insn,
  place: Statement,
): Resolved[] {
  return operands.map((operand, i) => {
    if (operand.kind !== 'value') return operand;
    const at = { line: place.line, column: insn.columns[i] };
    const bits = immediateBits(mnemonic, operands, i);
    // The sign-extended spelling of a negative number, 0xffffffff80000000, is the number.
    const isExtended = operand.value >> 63n === 1n && FULL_IMMEDIATE.test(mnemonic);
    const value = isExtended ? s64(operand.value) : operand.value;
    if (value >= 1n << BigInt(bits) || value < -(1n << BigInt(bits - 1))) {
      throw new AssemblyError(
        at,
        `${value < 0n ? value : hex64(value)} does not fit into ${bits} bits`,
        'mask the number, or use a wider register',
      );
    }
    const isFull = FULL_IMMEDIATE.test(mnemonic);
    const isSigned = isFull || /^bt[crs]?$/.test(mnemonic);
    const number = isSigned ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
    const takes64 = /^mov(abs)?$/.test(mnemonic) && operands[0].kind === 'register';
    if (isFull && bits === 64 && !takes64 && BigInt.asIntN(32, number) !== number) {
      throw new AssemblyError(
        at,
        `${hex64(value)} is no sign-extended 32-bit number, which is all that ${mnemonic} takes`,
        'load it into a register with movabs first',
      );
    }
    return { kind: 'value', value: number };
  });
}

const hex64 = (value: bigint) => `0x${value.toString(16)}`;

/** Width of the immediate that is operand `at`, as far as it can differ from another. */
export function immediateBits(mnemonic: string, operands: readonly Resolved[], at: number): number {
  if (/^(push|j|call|loop|xbegin)/.test(mnemonic)) return 64;
  if (FULL_IMMEDIATE.test(mnemonic)) return operandBits(operands);
  if (mnemonic === 'bextr') return 32;
  if (/^l?ret[fnq]*$/.test(mnemonic) || (mnemonic === 'enter' && at === 0)) return 16;
  return 8;
}

function operandBits(operands: readonly Resolved[]): number {
  const first = operands[0];
  if (first.kind === 'register') return registerBits(first.name) || 64;
  return first.kind === 'memory' && first.size !== null ? first.size * 8 : 64;
}

const SIZE_NAMES: Record<number, string> = {
  1: 'byte',
  2: 'word',
  4: 'dword',
  6: 'fword',
  8: 'qword',
  10: 'xword',
  16: 'xmmword',
  32: 'ymmword',
  64: 'zmmword',
};

/** The encoder's spelling. Numbers are decimal: it reads some hexadecimal ones as registers or wraps them. */
export function render({ mnemonic, operands }: ResolvedInsn): string {
  const written = operands.map((operand) => {
    if (operand.kind === 'value') return operand.value.toString();
    if (operand.kind === 'register') return operand.name + operand.decoration;
    return renderMemory(operand);
  });
  return written.length === 0 ? mnemonic : `${mnemonic} ${written.join(', ')}`;
}

function renderMemory(memory: ResolvedMemory): string {
  const terms: string[] = [];
  if (memory.base !== null) terms.push(memory.base);
  if (memory.index !== null) {
    // Without a factor the encoder may take the index for the base.
    terms.push(`${memory.index}*${memory.scale}`);
  }
  let inner = terms.join(' + ');
  if (inner === '') inner = memory.disp.toString();
  else if (memory.disp !== 0n) {
    inner += memory.disp < 0n ? ` - ${-memory.disp}` : ` + ${memory.disp}`;
  }
  const size = memory.size === null ? '' : `${SIZE_NAMES[memory.size]} ptr `;
  const segment = memory.segment === null ? '' : `${memory.segment}:`;
  return `${size}${segment}[${inner}]${memory.decoration}`;
}
