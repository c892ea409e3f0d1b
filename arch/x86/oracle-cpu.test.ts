import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { unicornEngine } from '../../emulator/unicorn/engine.ts';
import type { GoldenCase } from '../oracle.ts';
import { createOracle } from './oracle.ts';

// A sample; all of them: npm run --silent oracle -- --through cpu fixtures/oracle/x86-walk.jsonl.gz
const EVERY = 20;
const FILE = new URL('../../fixtures/oracle/x86-walk.jsonl.gz', import.meta.url);
const CASES: GoldenCase[] = gunzipSync(readFileSync(FILE))
  .toString('utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line));

const oracle = createOracle(unicornEngine());

interface Loose {
  access: { kind: string; size: number };
  expect: { fault: { error_code: string; vector: number } | null; pa?: string };
  manual_allows?: unknown;
  steps_before?: { op: string; value?: string }[];
  tables_after: { entry: string }[];
  tables_after_binding: boolean;
}
const loose = CASES as unknown as (Loose & GoldenCase)[];

describe('x86 golden cases on a vCPU', () => {
  it.each(Array.from({ length: 10 }, (_, i) => i))('agree in tenth %i of the sample', (tenth) => {
    const bad = CASES.filter((_, i) => i % EVERY === 0 && (i / EVERY) % 10 === tenth)
      .map((one) => oracle.run(one))
      .filter((result) => result.skipped !== null || result.differences.length > 0);
    expect(bad).toEqual([]);
  });

  // What a MOV to CR3 and a MOV to CR4 must drop is dropped by the instruction itself.
  it.each(['invlpg', 'mov_cr3', 'mov_cr4'])('agree in every case with a step of %s', (op) => {
    const cases = loose.filter((one) => one.steps_before?.some((step) => step.op === op));
    expect(cases.length).toBeGreaterThanOrEqual(20);
    for (const one of cases) expect(oracle.run(one).differences).toEqual([]);
  });
});

// The refusal of the write drops a translation that the read has made: of a large page, and with it all of the engine's.
describe('a read-modify-write that may only read', () => {
  it.each(['perm4k', 'perm2m', 'perm1g'])('faults in class %s', (name) => {
    const refused = ({ class: of, access, expect: { fault } }: Loose & GoldenCase) =>
      of === name && access.kind === 'rmw' && fault?.error_code === '0x3';
    const cases = loose.filter(refused);
    expect(cases.length).toBeGreaterThan(2);
    for (const one of cases) expect(oracle.run(one).differences).toEqual([]);
  });
});

describe('the vCPU', () => {
  const plain = loose.filter((one) => !one.manual_allows && !one.steps_before);

  it.each(['read', 'write', 'rmw', 'fetch'])(
    'finds another page than the expected by a %s',
    (kind) => {
      const cases = plain
        .filter((one) => one.access.kind === kind && one.expect.pa !== undefined)
        .slice(0, 8);
      for (const one of cases) {
        const wrong = structuredClone(one);
        wrong.expect.pa = `0x${(BigInt(one.expect.pa!) ^ 0x1000n).toString(16)}`;
        expect(oracle.run(wrong).differences).toHaveLength(1);
        // And tells the right one, if what it saw is enough to tell.
        const { expect: got } = oracle.run(wrong).answer as { expect: { pa?: string } };
        if (kind !== 'rmw' && one.access.size >= 4) expect(got.pa).toBe(one.expect.pa);
      }
    },
  );

  it('sees another error code and another vector', () => {
    const wrong = structuredClone(plain.find((one) => one.expect.fault?.vector === 14)!);
    wrong.expect.fault!.error_code = '0x1f';
    expect(oracle.run(wrong).differences).toHaveLength(1);
    wrong.expect.fault!.vector = 13;
    expect(oracle.run(wrong).differences).toHaveLength(1);
  });

  it('sees entries that changed otherwise', () => {
    const binds = (one: Loose) => one.tables_after_binding && one.tables_after.length > 0;
    const wrong = structuredClone(plain.find(binds)!);
    wrong.tables_after[0].entry = '0x1';
    expect(oracle.run(wrong).differences).toHaveLength(1);
  });

  it('does not reach a size that no instruction has', () => {
    const odd = structuredClone(plain[0]);
    odd.access.size = 3;
    expect(oracle.run(odd)).toMatchObject({ answer: null, differences: [] });
    expect(oracle.run(odd).skipped).toMatch(/^no instruction/);
  });
});
