// What both machines' relocations have in common: where one is applied, what it is given, and when a value does not fit.

/** The place that a relocation patches. */
export interface Place {
  /** The section's bytes. */
  readonly view: DataView;
  /** Bytes into the view. */
  readonly offset: number;
  /** P: the address of the place. */
  readonly address: bigint;
}

/**
 * What a relocation's value begins with, in the psABIs' letters: S the symbol, G the address of the GOT entry that
 * holds it, GOT the table, Z the symbol's size.
 */
export type RelocationOperand =
  | 'S'
  | 'G'
  | 'G-GOT'
  /** G - Page(GOT) */
  | 'G-Page(GOT)'
  | 'S-GOT'
  | 'GOT'
  | 'Z';

export interface Relocation {
  /** The psABI's name. */
  readonly name: string;
  /** Bytes that it patches. */
  readonly size: number;
  readonly operand: RelocationOperand;
  /**
   * Writes the value.
   * @param target the operand and the addend: 64 bits
   * @returns what is wrong with it, or null
   */
  apply(place: Place, target: bigint): string | null;
  /** The addend that stands in the place itself: for SHT_REL. */
  implicit(place: Place): bigint;
  /** A branch to nothing (a weak symbol that nobody defines) goes on behind itself. */
  readonly branch?: boolean;
}

export interface RelocationTable {
  readonly known: ReadonlyMap<number, Relocation>;
  /** Names of those that have no place in kernel code, and why: thread-local storage, a dynamic linker's work. */
  readonly refused: ReadonlyMap<number, { readonly name: string; readonly why: string }>;
}

export const TLS = 'thread-local storage, which kernels do not have';
export const DYNAMIC = 'work for a dynamic linker, which kernels do not have';

/** True if the value fits `bits` bits with a sign. */
export const fitsSigned = (value: bigint, bits: number): boolean =>
  value === BigInt.asIntN(bits, value);

/** True if the value fits `bits` bits without a sign. @param value unsigned 64 bits */
export const fitsUnsigned = (value: bigint, bits: number): boolean =>
  value === BigInt.asUintN(bits, value);

/** The distance from the place, with its sign. */
export const distance = (place: Place, target: bigint): bigint =>
  BigInt.asIntN(64, target - place.address);

export const absolute = (_place: Place, target: bigint): bigint => BigInt.asUintN(64, target);

export const signed = (_place: Place, target: bigint): bigint => BigInt.asIntN(64, target);

/** R_*_NONE: only keeps the symbol's section alive. */
export const none = (name: string): Relocation => ({
  name,
  size: 0,
  operand: 'S',
  apply: () => null,
  implicit: () => 0n,
});

/** A relocation that stores the value in whole bytes. @param fits null: every value does */
export function whole(
  name: string,
  size: 1 | 2 | 4 | 8,
  value: (place: Place, target: bigint) => bigint,
  fits: ((value: bigint) => boolean) | null,
  operand: RelocationOperand = 'S',
): Relocation {
  return {
    name,
    size,
    operand,
    apply(place, target) {
      const wanted = value(place, target);
      if (fits !== null && !fits(wanted)) return tooFar(wanted, size * 8);
      const { view, offset } = place;
      if (size === 8) view.setBigUint64(offset, BigInt.asUintN(64, wanted), true);
      else if (size === 4) view.setUint32(offset, Number(BigInt.asUintN(32, wanted)), true);
      else if (size === 2) view.setUint16(offset, Number(BigInt.asUintN(16, wanted)), true);
      else view.setUint8(offset, Number(BigInt.asUintN(8, wanted)));
      return null;
    },
    implicit({ view, offset }) {
      if (size === 8) return view.getBigInt64(offset, true);
      if (size === 4) return BigInt(view.getInt32(offset, true));
      return BigInt(size === 2 ? view.getInt16(offset, true) : view.getInt8(offset));
    },
  };
}

export const tooFar = (value: bigint, bits: number): string =>
  `${value < 0n ? '-' : ''}0x${(value < 0n ? -value : value).toString(16)} does not fit ${bits} bits`;
