// Operands of an AArch64 instruction, parsed from the disassembler's text, for costing only: registers, the address,
// the shift. It leaves out predicate and system registers, which have no value here.

/** General registers 0 to 30, the stack pointer 31; vector registers from here. */
export const SP = 31;
export const VECTOR = 32;
export const FLAGS = 64;
/** First of the values that only live inside one instruction. */
export const TEMPORARY = 65;
export const VALUES = 68;

export interface Register {
  /** Value number; -1 for the zero register. */
  readonly value: number;
  /** w, x; b, h, s, d, q; v for a vector with an arrangement or one of its lanes. */
  readonly size: string;
  /** Arrangement (`4s`), or the size of the lane (`s`); '' for others. */
  readonly shape: string;
  /** Number of the lane, or -1. */
  readonly lane: number;
}

export interface Address {
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly disp: number;
  /** Pre- or post-indexed: the base register is written. */
  readonly writeback: boolean;
}

export interface Operands {
  /** Registers outside the address, in order. */
  readonly registers: readonly Register[];
  readonly address: Address | null;
  /** Shift or extension of the last register (`lsl`, `uxtw`), and by how much; '' if there is none. */
  readonly shift: string;
  readonly amount: number;
  readonly immediate: number | null;
  /** Name of a system register or operation, or of a condition; '' if there is none. */
  readonly system: string;
}

const REGISTER = /^(?:([wxbhsdqv])(\d+)(?:\.(\d*[bhsdq]))?(?:\[(\d+)\])?|(sp|wsp|xzr|wzr))$/;

function parseRegister(text: string): Register | null {
  const match = REGISTER.exec(text);
  if (match === null) return null;
  const [, size, number, shape = '', lane = '-1', special] = match;
  if (special !== undefined) {
    const value = special.endsWith('sp') ? SP : -1;
    return { value, size: special.startsWith('w') ? 'w' : 'x', shape, lane: -1 };
  }
  const vector = size !== 'w' && size !== 'x';
  return { value: Number(number) + (vector ? VECTOR : 0), size, shape, lane: Number(lane) };
}

/** `v0.4s-v3.4s` written out. */
function spread(text: string): string {
  return text.replace(/v(\d+)(\.\w+)\s*-\s*v(\d+)\.\w+/g, (_, first, shape, last) => {
    const count = (((Number(last) - Number(first)) % 32) + 32) % 32;
    return Array.from({ length: count + 1 }, (_, n) => `v${(Number(first) + n) % 32}${shape}`).join(
      ', ',
    );
  });
}

/** `-0x10` as a number, which Number() does not read. */
const signed = (text: string) => (text.startsWith('-') ? -Number(text.slice(1)) : Number(text));

function parseAddress(inside: string, after: string): Address {
  const parts = inside.split(',').map((part) => part.trim());
  const index = parts.length > 1 ? parseRegister(parts[1]) : null;
  const number = /#(-?(?:0x)?[0-9a-f]+)/;
  const disp = index === null ? (number.exec(parts[1] ?? '')?.[1] ?? '0') : '0';
  const shift = index !== null && parts.length > 2 ? number.exec(parts[2])?.[1] : undefined;
  return {
    base: parseRegister(parts[0])?.value ?? -1,
    index: index?.value ?? -1,
    scale: 2 ** Number(shift ?? 0),
    disp: signed(disp),
    writeback: after.startsWith('!') || after.startsWith(','),
  };
}

/** @param text operands as the disassembler writes them */
export function parseOperands(text: string): Operands {
  // A lane (`v1.s[0]`, `{v1.s}[0]`) has brackets too; an address stands alone.
  const bracket = text.search(/(?<![\w}])\[/);
  const close = text.lastIndexOf(']');
  const outside = bracket < 0 ? text : text.slice(0, bracket);
  const address =
    bracket < 0 ? null : parseAddress(text.slice(bracket + 1, close), text.slice(close + 1).trim());
  const tokens = spread(outside)
    .split(/[,{}]/)
    .map((token) => token.trim());
  const registers = tokens.map(parseRegister).filter((register) => register !== null);
  const shift = /\b(lsl|lsr|asr|ror|[su]xt[bhwx])(?: #(0x[0-9a-f]+|\d+))?$/.exec(outside.trim());
  const immediate = tokens.find((token) => token.startsWith('#'))?.slice(1);
  return {
    registers,
    address,
    shift: shift?.[1] ?? '',
    amount: Number(shift?.[2] ?? 0),
    immediate: immediate === undefined ? null : signed(immediate),
    system:
      tokens.find((token) => /^[a-z_]\w*$/.test(token) && parseRegister(token) === null) ?? '',
  };
}
