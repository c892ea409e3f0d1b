import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadAssembler } from '../emulator/assembler.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { cycleOracle } from './cycles-oracle.ts';
import { type BlockPair, type VariedBlock, variantsOf } from './test-variants.ts';

// A sample; `npx tsx scripts/cost-variants.ts FILE` has them all.
const SAMPLED = 9;
const LIMIT = 2;

interface Moved {
  readonly kind: BlockPair['kind'];
  readonly id: string;
  /** Percent, without sign. */
  readonly by: number;
}

let moved: Moved[];

beforeAll(async () => {
  const [assembler, disassembler] = await Promise.all([loadAssembler(), loadDisassembler()]);
  const text = gunzipSync(
    readFileSync(new URL('../fixtures/oracle/cycles.jsonl.gz', import.meta.url)),
  ).toString('utf8');
  const blocks: VariedBlock[] = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const pairs = blocks
    .filter(({ arch }, n) => arch === 'x86_64' && n % SAMPLED === 0)
    .flatMap((block) => variantsOf(block, assembler, disassembler));
  const lines = pairs.flatMap(({ mode, before, after }, n) => [
    { id: `${n} before`, arch: 'x86_64', mode, bytes: before },
    { id: `${n} after`, arch: 'x86_64', mode, bytes: after },
  ]);
  const { answers } = cycleOracle(lines, { disassembler, engine: unicornEngine() });
  moved = pairs.map(({ kind, id }, n) => {
    const [before, after] = answers.slice(2 * n, 2 * n + 2).map(({ cycles }) => cycles);
    return { kind, id, by: (100 * Math.abs(after - before)) / before };
  });
}, 120_000);

describe('what hardware does not notice', () => {
  it.each([
    ['registers', 25],
    ['order', 60],
  ])('is there to be tried: %s', (kind, least) => {
    expect(moved.filter((row) => row.kind === kind).length).toBeGreaterThan(least);
  });

  it.each(['registers', 'displacements'])('moves no cycles: %s', (kind) => {
    expect(moved.filter((row) => row.kind === kind && row.by >= LIMIT)).toEqual([]);
  });

  it('moves few by the order of independent neighbours', () => {
    // Which port an operation is bound to, and where a window of 32 bytes ends, does depend on the order.
    const order = moved.filter(({ kind }) => kind === 'order');
    expect(order.filter(({ by }) => by >= LIMIT).length).toBeLessThan(0.04 * order.length);
    expect(order.filter(({ by }) => by >= 12)).toEqual([]);
  });
});
