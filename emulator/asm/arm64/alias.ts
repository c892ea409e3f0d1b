// Many AArch64 mnemonics are other names of general forms (Arm ARM C6.1.1, alias conditions). Both what was written and
// what was decoded are brought to the general form here, so that comparing them is comparing lists.
import { CONDITIONS } from './branch.ts';
import { HINTS } from './extensions.ts';
import { optionNumber } from './maintenance.ts';
import { generalBits } from './registers.ts';
import type { Resolved, ResolvedInsn } from './resolve.ts';

type Operands = readonly Resolved[];

const register = (name: string): Resolved => ({ kind: 'register', name, lane: null });
const number = (value: bigint): Resolved => ({ kind: 'value', value });

const widthOf = (operand: Resolved | undefined): 0 | 32 | 64 =>
  operand?.kind === 'register' ? generalBits(operand.name) : 0;
const zeroLike = (operand: Resolved | undefined): Resolved =>
  register(widthOf(operand) === 32 ? 'wzr' : 'xzr');
const isZero = (operand: Resolved | undefined) =>
  operand?.kind === 'register' && /^[xw]zr$/.test(operand.name);
const numberIn = (operand: Resolved | undefined): bigint | null =>
  operand?.kind === 'value' ? operand.value : null;

/** The general form; an instruction that has none is returned with its numbers tidied. */
export function generalForm(insn: ResolvedInsn): ResolvedInsn {
  const tidy = { mnemonic: insn.mnemonic, operands: tidyOperands(insn) };
  return (
    compareForm(tidy) ??
    moveForm(tidy) ??
    productForm(tidy) ??
    shiftForm(tidy) ??
    bitfieldForm(tidy) ??
    selectForm(tidy) ??
    memoryForm(tidy) ??
    vectorForm(tidy) ??
    systemForm(tidy) ??
    tidy
  );
}

/** Merges `#n, lsl #m` into one number and drops modifiers that do nothing. */
function tidyOperands({ mnemonic, operands }: ResolvedInsn): Operands {
  const out: Resolved[] = [];
  for (const operand of operands) {
    const last = out.at(-1);
    if (operand.kind === 'shift') {
      const amount = operand.amount ?? 0n;
      if (last?.kind === 'value' && operand.op === 'lsl') {
        out[out.length - 1] = number(last.value << amount);
        continue;
      }
      if (amount === 0n && (operand.op === 'lsl' || operand.op === 'uxtx')) continue;
      // An extended 64-bit (or, of w registers, 32-bit) register is not extended at all.
      const isPlain =
        operand.op === 'uxtx' ||
        (operand.op === 'uxtw' && operands.slice(0, -1).every((o) => widthOf(o) === 32));
      const op = isPlain ? 'lsl' : operand.op;
      if (amount === 0n && op === 'lsl') continue;
      out.push({ kind: 'shift', op, amount });
    } else if (operand.kind === 'memory') {
      out.push({ ...operand, parts: tidyMemory(operand.parts, operand.writeback) });
    } else if (operand.kind === 'name') {
      out.push(sameName(mnemonic, operand));
    } else {
      out.push(operand);
    }
  }
  return out;
}

function tidyMemory(parts: Operands, writeback: boolean): Operands {
  const kept: Resolved[] = [];
  for (const part of parts) {
    const doesNothing =
      part.kind === 'shift' && (part.amount ?? 0n) === 0n && /^(lsl|uxtx)$/.test(part.op);
    if (doesNothing) continue;
    kept.push(part.kind === 'shift' ? { ...part, amount: part.amount ?? 0n } : part);
  }
  if (!writeback && kept.length === 2 && numberIn(kept[1]) === 0n) kept.pop();
  return kept;
}

/** Names that stand for numbers become these, so that `cs` and `hs`, `dmb osh` and `dmb #3` are equal. */
function sameName(mnemonic: string, name: Extract<Resolved, { kind: 'name' }>): Resolved {
  if (isCondition(mnemonic)) return sameCondition(name.text);
  const option = optionNumber(mnemonic, name.text);
  return option === null ? name : number(option);
}

const isCondition = (mnemonic: string) =>
  /^(f?ccm[pn]e?|f?csel|cs(inc|inv|neg)|csetm?|cin[cv]|cneg)$/.test(mnemonic);

const sameCondition = (text: string): Resolved =>
  Object.hasOwn(CONDITIONS, text)
    ? { kind: 'name', text: `cond${CONDITIONS[text]}` }
    : { kind: 'name', text };

const invert = (condition: Resolved): Resolved =>
  condition.kind === 'name' && /^cond\d+$/.test(condition.text)
    ? { kind: 'name', text: `cond${Number(condition.text.slice(4)) ^ 1}` }
    : condition;

const COMPARES: Record<string, string> = { cmp: 'subs', cmn: 'adds', tst: 'ands' };
const FROM_ZERO: Record<string, string> = {
  neg: 'sub',
  negs: 'subs',
  ngc: 'sbc',
  ngcs: 'sbcs',
  mvn: 'orn',
};

function compareForm({ mnemonic, operands }: ResolvedInsn): ResolvedInsn | null {
  if (Object.hasOwn(COMPARES, mnemonic)) {
    const width = operands.map(widthOf).find((bits) => bits > 0);
    const zero = register(width === 32 ? 'wzr' : 'xzr');
    return { mnemonic: COMPARES[mnemonic], operands: [zero, ...operands] };
  }
  if (Object.hasOwn(FROM_ZERO, mnemonic) && widthOf(operands[0]) > 0) {
    const [rd, ...rest] = operands;
    return { mnemonic: FROM_ZERO[mnemonic], operands: [rd, zeroLike(rd), ...rest] };
  }
  return null;
}

/** Everything that puts one number or one register into a general register is `mov`. */
function moveForm({ mnemonic, operands }: ResolvedInsn): ResolvedInsn | null {
  const [rd, a, b] = operands;
  const bits = widthOf(rd);
  if (bits === 0) return null;
  const move = (source: Resolved) => ({ mnemonic: 'mov', operands: [rd, source] });
  const value = numberIn(a);
  if (mnemonic === 'movz' || (mnemonic === 'mov' && operands.length === 2)) {
    return value === null
      ? { mnemonic: 'mov', operands }
      : move(number(BigInt.asUintN(bits, value)));
  }
  if (mnemonic === 'movn' && value !== null) return move(number(BigInt.asUintN(bits, ~value)));
  if (operands.length !== 3) return null;
  if (mnemonic === 'orr' && isZero(a)) {
    const mask = numberIn(b);
    return move(mask === null ? b : number(BigInt.asUintN(bits, mask)));
  }
  const names = [rd, a].map((operand) => (operand.kind === 'register' ? operand.name : ''));
  const touchesStack = names.some((name) => name === 'sp' || name === 'wsp');
  if (mnemonic === 'add' && numberIn(b) === 0n && touchesStack) return move(a);
  return null;
}

const PRODUCTS: Record<string, string> = {
  mul: 'madd',
  mneg: 'msub',
  smull: 'smaddl',
  smnegl: 'smsubl',
  umull: 'umaddl',
  umnegl: 'umsubl',
};

function productForm({ mnemonic, operands }: ResolvedInsn): ResolvedInsn | null {
  if (!Object.hasOwn(PRODUCTS, mnemonic) || widthOf(operands[0]) === 0) return null;
  return { mnemonic: PRODUCTS[mnemonic], operands: [...operands, zeroLike(operands[0])] };
}

function shiftForm({ mnemonic, operands }: ResolvedInsn): ResolvedInsn | null {
  const [rd, rn, by] = operands;
  const bits = BigInt(widthOf(rd));
  if (!/^(lsl|lsr|asr|ror)$/.test(mnemonic) || operands.length !== 3 || bits === 0n) return null;
  const amount = numberIn(by);
  if (amount === null) return { mnemonic: `${mnemonic}v`, operands };
  if (mnemonic === 'ror') return { mnemonic: 'extr', operands: [rd, rn, rn, by] };
  const field: [bigint, bigint] =
    mnemonic === 'lsl' ? [(bits - amount) % bits, bits - 1n - amount] : [amount, bits - 1n];
  const general = mnemonic === 'asr' ? 'sbfm' : 'ubfm';
  return { mnemonic: general, operands: [rd, rn, number(field[0]), number(field[1])] };
}

function bitfieldForm({ mnemonic, operands }: ResolvedInsn): ResolvedInsn | null {
  const [rd, rn] = operands;
  const bits = BigInt(widthOf(rd));
  if (bits === 0n) return null;
  const extend = /^([us])xt([bhw])$/.exec(mnemonic);
  if (extend !== null) {
    const last = { b: 7n, h: 15n, w: 31n }[extend[2]]!;
    // The source is written as w, the general form names x where the target is x.
    const source =
      rn.kind === 'register' && bits === 64n ? register(rn.name.replace('w', 'x')) : rn;
    return { mnemonic: `${extend[1]}bfm`, operands: [rd, source, number(0n), number(last)] };
  }
  const found = /^(?:([us])bf(x|iz)|bf(i|xil|c))$/.exec(mnemonic);
  if (found === null) return null;
  const isClear = found[3] === 'c';
  const source = isClear ? zeroLike(rd) : rn;
  const lsb = numberIn(operands[isClear ? 1 : 2]);
  const width = numberIn(operands[isClear ? 2 : 3]);
  if (lsb === null || width === null) return null;
  const extracts = found[2] === 'x' || found[3] === 'xil';
  const field: [bigint, bigint] = extracts
    ? [lsb, lsb + width - 1n]
    : [(bits - lsb) % bits, width - 1n];
  const general = `${found[1] ?? ''}bfm`;
  return { mnemonic: general, operands: [rd, source, number(field[0]), number(field[1])] };
}

function selectForm({ mnemonic, operands }: ResolvedInsn): ResolvedInsn | null {
  const [rd, a, b] = operands;
  const general: Record<string, string> = {
    cset: 'csinc',
    csetm: 'csinv',
    cinc: 'csinc',
    cinv: 'csinv',
    cneg: 'csneg',
  };
  if (!Object.hasOwn(general, mnemonic)) return null;
  const source = mnemonic.startsWith('cset') ? zeroLike(rd) : a;
  const condition = mnemonic.startsWith('cset') ? a : b;
  if (condition === undefined) return null;
  return { mnemonic: general[mnemonic], operands: [rd, source, source, invert(condition)] };
}

/** `ldur` where `ldr` cannot hold the offset is the assembler's own choice; `stadd` is `ldadd` that forgets. */
function memoryForm({ mnemonic, operands }: ResolvedInsn): ResolvedInsn | null {
  const unscaled = /^(ld|st)ur(s?[bhw]?)$/.exec(mnemonic);
  if (unscaled !== null) return { mnemonic: `${unscaled[1]}r${unscaled[2]}`, operands };
  if (mnemonic === 'prfum') return { mnemonic: 'prfm', operands };
  const atomic = /^st(add|clr|eor|set|smax|smin|umax|umin)(l?[bh]?)$/.exec(mnemonic);
  if (atomic === null) return null;
  const [rs, ...rest] = operands;
  return { mnemonic: `ld${atomic[1]}${atomic[2]}`, operands: [rs, zeroLike(rs), ...rest] };
}

function vectorForm({ mnemonic, operands }: ResolvedInsn): ResolvedInsn | null {
  const [rd, a] = operands;
  if (rd?.kind === 'register' && rd.name.startsWith('v') && mnemonic === 'mov') {
    if (rd.lane !== null) return { mnemonic: 'ins', operands };
    return { mnemonic: 'orr', operands: [rd, a, a] };
  }
  if (mnemonic === 'mov' && a?.kind === 'register' && a.lane !== null) {
    return { mnemonic: widthOf(rd) > 0 ? 'umov' : 'dup', operands };
  }
  if (mnemonic === 'umov' && a?.kind === 'register') return { mnemonic: 'umov', operands };
  if (mnemonic === 'mvn' && widthOf(rd) === 0) return { mnemonic: 'not', operands };
  const long = /^([us])xtl(2?)$/.exec(mnemonic);
  if (long !== null) {
    return { mnemonic: `${long[1]}shll${long[2]}`, operands: [...operands, number(0n)] };
  }
  return null;
}

function systemForm({ mnemonic, operands }: ResolvedInsn): ResolvedInsn | null {
  const [first] = operands;
  if (mnemonic === 'rev64' && widthOf(first) === 64) return { mnemonic: 'rev', operands };
  if (mnemonic === 'ret' && operands.length === 0) return { mnemonic, operands: [register('x30')] };
  if (mnemonic === 'isb' && operands.length === 0) {
    return { mnemonic, operands: [number(15n)] };
  }
  if (mnemonic === 'clrex' && operands.length === 0) return { mnemonic, operands: [number(15n)] };
  if (/^dcps[123]$/.test(mnemonic) && operands.length === 0) {
    return { mnemonic, operands: [number(0n)] };
  }
  const name =
    first?.kind === 'name' && operands.length === 1 ? `${mnemonic} ${first.text}` : mnemonic;
  if (Object.hasOwn(HINTS, name) && (name !== mnemonic || operands.length === 0)) {
    return { mnemonic: 'hint', operands: [number(BigInt(HINTS[name]))] };
  }
  return null;
}
