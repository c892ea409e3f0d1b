// From an x86-64 instruction to the class of its form: which line of the class table it is costed by.
import { classOf, type FormCost } from './cost-classes.ts';
import { isImmediate, isMemory, isRegister, isVector, MMX, type Operand } from './cost-operands.ts';

export const SHIFTS = new Set('shl shr sal sar rol ror rcl rcr shld shrd'.split(' '));

/** Golden Cove's `lea`: base and displacement in the renamer (64 bits), a sum on any port, a scale on three. */
function leaClass([target, source]: readonly Operand[]): string {
  if (!isMemory(source) || !isRegister(target)) return 'lea';
  if (source.index >= 0 && source.scale > 1) return 'lea.scaled';
  const simple = source.index < 0 && source.base >= 0 && target.width === 64;
  return simple ? 'lea.simple' : 'lea';
}

function familyOf(mnemonic: string, operands: readonly Operand[]): string {
  const [first] = operands;
  const wide = first === undefined || !('width' in first) || first.width === 64;
  if (mnemonic.startsWith('cmov')) return 'cmov';
  if (mnemonic.startsWith('set')) return 'set';
  if (mnemonic === 'movabs') return 'mov';
  if (mnemonic === 'mul' || (mnemonic === 'imul' && operands.length === 1)) {
    return wide ? 'mul' : 'mul32';
  }
  if (mnemonic === 'div' || mnemonic === 'idiv') return wide ? 'div64' : 'div';
  if (mnemonic === 'lea') return leaClass(operands);
  if (/^vfn?m(add|sub)/.test(mnemonic)) return 'fma';
  const bare = mnemonic.startsWith('v') ? mnemonic.slice(1) : mnemonic;
  if (bare === 'cmpsd' && !isVector(first)) return bare;
  if (/^cmp\w*[sp][sd]$/.test(bare)) return 'cmpps';
  if (/^movdq[au]\d+$/.test(bare)) return 'movdqa';
  return bare;
}

/** Moves between MMX registers are executed, not renamed. */
const isMmx = (operand: Operand | undefined) =>
  isVector(operand) && isRegister(operand) && operand.value >= MMX;

/** The refinement under which a form may have a class of its own, or ''. */
function variantOf(mnemonic: string, operands: readonly Operand[]): string {
  const [first, second] = operands;
  const last = operands.at(-1);
  const bare = mnemonic.startsWith('v') ? mnemonic.slice(1) : mnemonic;
  if (SHIFTS.has(mnemonic)) {
    if (isRegister(last) && operands.length > 1) return 'cl';
    const byOne = operands.length === 1 || (isImmediate(last) && last.number === 1n);
    return byOne ? '1' : '';
  }
  // A vector shifted by another's lowest lanes, not by an immediate.
  if (/^ps(ll|rl|ra)[wdq]$/.test(bare)) return isImmediate(last) ? '' : 'x';
  // A broadcast within 128 bits stays in its lane.
  if (/broadcast/.test(bare)) return isRegister(first) && first.width === 128 ? 'lane' : '';
  switch (bare) {
    case 'bswap':
      return isRegister(first) && first.width === 64 ? '64' : '';
    case 'mov':
    case 'movabs':
      if (isImmediate(second)) return 'imm';
      return isRegister(first) && first.width < 32 && isRegister(second) ? 'merge' : '';
    case 'movzx': {
      const copies = isRegister(first) && isRegister(second) && first.value !== second.value;
      return copies && second.width === 8 && !second.high ? '8' : '';
    }
    case 'blendvps':
    case 'blendvpd':
    case 'pblendvb':
      return mnemonic === bare ? '' : 'v';
    case 'movd':
    case 'movq':
      if (isVector(first) && isVector(second)) return isMmx(first) ? 'mmx' : 'xx';
      return isVector(first) ? 'in' : 'out';
    default:
      return '';
  }
}

/** @param mnemonic without prefixes */
export function costOfForm(mnemonic: string, operands: readonly Operand[]): FormCost {
  return classOf(familyOf(mnemonic, operands), variantOf(mnemonic, operands));
}
