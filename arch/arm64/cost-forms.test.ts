import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { score } from '../../emulator/cost/score.ts';
import { loadDisassembler } from '../../emulator/disassembler.ts';
import { cycleOracle } from '../cycles-oracle.ts';

// Instruction forms alone, each as a chain through its result where it has one and as six that do not wait for each
// other, and mixtures of them; of several widths that cost the same, one. Cycles as llvm-mca of LLVM 22.1.8 has them (-mcpu=neoverse-n1; 1,000 iterations less 500).
type Row = readonly [kind: 'chain' | 'apart' | 'mix', asm: string, bytes: string, cycles: number];

const rows: Row[] = gunzipSync(
  readFileSync(new URL('../../fixtures/oracle/cycles-arm64-forms.jsonl.gz', import.meta.url)),
)
  .toString('utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line));

/** The reference lets this one wait for nothing, though it keeps the lower half of its destination. */
const APART = /^fmov v9\.d\[1\]/;

interface Compared {
  readonly kind: string;
  readonly asm: string;
  readonly measured: number;
  readonly predicted: number;
}

let compared: Compared[];

beforeAll(async () => {
  const lines = rows.map(([, , bytes], n) => ({ id: `${n}`, arch: 'arm64', bytes }));
  const { answers } = cycleOracle(lines, { disassembler: await loadDisassembler(), engine: null });
  compared = answers.map(({ id, cycles }) => {
    const [kind, asm, , measured] = rows[Number(id)];
    return { kind, asm, measured, predicted: cycles };
  });
}, 60_000);

describe('AArch64 forms against the reference', () => {
  it('are all there', () => {
    expect(compared).toHaveLength(rows.length);
    expect(compared.filter(({ kind }) => kind !== 'mix').length).toBeGreaterThan(1000);
  });

  it.each([
    ['chain', 'the latency'],
    ['apart', 'the pipelines'],
  ])('cost what it says: %s, %s', (kind) => {
    const wrong = compared.filter(
      (row) =>
        row.kind === kind &&
        !APART.test(row.asm) &&
        Math.abs(row.predicted - row.measured) > 0.05 * row.measured,
    );
    expect(wrong).toEqual([]);
  });

  it('cost together what it says, but for its choice of pipelines', () => {
    const { mape, tau, within25 } = score(compared.filter(({ kind }) => kind === 'mix'));
    expect(mape).toBeLessThan(3);
    expect(within25).toBeGreaterThan(95);
    expect(tau).toBeGreaterThan(0.95);
  });
});
