import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Assembler, loadAssembler } from '../emulator/assembler.ts';
import { type Disassembler, loadDisassembler } from '../emulator/disassembler.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { cycleOracle } from './cycles-oracle.ts';
import { type BlockPair, type VariedBlock, variantsOf } from './test-variants.ts';

// A sample; `npx tsx scripts/cost-variants.ts FILE` has them all.
const SAMPLED = 5;
const LIMIT = 2;

interface Moved {
  readonly kind: BlockPair['kind'];
  readonly id: string;
  /** Percent, without sign. */
  readonly by: number;
}

let moved: Moved[];
let assembler: Assembler;
let disassembler: Disassembler;

beforeAll(async () => {
  [assembler, disassembler] = await Promise.all([loadAssembler(), loadDisassembler()]);
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
    ['order', 120],
  ])('is there to be tried: %s', (kind, least) => {
    expect(moved.filter((row) => row.kind === kind).length).toBeGreaterThan(least);
  });

  it.each(['registers', 'displacements'])('moves no cycles: %s', (kind) => {
    expect(moved.filter((row) => row.kind === kind && row.by >= LIMIT)).toEqual([]);
  });

  it('moves no cycles: order of independent neighbours', () => {
    expect(moved.filter(({ kind, by }) => kind === 'order' && by >= LIMIT)).toEqual([]);
  });
});
