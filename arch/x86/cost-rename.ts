// What the Golden Cove renamer does by itself, without a port: zero idioms, and sums of a whole register and a small
// immediate, whose result a later instruction gets as register and number. Measured on 64-bit forms.
import { isImmediate, isRegister, type Operand, VECTOR } from './cost-operands.ts';

const ZERO_IDIOMS = new Set(
  'xor sub pxor xorps xorpd psubb psubw psubd psubq pandn pcmpgtb pcmpgtw pcmpgtd'.split(' '),
);

/** The core's limit is not documented; one byte was measured. */
const FOLD_LIMIT = 1024n;

/** A register combined with itself so that nothing of it is left: the renamer's zero. */
export function isZeroIdiom(mnemonic: string, operands: readonly Operand[]): boolean {
  const bare = mnemonic.startsWith('v') ? mnemonic.slice(1) : mnemonic;
  const [a, b] = operands.slice(-2);
  return (
    ZERO_IDIOMS.has(bare) &&
    operands.length <= 3 &&
    isRegister(a) &&
    isRegister(b) &&
    a.value === b.value &&
    a.width === b.width &&
    a.width >= 32
  );
}

/** @returns what the renamer adds to the register, or null if the instruction is no such sum */
export function foldedSum(mnemonic: string, [target, source]: readonly Operand[]): number | null {
  if (!isRegister(target) || target.width !== 64 || target.value >= VECTOR) return null;
  if (mnemonic === 'inc') return 1;
  if (mnemonic === 'dec') return -1;
  if ((mnemonic !== 'add' && mnemonic !== 'sub') || !isImmediate(source)) return null;
  const amount = BigInt.asIntN(64, mnemonic === 'add' ? source.number : -source.number);
  return amount < FOLD_LIMIT && amount >= -FOLD_LIMIT ? Number(amount) : null;
}
