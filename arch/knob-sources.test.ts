// Every constant of the event costs has a unit, and says what it rests on in a form that can be followed.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { KNOB_NAMES, KNOBS, misfitOf, valuesOf } from '../emulator/cost/knobs.ts';
import { arm64Costs, x86Costs } from './cost-models.ts';

const fixture = (name: string) =>
  readFileSync(new URL(`../fixtures/oracle/${name}`, import.meta.url));
const memoryCosts: unknown = JSON.parse(fixture('memory-costs.json').toString('utf8'));
const cycleIds = new Set(
  gunzipSync(fixture('cycles.jsonl.gz'))
    .toString('utf8')
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { id: string }).id),
);

const UNITS = ['cycles', 'bytes', 'ways', 'entries', 'percent'];
/** What a source may begin with, and the least it must say: the place, the title, or the reasoning. */
const FORMS = [
  /^measured: (memory-costs\.json|cycles\.jsonl) \S+/,
  /^manual: .*(manual|guide|SDM)\b.*, \S/i,
  /^estimate: \S+( \S+){3,}/,
  /^definition: \S+( \S+){2,}/,
];

const valueAt = (path: string): unknown =>
  path
    .split('.')
    .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], memoryCosts);

const presets = [...x86Costs.presets, ...arm64Costs.presets];
const rows = presets.flatMap(({ arch, name, knobs }) =>
  KNOB_NAMES.map((knob) => ({ preset: `${arch} ${name}`, knob, ...knobs[knob] })),
);

describe('every knob', () => {
  it.each(KNOB_NAMES)('has a unit and says what it is: %s', (name) => {
    const [unit, about] = KNOBS[name];
    expect(UNITS).toContain(unit);
    expect(about.length).toBeGreaterThan(8);
  });

  it('has a whole number in every preset', () => {
    expect(rows.filter(({ value }) => !Number.isInteger(value) || value < 0)).toEqual([]);
  });

  it('goes with the others of its preset', () => {
    expect(presets.map((preset) => misfitOf(valuesOf(preset)))).toEqual(presets.map(() => null));
  });

  it('says whether it was measured, read or estimated, and of what', () => {
    expect(rows.filter(({ source }) => !FORMS.some((form) => form.test(source)))).toEqual([]);
  });

  it('names no place on one machine', () => {
    expect(rows.filter(({ source }) => /(^|\s)[~.]*\/\w/.test(source))).toEqual([]);
  });
});

describe('a measurement that a source names', () => {
  const named = rows.flatMap((row) =>
    [...row.source.matchAll(/memory-costs\.json ([\w.]+\w)/g)].map(([, path]) => ({
      ...row,
      path,
    })),
  );

  it('is there', () => {
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter(({ path }) => valueAt(path) === undefined)).toEqual([]);
    const blocks = rows.flatMap(({ source }) => source.match(/cycles\.jsonl (\S+)/)?.[1] ?? []);
    expect(blocks.length).toBeGreaterThan(0);
    expect(blocks.filter((id) => !cycleIds.has(id))).toEqual([]);
  });

  it('is the value where it is the whole source', () => {
    const whole = named.filter(({ source, path }) =>
      source.endsWith(`measured: memory-costs.json ${path}`),
    );
    const numbers = whole.filter(({ path }) => typeof valueAt(path) === 'number');
    expect(numbers.length).toBeGreaterThan(4);
    expect(numbers.filter(({ value, path }) => valueAt(path) !== value)).toEqual([]);
  });
});
