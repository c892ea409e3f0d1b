import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { unicornEngine } from '../../emulator/unicorn/engine.ts';
import type { GoldenCase } from '../oracle.ts';
import { createOracle } from './oracle.ts';

// A sample; all of them: npm run --silent oracle -- --through cpu fixtures/oracle/arm64-walk.jsonl.gz
const EVERY = 20;
const FILE = new URL('../../fixtures/oracle/arm64-walk.jsonl.gz', import.meta.url);

interface Outcome {
  fault: { esr: string; far: string } | null;
  pa?: string;
  value?: unknown;
  par?: string;
  attr?: string;
  fst?: string;
}
type Loose = GoldenCase & {
  class: string;
  access: { insn: string; size: number };
  expect: Outcome;
  alt?: Outcome;
  steps?: { op: string; expect: Outcome }[];
  tables_after?: { desc: string }[];
};
const CASES: Loose[] = gunzipSync(readFileSync(FILE))
  .toString('utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line));

const oracle = createOracle(unicornEngine());
const disagree = (cases: readonly Loose[]) =>
  cases
    .map((one) => oracle.run(one))
    .filter((result) => result.skipped !== null || result.differences.length > 0);

describe('arm64 golden cases on a vCPU', () => {
  it.each(Array.from({ length: 10 }, (_, i) => i))('agree in tenth %i of the sample', (tenth) => {
    const sample = CASES.filter((_, i) => i % EVERY === 0 && (i / EVERY) % 10 === tenth);
    expect(disagree(sample)).toEqual([]);
  });

  // What the core cannot do by itself.
  it.each(['align', 'unpriv', 'pan', 'zva', 'mmuoff', 'cm', 'tlb'])('agree in class %s', (name) => {
    const cases = CASES.filter((one) => one.class === name);
    expect(cases.length).toBeGreaterThan(10);
    expect(disagree(cases)).toEqual([]);
  });
});

describe('the vCPU', () => {
  const plain = CASES.filter((one) => one.steps === undefined && one.alt === undefined);
  const reaching = (...insns: string[]) =>
    plain.filter((one) => insns.includes(one.access.insn) && one.expect.pa !== undefined);

  it.each([
    [['ldr', 'ldp', 'ldar', 'ldxr'], 'loads'],
    [['str', 'stp', 'stlr'], 'stores'],
    [['ldtr', 'sttr'], 'unprivileged accesses'],
    [['cas', 'casp', 'ldadd', 'swp', 'ldxr_stxr', 'ldxp_stxp'], 'atomics'],
    [['dc_zva'], 'DC ZVA'],
    [['br'], 'fetches'],
  ])('sees by %s that a page is not the expected', (insns) => {
    for (const one of reaching(...insns).slice(0, 30)) {
      const wrong = structuredClone(one);
      delete wrong.expect.value;
      wrong.expect.pa = `0x${(BigInt(one.expect.pa!) ^ 0x1000n).toString(16)}`;
      expect(oracle.run(wrong).differences).toHaveLength(1);
    }
  });

  it.each(['esr', 'far'] as const)('sees another %s', (key) => {
    const wrong = structuredClone(plain.find((one) => one.expect.fault !== null)!);
    wrong.expect.fault![key] = '0x1';
    expect(oracle.run(wrong).differences).toHaveLength(1);
  });

  it.each(['attr', 'fst'] as const)('sees another %s in PAR_EL1', (key) => {
    const wrong = structuredClone(plain.find((one) => one.expect[key] !== undefined)!);
    wrong.expect[key] = '0x15';
    expect(oracle.run(wrong).differences).toHaveLength(1);
  });

  it('sees a descriptor that changed otherwise', () => {
    const wrong = structuredClone(
      plain.find((one) => one.tables_after && !('tables_open' in one))!,
    );
    wrong.tables_after![0].desc = '0x1';
    expect(oracle.run(wrong).differences).toHaveLength(1);
  });
});
