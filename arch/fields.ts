// A decoded machine word as a tree of named fields: what `faultline decode` prints and what tests compare. The decoders
// (`arch/*/fault-code.ts`, `arch/*/pte-decode.ts`) describe; nobody prints here.
import { field } from '../emulator/bits.ts';

/** One field of a word, with the manual's name. */
export interface Field {
  /** The manual's name: `P`, `U/S`, `DFSC`, `AttrIndx`. */
  readonly name: string;
  /** Where it lies, as the manual writes it: `63` or `51:12`. */
  readonly bits: string;
  readonly value: bigint;
  /** What this value means, in a few words; empty if the value says it all. */
  readonly meaning: string;
  /** Fields within this one. */
  readonly fields: readonly Field[];
}

/**
 * The field in bits `high` to `low` of `word`.
 * @param meaning text, or a function of the field's value
 */
export function fieldOf(
  word: bigint,
  name: string,
  high: number,
  low: number,
  meaning: string | ((value: bigint) => string) = '',
  fields: readonly Field[] = [],
): Field {
  const value = field(word, high, low);
  return {
    name,
    bits: high === low ? `${high}` : `${high}:${low}`,
    value,
    meaning: typeof meaning === 'string' ? meaning : meaning(value),
    fields,
  };
}

/** A field of one bit. @param clear meaning of 0 and @param set of 1 */
export const flagOf = (word: bigint, name: string, at: number, clear: string, set: string): Field =>
  fieldOf(word, name, at, at, (value) => (value === 1n ? set : clear));
