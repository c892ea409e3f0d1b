// Does the decoded instruction say what was written? The encoder is known to emit wrong code in silence, so every result
// is decoded again and compared: mnemonic (by meaning, not by spelling), registers, immediates modulo operand size, and
// each part of an address.
import { s64 } from '../../bits.ts';
import { type Expr, evaluate } from '../expression.ts';
import { TokenReader } from '../tokens.ts';
import { CONDITIONS } from './branch.ts';
import { PREFIXES, parseX86, type X86Insn } from './operands.ts';
import { immediateBits, type Resolved, type ResolvedInsn, type ResolvedMemory } from './resolve.ts';

/**
 * @param written with ranges already checked
 * @param prefixes as written
 * @param decoded the disassembler's text
 * @returns true if both mean the same
 */
export function sameX86(
  written: ResolvedInsn,
  prefixes: readonly string[],
  decoded: string,
): boolean {
  const other = read(decoded);
  if (other === null || !samePrefixes(prefixes, other.prefixes)) return false;
  const a = canonical(written);
  const b = canonical(other);
  if (!sameMnemonic(a, b)) return b.mnemonic === 'nop' && exchangesWithItself(a);
  if (isString(b.mnemonic)) return a.operands.length === 0 || sameStringOperands(a, b);
  if (sameOperands(a, b, false)) return true;
  const mayTurn = a.mnemonic === 'test' || a.mnemonic === 'xchg';
  return mayTurn && sameOperands({ ...a, operands: [...a.operands].reverse() }, b, false);
}

function read(decoded: string): (ResolvedInsn & { prefixes: readonly string[] }) | null {
  try {
    const insn = parseX86(new TokenReader({ line: 1, column: 1, text: decoded }));
    const { prefixes, mnemonic } = insn;
    if (mnemonic === 'pause') return { prefixes: ['rep'], mnemonic: 'nop', operands: [] };
    return { prefixes, mnemonic, operands: insn.operands.map(toResolved) };
  } catch {
    // Text that our own grammar cannot read certainly is not what was written in it.
    return null;
  }
}

const constantOf = (expr: Expr | null): bigint =>
  expr === null
    ? 0n
    : evaluate(expr, { here: 0n, lookup: () => null }, (reason) => {
        throw new Error(reason);
      });

function toResolved(operand: X86Insn['operands'][0]): Resolved {
  if (operand.kind === 'value') return { kind: 'value', value: constantOf(operand.expr) };
  if (operand.kind === 'memory') return { ...operand, disp: constantOf(operand.disp) };
  return operand;
}

/** Prefixes that change what happens; the others are padding or hints which the disassembler may drop. */
const effective = (prefixes: readonly string[]) =>
  prefixes
    .map((name) => PREFIXES[name])
    .filter((byte) => byte === 0xf0 || byte === 0xf2 || byte === 0xf3)
    .sort()
    .join();

const samePrefixes = (a: readonly string[], b: readonly string[]) => effective(a) === effective(b);

const isString = (mnemonic: string) =>
  /^(movs|stos|lods|scas|cmps|ins|outs)[bwdq]?$/.test(mnemonic);

const SYNONYMS: Record<string, string> = {
  sal: 'shl',
  movabs: 'mov',
  retn: 'ret',
  lret: 'retf',
  xlatb: 'xlat',
  fwait: 'wait',
  cbtw: 'cbw',
  ud2a: 'ud2',
  iretd: 'iret',
  loopz: 'loope',
  loopnz: 'loopne',
  movsxd: 'movsx',
  pushfq: 'pushf',
  popfq: 'popf',
  sysretl: 'sysret',
  fcompi: 'fcomip',
  fucompi: 'fucomip',
};

/** The first spelling of each condition in the table stands for all. */
const firstSpelling = (condition: string): string =>
  Object.keys(CONDITIONS).find((name) => CONDITIONS[name] === CONDITIONS[condition])!;

/** The predicates of CMPPS and its kin, in the order of their numbers (SDM CMPPD, table 3-1, and VCMPPD). */
const PREDICATES = (
  'eq lt le unord neq nlt nle ord eq_uq nge ngt false neq_oq ge gt true eq_os lt_oq le_oq unord_s ' +
  'neq_us nlt_uq nle_uq ord_s eq_us nge_uq ngt_uq false_os neq_os ge_oq gt_oq true_us'
).split(' ');

function canonical(insn: ResolvedInsn): ResolvedInsn {
  let { mnemonic, operands } = insn;
  const conditional = /^(set|cmov|j)(\w+)$/.exec(mnemonic);
  if (conditional !== null && conditional[2] in CONDITIONS) {
    mnemonic = conditional[1] + firstSpelling(conditional[2]);
  }
  mnemonic = SYNONYMS[mnemonic] ?? mnemonic;
  const compare = /^(v?cmp)(\w+?)([ps][sd])$/.exec(mnemonic);
  const predicate = compare === null ? -1 : PREDICATES.indexOf(compare[2]);
  if (compare !== null && predicate >= 0) {
    mnemonic = compare[1] + compare[3];
    operands = [...operands, { kind: 'value', value: BigInt(predicate) }];
  }
  const isShift = /^(ro[lr]|rc[lr]|shl|s[ah]r)$/.test(mnemonic);
  if (isShift && operands.length === 1) operands = [...operands, { kind: 'value', value: 1n }];
  const isShortImul = mnemonic === 'imul' && operands.length === 2 && operands[1].kind === 'value';
  if (isShortImul) operands = [operands[0], ...operands];
  const product = /^(v?pclmul)([lh])q([lh])qdq$/.exec(mnemonic);
  if (product !== null) {
    const value = (product[2] === 'h' ? 1n : 0n) + (product[3] === 'h' ? 16n : 0n);
    mnemonic = `${product[1]}qdq`;
    operands = [...operands, { kind: 'value', value }];
  }
  if (mnemonic === 'int3') return { mnemonic: 'int', operands: [{ kind: 'value', value: 3n }] };
  if (mnemonic.startsWith('f')) operands = x87Operands(mnemonic, operands);
  if (/^(blendvp[sd]|pblendvb|sha256rnds2)$/.test(mnemonic)) operands = operands.slice(0, 2);
  return { mnemonic, operands };
}

/** The top of the stack, and `st(1)` where it is the default, may be left out. */
function x87Operands(mnemonic: string, operands: readonly Resolved[]): readonly Resolved[] {
  const isTop = (o: Resolved) => o.kind === 'register' && o.name === 'st(0)';
  if (operands.length === 2) {
    const [a, b] = operands;
    // `fadd st, st(1)` and `fadd st(1), st` differ, the popping forms have one direction only.
    if (isTop(a)) return [b];
    if (isTop(b) && mnemonic.endsWith('p')) return [a];
  }
  if (
    operands.length === 0 &&
    /^f(add|sub|mul|div|subr|divr)p$|^f(xch|u?comi?p?)$/.test(mnemonic)
  ) {
    return [{ kind: 'register', name: 'st(1)', decoration: '' }];
  }
  return operands;
}

function sameMnemonic(a: ResolvedInsn, b: ResolvedInsn): boolean {
  if (a.mnemonic === b.mnemonic) return true;
  // `movs byte ptr [rdi], byte ptr [rsi]` is movsb.
  return isString(b.mnemonic) && b.mnemonic.slice(0, -1) === a.mnemonic;
}

/** 90 is xchg of the accumulator with itself, except in 32 bits, where that would clear the upper half. */
function exchangesWithItself({ mnemonic, operands: [a, b] }: ResolvedInsn): boolean {
  if (mnemonic !== 'xchg' || a?.kind !== 'register' || b?.kind !== 'register') return false;
  return a.name === b.name && (a.name === 'rax' || a.name === 'ax');
}

/** The register of `stos`, `lods` and `scas` may be left out. */
function sameStringOperands(a: ResolvedInsn, b: ResolvedInsn): boolean {
  const isMemory = (o: Resolved) => o.kind === 'memory';
  const shown = a.operands.every(isMemory) ? b.operands.filter(isMemory) : b.operands;
  return sameOperands(a, { ...b, operands: shown }, true);
}

function sameOperands(a: ResolvedInsn, b: ResolvedInsn, isLoose: boolean): boolean {
  if (a.operands.length !== b.operands.length) return false;
  return a.operands.every((operand, i) => {
    const other = b.operands[i];
    if (operand.kind === 'value') {
      const bits = immediateBits(a.mnemonic, a.operands, i);
      return (
        other.kind === 'value' &&
        BigInt.asUintN(bits, operand.value) === BigInt.asUintN(bits, other.value)
      );
    }
    if (operand.kind === 'register') {
      return (
        other.kind === 'register' &&
        operand.name === other.name &&
        operand.decoration === other.decoration
      );
    }
    return other.kind === 'memory' && sameMemory(operand, other, isLoose || hasNoSize(a.mnemonic));
  });
}

/** The disassembler prints a wrong size, or one that says nothing. */
const hasNoSize = (mnemonic: string) => mnemonic === 'lea' || /^v?u?comis[sd]$/.test(mnemonic);

function sameMemory(a: ResolvedMemory, b: ResolvedMemory, ignoreSize: boolean): boolean {
  if (!ignoreSize && a.size !== null && b.size !== null && a.size !== b.size) return false;
  if (!sameSegment(a, b)) return false;
  if (s64(a.disp) !== s64(b.disp) || a.decoration !== b.decoration) return false;
  if (a.base === b.base && a.index === b.index) return a.index === null || a.scale === b.scale;
  return a.scale === 1 && b.scale === 1 && a.base === b.index && a.index === b.base;
}

/** The default segment (SS with rsp and rbp, else DS) means nothing in 64-bit mode and may be left out. */
function sameSegment(a: ResolvedMemory, b: ResolvedMemory): boolean {
  const effectiveSegment = ({ segment }: ResolvedMemory) =>
    segment === 'fs' || segment === 'gs' ? segment : null;
  return effectiveSegment(a) === effectiveSegment(b);
}
