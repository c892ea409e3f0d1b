import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Assembler, loadAssembler } from '../emulator/assembler.ts';
import { type Disassembler, loadDisassembler } from '../emulator/disassembler.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { cycleOracle } from './cycles-oracle.ts';
import {
  type BlockPair,
  movedByContention,
  type VariedBlock,
  variantsOf,
} from './test-variants.ts';

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

  it('names pairs that contention for ports moves, and no others', () => {
    const pair = (before: string, after: string): BlockPair => {
      const [first, second] = [before, after].map((asm) =>
        Buffer.from(
          assembler.assemble(asm.split(';').join('\n'), { arch: 'x86_64', address: 0n }).bytes,
        ).toString('hex'),
      );
      return { kind: 'order', id: '', mode: 'loop', before: first, after: second };
    };
    const named = (before: string, after: string) =>
      movedByContention(pair(before, after), disassembler, LIMIT);
    // Three rotations wait for one result and for two ports; the chain goes on from one of them.
    const last =
      'imul rax, rax; rorx rcx, rax, 1; rorx rdx, rax, 2; rorx rbx, rax, 3; mov rax, rbx';
    const first =
      'imul rax, rax; rorx rbx, rax, 3; rorx rcx, rax, 1; rorx rdx, rax, 2; mov rax, rbx';
    expect(named(last, first)).toBe(true);
    expect(named(last, last)).toBe(false);
    // Ports make no difference to a longer chain.
    expect(named(last, `imul rax, rax; ${last}`)).toBe(false);
  });
});
