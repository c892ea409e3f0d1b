import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { GoldenCase } from '../oracle.ts';
import { createOracle } from './oracle.ts';

// The whole golden file: translations and faults as QEMU and a model of the Arm ARM give them.
const FILE = new URL('../../fixtures/oracle/arm64-walk.jsonl.gz', import.meta.url);
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

describe('arm64 golden cases', () => {
  it('are all there', () => {
    expect(CASES.length).toBe(5089);
    expect(byClass.size).toBe(31);
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
  interface Outcome {
    fault: { esr: string; far: string } | null;
    pa?: string;
    pa2?: string;
    value?: string;
    par?: string;
    attr?: string;
    sh?: number;
    fst?: string;
  }
  interface Loose {
    expect: Outcome;
    alt?: Outcome;
    tables_after?: { desc: string }[];
    tables_open?: string;
    steps: { op: string; expect: Outcome }[];
  }
  const find = (test: (one: GoldenCase) => boolean): Loose =>
    structuredClone(CASES.find(test)!) as never;
  const holds = (key: string) => (one: GoldenCase) =>
    (one.expect as Record<string, unknown> | undefined)?.[key] !== undefined;
  const differences = (line: Loose) => oracle.run(line as never).differences;

  it.each([
    ['pa', '0x123456'],
    ['pa2', '0x123456'],
    ['value', '0x1'],
    ['attr', '0x1'],
    ['sh', 1],
    ['fst', '0x1'],
  ])('sees a wrong %s', (key, wrong) => {
    const line = find(holds(key));
    expect(differences(line)).toEqual([]);
    Object.assign(line.expect, { [key]: wrong });
    expect(differences(line)).toHaveLength(1);
  });

  it.each(['esr', 'far'])('sees a wrong %s', (key) => {
    const line = find((one) => /"dfsc"/.test(JSON.stringify(one.expect ?? '')));
    Object.assign(line.expect.fault!, { [key]: '0x1' });
    expect(differences(line)).toHaveLength(1);
  });

  it('sees a fault where none is expected, and the other way round', () => {
    const ok = find(holds('pa'));
    ok.expect = { fault: { esr: '0x96000007', far: '0x0' } };
    expect(differences(ok)).toHaveLength(1);
    const faulting = find((one) => /"dfsc"/.test(JSON.stringify(one.expect ?? '')));
    faulting.expect = { fault: null };
    expect(differences(faulting)).toHaveLength(1);
  });

  it('accepts the alternative of an open case, and nothing else', () => {
    const line = find((one) => one.alt !== undefined);
    line.expect = { fault: { esr: '0x0', far: '0x0' } };
    const [first, second] = [line.alt!, line.expect];
    line.expect = first;
    line.alt = second;
    const got = differences(line);
    line.alt = structuredClone(second);
    expect(differences(line)).toEqual(got);
    expect(differences({ ...line, expect: second })).toHaveLength(1);
  });

  it('sees a changed descriptor that is not expected, and one that did not change', () => {
    const line = find((one) => one.tables_after !== undefined && one.tables_open === undefined);
    const { tables_after: _, ...absent } = line;
    expect(differences(absent as Loose)).toHaveLength(1);
    line.tables_after![0].desc = '0x1';
    expect(differences(line)).toHaveLength(1);
  });

  it('leaves only the access flag open where the tables are open', () => {
    const line = find((one) => one.tables_open === 'at-af');
    const desc = BigInt(line.tables_after![0].desc);
    line.tables_after![0].desc = `0x${(desc ^ (1n << 10n)).toString(16)}`;
    expect(differences(line)).toEqual([]);
    line.tables_after![0].desc = `0x${(desc ^ (1n << 7n)).toString(16)}`;
    expect(differences(line)).toHaveLength(1);
  });

  it('sees a wrong outcome of a step', () => {
    const line = find((one) => one.steps !== undefined);
    const access = line.steps.find((step) => step.op === 'access')!;
    access.expect = { fault: null, pa: '0x1' };
    expect(differences(line)).toHaveLength(1);
  });

  it('answers in the shape of the file', () => {
    const golden = CASES.find((one) => /"dfsc"/.test(JSON.stringify(one.expect ?? '')))!;
    expect(oracle.run(golden).answer).toEqual({
      id: golden.id,
      expect: golden.expect,
      tables_after: [],
    });
    const stepped = CASES.find((one) => one.steps !== undefined)!;
    expect(oracle.run(stepped).answer!.steps).toHaveLength((stepped.steps as unknown[]).length);
  });
});
