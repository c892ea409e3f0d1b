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

export interface Relocation {
  /** The psABI's name. */
  readonly name: string;
  /** Bytes that it patches. */
  readonly size: number;
  /** It wants the address of a GOT entry that holds the symbol's, not the symbol's. */
  readonly got: boolean;
  /**
   * Writes the value.
   * @param target S + A, or G + A with `got`: 64 bits
   * @returns what is wrong with it, or null
   */
  apply(place: Place, target: bigint): string | null;
}

export type RelocationTable = ReadonlyMap<number, Relocation>;

/** True if the value fits `bits` bits with a sign. */
export const fitsSigned = (value: bigint, bits: number): boolean =>
  value === BigInt.asIntN(bits, value);

/** True if the value fits `bits` bits without a sign. @param value unsigned 64 bits */
export const fitsUnsigned = (value: bigint, bits: number): boolean =>
  value === BigInt.asUintN(bits, value);

/** The distance from the place, with its sign. */
export const distance = (place: Place, target: bigint): bigint =>
  BigInt.asIntN(64, target - place.address);

/** A relocation that stores the value in whole bytes. @param fits null: every value does */
export function whole(
  name: string,
  size: 1 | 2 | 4 | 8,
  value: (place: Place, target: bigint) => bigint,
  fits: ((value: bigint) => boolean) | null,
  got = false,
): Relocation {
  return {
    name,
    size,
    got,
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
  };
}

export const tooFar = (value: bigint, bits: number): string =>
  `${value < 0n ? '-' : ''}0x${(value < 0n ? -value : value).toString(16)} does not fit ${bits} bits`;
