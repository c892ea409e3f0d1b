// How the class table spells an AArch64 instruction: the mnemonic and the kind of each operand, without numbers.
import { type Operands, type Register, SP } from './cost-operands.ts';

/** A left shift by so much is free in the adder. */
const FREE_SHIFT = 4;

function kindOf({ size, shape, lane }: Register): string {
  if (size !== 'v') return size;
  // A shape without a count (`v0.s[1]`) is a lane.
  return /^\d/.test(shape) ? `v${shape}` : `e${shape}${lane === 0 ? '0' : ''}`;
}

function shiftOf({ registers, shift, amount, immediate }: Operands): string {
  // A shifted immediate is one in the encoding.
  if (shift === '' || immediate !== null) return '';
  const left = shift === 'lsl';
  // With the stack pointer, the same text is an extended register.
  const stack = registers.some(({ value }) => value === SP);
  if (left && !stack && amount <= FREE_SHIFT) return '';
  return left || /^(lsr|asr|ror)$/.test(shift) ? 'shift' : 'extend';
}

function addressOf({ address }: Operands): string {
  if (address === null) return '';
  if (address.writeback) return 'written';
  return address.index >= 0 ? 'index' : 'base';
}

/**
 * For example `add x x x shift`, `fmla v4s v4s es`, `ldr q index`: registers by size, `v` and arrangement, `e` and size
 * for a lane, `0` behind it for the lowest; `imm`; `shift` or `extend` where it costs; `base`, `index` or `written` for an address.
 */
export function formOf(mnemonic: string, operands: Operands): string {
  const immediate = operands.immediate === null ? '' : 'imm';
  const kinds = [...operands.registers.map(kindOf), immediate];
  return [mnemonic, ...kinds, shiftOf(operands), addressOf(operands)].filter(Boolean).join(' ');
}
