// Register names of AArch64 (Arm ARM C1.2.6): numbers, widths, and which of 31 is meant.

export interface RegisterName {
  /** 0 to 31; both the zero register and the stack pointer are 31. */
  readonly number: number;
  /** x, w: general; b, h, s, d, q, v: SIMD and floating point. */
  readonly file: 'x' | 'w' | 'b' | 'h' | 's' | 'd' | 'q' | 'v';
  readonly isStackPointer: boolean;
}

const registers = new Map<string, RegisterName>();

for (const file of ['x', 'w', 'b', 'h', 's', 'd', 'q', 'v'] as const) {
  const last = file === 'x' || file === 'w' ? 30 : 31;
  for (let number = 0; number <= last; number++) {
    registers.set(`${file}${number}`, { number, file, isStackPointer: false });
  }
}
registers.set('xzr', { number: 31, file: 'x', isStackPointer: false });
registers.set('wzr', { number: 31, file: 'w', isStackPointer: false });
registers.set('sp', { number: 31, file: 'x', isStackPointer: true });
registers.set('wsp', { number: 31, file: 'w', isStackPointer: true });

const OTHER_SPELLINGS: Record<string, string> = { lr: 'x30', fp: 'x29', ip0: 'x16', ip1: 'x17' };

const ARRANGEMENT = /^(8b|16b|4h|8h|2s|4s|1d|2d|1q|2h|4b|b|h|s|d)$/;

/**
 * @param name as written; `v0.4s` counts
 * @returns one spelling for each register, or null if it is none
 */
export function canonicalRegister(name: string): string | null {
  const [stem, arrangement, ...more] = name.toLowerCase().split('.');
  const spelled = Object.hasOwn(OTHER_SPELLINGS, stem) ? OTHER_SPELLINGS[stem] : stem;
  const register = registers.get(spelled);
  if (register === undefined || more.length > 0) return null;
  if (arrangement === undefined) return spelled;
  return register.file === 'v' && ARRANGEMENT.test(arrangement)
    ? `${spelled}.${arrangement}`
    : null;
}

/** What a canonical name without arrangement stands for; null if it has one or is no register. */
export const registerOf = (name: string): RegisterName | null => registers.get(name) ?? null;

/** Width in bits of a general register, else 0. */
export function generalBits(name: string): 0 | 32 | 64 {
  const file = registers.get(name)?.file;
  return file === 'x' ? 64 : file === 'w' ? 32 : 0;
}
