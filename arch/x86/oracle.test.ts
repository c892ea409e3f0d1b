import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { GoldenCase } from '../oracle.ts';
import { createOracle } from './oracle.ts';

// The whole golden file: page walks as independent implementations give them.
const FILE = new URL('../../fixtures/oracle/x86-walk.jsonl.gz', import.meta.url);
const CASES: GoldenCase[] = gunzipSync(readFileSync(FILE))
  .toString('utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line));

const oracle = createOracle();
const byClass = new Map<string, GoldenCase[]>();
for (const one of CASES) {
  const name = String(one.class);
  byClass.set(name, [...(byClass.get(name) ?? []), one]);
}

describe('x86 golden cases', () => {
  it('are all there', () => {
    expect(CASES.length).toBe(5970);
    expect(byClass.size).toBe(46);
  });

  for (const [name, cases] of byClass) {
    it(`agree in class ${name}`, () => {
      const bad = cases
        .map((one) => oracle.run(one))
        .filter((result) => result.skipped !== null || result.differences.length > 0);
      expect(bad).toEqual([]);
    });
  }
});

describe('the comparison', () => {
  const find = (test: (one: GoldenCase) => boolean) => structuredClone(CASES.find(test)!) as never;
  interface Loose {
    access: { va: string };
    expect: { fault: { error_code: string; cr2: string; vector: number } | null; pa?: string };
    tables_after: { entry: string }[];
    steps_before: { op: string; expect: { pa: string } }[];
    manual_allows: { fault: { error_code: string } | null; pa?: string }[];
  }
  const differences = (line: Loose) => oracle.run(line as never).differences;

  it('sees a wrong error code, CR2 and vector', () => {
    for (const change of [{ error_code: '0x1' }, { cr2: '0x1' }, { vector: 13 }]) {
      const line: Loose = find((one) => /"cr2"/.test(JSON.stringify(one.expect)));
      Object.assign(line.expect.fault!, change);
      expect(differences(line)).toHaveLength(1);
    }
  });

  it('sees a wrong physical address, and a fault where none is expected', () => {
    const line: Loose = find((one) => /"pa"/.test(JSON.stringify(one.expect)));
    line.expect.pa = '0x123456';
    expect(differences(line)).toHaveLength(1);
    line.expect = { fault: { vector: 14, error_code: '0x0', cr2: line.access.va } };
    expect(differences(line)).toHaveLength(1);
  });

  it('sees an entry that changed otherwise, if that binds', () => {
    const binds = (one: GoldenCase) =>
      one.tables_after_binding === true && (one.tables_after as unknown[]).length > 0;
    const line: Loose = find(binds);
    line.tables_after[0].entry = '0x1';
    expect(differences(line)).toHaveLength(1);
    const open = { ...line, tables_after_binding: false };
    expect(differences(open)).toEqual([]);
  });

  it('sees a wrong outcome of a step, and one that the manual does not allow', () => {
    const stepped: Loose = find((one) =>
      /^\[{"op":"access".*"pa"/.test(JSON.stringify(one.steps_before ?? '')),
    );
    stepped.steps_before[0].expect.pa = '0x1';
    expect(differences(stepped)).toHaveLength(1);
    const allowed: Loose = find((one) => one.manual_allows !== undefined);
    allowed.manual_allows = [{ fault: null, pa: '0x1' }];
    expect(differences(allowed)).toHaveLength(1);
  });

  it('answers in the shape of the file', () => {
    const line: GoldenCase = find((one) => one.steps_before !== undefined);
    const { answer } = oracle.run(line);
    expect(answer).toMatchObject({ id: line.id, expect: { fault: expect.anything() } });
    expect(answer!.steps_before).toHaveLength((line.steps_before as unknown[]).length);
  });
});
