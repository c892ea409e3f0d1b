// The schema that editors get must accept what the loader accepts and refuse a slip of the pen. It is checked by
// turning it back into a validator.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { fromJSONSchema } from 'zod';
import { jsonSchema } from './scenario.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));
const schema = jsonSchema();
const validator = fromJSONSchema(schema as Parameters<typeof fromJSONSchema>[0]);
/** The validator knows only integers that a number holds; the others may be strings. */
const narrow = (_: unknown, value: unknown) => {
  if (typeof value !== 'bigint') return value;
  return Number.isSafeInteger(Number(value)) ? Number(value) : `0x${value.toString(16)}`;
};

const accepts = (name: string) =>
  validator.safeParse(parse(readFileSync(FIXTURES + name, 'utf8'), narrow, { intAsBigInt: true }))
    .success;

/** Every mapping of properties in the schema, wherever it stands. */
function* propertiesIn(node: unknown, path = ''): Generator<[string, Record<string, unknown>]> {
  if (typeof node !== 'object' || node === null) return;
  for (const [key, value] of Object.entries(node)) {
    if (key === 'properties') yield [path, value as Record<string, unknown>];
    yield* propertiesIn(value, `${path}/${key}`);
  }
}

describe('the JSON Schema', () => {
  it('is of draft 2020-12', () => {
    expect(schema.$schema).toBe('https://json-schema.org/draft/2020-12/schema');
  });

  it('survives JSON', () => {
    expect(JSON.parse(JSON.stringify(schema))).toEqual(schema);
  });

  it('describes every key', () => {
    const definitions = schema.$defs as Record<string, { description?: string }>;
    const described = (value: { description?: string; $ref?: string }): boolean =>
      value.description !== undefined ||
      (value.$ref !== undefined && described(definitions[value.$ref.replace('#/$defs/', '')]));
    const bare = [...propertiesIn(schema)].flatMap(([path, properties]) =>
      Object.entries(properties)
        .filter(([, value]) => !described(value as object))
        .map(([key]) => `${path}/${key}`),
    );
    expect(bare).toEqual([]);
  });

  const good = readdirSync(FIXTURES).filter((name) => name.endsWith('.yaml'));
  it.each(good)('accepts %s', (name) => {
    expect(accepts(name)).toBe(true);
  });

  const slips = ['unknown-key', 'unknown-argument', 'text-for-number', 'fraction', 'odd-hex'];
  it.each([...slips, 'fault-keys', 'unknown-step', 'schedule-form', 'inject', 'a-list'])(
    'refuses bad/%s',
    (name) => {
      expect(accepts(`bad/${name}.yaml`)).toBe(false);
    },
  );
});
