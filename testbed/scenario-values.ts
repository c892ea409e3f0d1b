// Building blocks of the scenario schema: numbers that keep 64 bits, bytes in hex, mappings that know their keys, and
// the descriptions that an editor shows. Each block carries the JSON Schema of what it accepts, since zod can derive
// none from a check that is a function.
import * as z from 'zod/mini';

/** JSON Schema of a block, in zod's place or beside what zod says. */
export type Fragment = Record<string, unknown>;

interface Annotation {
  /** Replaces what zod derives. */
  readonly json?: Fragment;
  readonly description?: string;
}

// zod's own registry would do, but costs some microseconds an entry at each start of the program.
const annotations = new WeakMap<object, Annotation>();
export const annotationOf = (schema: object): Annotation | undefined => annotations.get(schema);

/** Issue of a block, before it knows its place. `expected` alone means that the value is of another kind altogether. */
export interface BlockIssue {
  readonly expected: string;
  /** Set where the kind is right and the value is not: what is wrong. */
  readonly wrong?: string;
  readonly remedy: string;
}

/** A schema whose check is `parse`: it returns the value, or the issue through `refuse`. */
export function block<T>(
  json: Fragment,
  parse: (input: unknown, refuse: (issue: BlockIssue) => never) => T,
) {
  const schema = z.pipe(
    z.unknown(),
    z.transform((input: unknown, context): T => {
      try {
        return parse(input, (issue) => {
          throw new Refusal(issue);
        });
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        context.issues.push({ code: 'custom', input, params: { ...error.issue } });
        return z.NEVER;
      }
    }),
  );
  annotations.set(schema, { json });
  return schema;
}

class Refusal {
  readonly issue: BlockIssue;
  constructor(issue: BlockIssue) {
    this.issue = issue;
  }
}

const NUMBER = /^[+-]?(?:0x[0-9a-f]+|[0-9]+)$/i;

/** An integer as a file may spell it, or undefined. JSON has no hex, hence the strings. */
export function toInteger(input: unknown): bigint | undefined {
  if (typeof input === 'bigint') return input;
  if (typeof input !== 'string' || !NUMBER.test(input)) return undefined;
  const magnitude = BigInt(input.replace(/^[+-]/, ''));
  return input.startsWith('-') ? -magnitude : magnitude;
}

/** Large numbers are easier to read in hex, and the largest need not be read whole. */
const show = (value: bigint): string =>
  value.toString(16).length > 40 ? 'a number of very many digits' : showWhole(value);

const showWhole = (value: bigint): string =>
  value > 0xffffn || value < -0xffffn
    ? `${value < 0n ? '-' : ''}0x${(value < 0n ? -value : value).toString(16)}`
    : value.toString();

function integerFragment(min: bigint, max: bigint): Fragment {
  const exact = (value: bigint) => Number.isSafeInteger(Number(value));
  return {
    anyOf: [
      {
        type: 'integer',
        ...(exact(min) ? { minimum: Number(min) } : {}),
        ...(exact(max) ? { maximum: Number(max) } : {}),
      },
      { type: 'string', pattern: '^[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)$' },
    ],
  };
}

/** An integer from `min` to `max`, as bigint. */
export function integer(min: bigint, max: bigint) {
  return block<bigint>(integerFragment(min, max), (input, refuse) => {
    const value = toInteger(input);
    if (value === undefined) {
      const remedy =
        typeof input === 'number'
          ? 'write a whole number without point or exponent'
          : 'write it in decimal or as 0x hex';
      return refuse({ expected: 'an integer', remedy });
    }
    if (value < min || value > max) {
      const range = `from ${show(min)} to ${show(max)}`;
      const wrong = `${show(value)} is out of range`;
      return refuse({ expected: 'an integer', wrong, remedy: `give an integer ${range}` });
    }
    return value;
  });
}

export const MAX_U64 = 0xffff_ffff_ffff_ffffn;
const MIN_S64 = -0x8000_0000_0000_0000n;

/** A machine word: unsigned, or negative in two's complement. Not wrapped. */
export const word = once(() => integer(MIN_S64, MAX_U64));

/** An unsigned machine word. */
export const unsigned = once(() => integer(0n, MAX_U64));

/** An integer that a number holds exactly. */
export function count(min: number, max: number) {
  const wide = integer(BigInt(min), BigInt(max));
  const schema = z.pipe(wide, z.transform(Number));
  annotations.set(schema, { json: integerFragment(BigInt(min), BigInt(max)) });
  return schema;
}

/** Bytes as pairs of hex digits; blanks and line ends between them are allowed. */
export const hexBytes = once(() => {
  const json = { type: 'string', pattern: '^\\s*([0-9a-fA-F]{2}\\s*)*$' };
  return block<Uint8Array>(json, (input, refuse) => {
    const expected = 'bytes in hex';
    const remedy = 'write pairs of hex digits in quotes, such as "2a00"';
    if (typeof input !== 'string') return refuse({ expected, remedy });
    const digits = input.replace(/\s+/g, '');
    const wrong = digits.match(/[^0-9a-f]/i);
    if (wrong) return refuse({ expected, wrong: `"${wrong[0]}" is no hex digit`, remedy });
    if (digits.length % 2) {
      return refuse({ expected, wrong: `${digits.length} hex digits are no whole bytes`, remedy });
    }
    return Uint8Array.from({ length: digits.length / 2 }, (_, i) =>
      Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16),
    );
  });
});

/** Text of a form that `test` knows. `expected` names the form, `remedy` shows one. */
export function textOf(test: RegExp, expected: string, remedy: string) {
  return block<string>({ type: 'string', pattern: test.source }, (input, refuse) => {
    if (typeof input !== 'string') {
      const isNumber = typeof input === 'bigint' || typeof input === 'number';
      return refuse({ expected, remedy: isNumber ? 'put it in quotes' : remedy });
    }
    if (!test.test(input)) {
      return refuse({ expected, wrong: `${JSON.stringify(input)} is not ${expected}`, remedy });
    }
    return input;
  });
}

/** A mapping with these keys and no others. The issues of unknown keys and of other values carry the known ones. */
export const mapping = <T extends z.core.$ZodLooseShape>(shape: T) =>
  z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys' || issue.code === 'invalid_type'
        ? Object.keys(shape).join(' ')
        : undefined,
  });

/** A key that may be left out, with what an editor says about it. */
export function may<T extends z.core.SomeType>(description: string, schema: T) {
  const result = z.optional(schema);
  annotations.set(result, { description });
  return result;
}

/** A key that must be there. */
export function must<T extends z.core.$ZodType>(description: string, schema: T): T {
  const own = z.clone(schema);
  annotations.set(own, { ...annotations.get(schema), description });
  return own;
}

/** `schema`, or a mapping that gives one for each architecture. */
export const perArch = <T extends z.core.SomeType>(schema: T) =>
  z.union([
    schema,
    mapping({ x86_64: may('For x86_64 only.', schema), arm64: may('For arm64 only.', schema) }),
  ]);

/** A part of the schema that is built once, when it is first asked for. */
export function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
