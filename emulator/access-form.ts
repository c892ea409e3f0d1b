// Where an access goes: the formula of an operand, evaluated.
import { type VirtAddr, virtAddr } from './address.ts';
import type { AccessForm } from './engine.ts';

/**
 * First byte of an access whose form is exact.
 * @param words general registers in the description's order; the instruction pointer as the form wants it
 */
export function accessAddress(form: AccessForm, words: BigUint64Array): VirtAddr {
  let address = (BigInt(form.displacementHi) << 32n) | BigInt(form.displacementLo);
  if (form.base >= 0) address += words[form.base];
  if (form.index >= 0) address += extended(words[form.index], form.extend) << BigInt(form.shift);
  return virtAddr(address);
}

function extended(value: bigint, how: AccessForm['extend']): bigint {
  if (how === 'uxtw') return BigInt.asUintN(32, value);
  return how === 'sxtw' ? BigInt.asIntN(32, value) : value;
}
