import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadDisassembler } from '../../emulator/disassembler.ts';
import { unicornEngine } from '../../emulator/unicorn/engine.ts';
import { cycleOracle } from '../cycles-oracle.ts';
import { X86_MEASURED } from './cost-table.ts';

// Every form of the measured table as a block, unrolled: a chain through its destination where one was measured, and
// so many that do not wait for each other. The cycles are the table's, times the instructions of the block.
type Row = readonly [
  form: string,
  kind: 'chain' | 'apart',
  asm: string,
  bytes: string,
  cycles: number,
];

const rows: Row[] = gunzipSync(
  readFileSync(new URL('../../fixtures/oracle/cycles-x86-forms.jsonl.gz', import.meta.url)),
)
  .toString('utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line));

/** Percent. What is left is rounding: 2.25 cycles of a lone string step are 2, ports take a ninth less of an exchange. */
const TOLERANCE = 12;

interface Compared {
  readonly form: string;
  readonly asm: string;
  readonly measured: number;
  readonly predicted: number;
  readonly error: number;
}

let compared: Compared[];

beforeAll(async () => {
  const lines = rows.map(([, , , bytes], n) => ({
    id: `${n}`,
    arch: 'x86_64',
    mode: 'unroll',
    bytes,
  }));
  const deps = { disassembler: await loadDisassembler(), engine: unicornEngine() };
  compared = cycleOracle(lines, deps).answers.map(({ id, cycles: predicted }) => {
    const [form, , asm, , measured] = rows[Number(id)];
    return { form, asm, measured, predicted, error: (100 * (predicted - measured)) / measured };
  });
}, 60_000);

describe('x86-64 forms against their own row', () => {
  it('are all there', () => {
    const forms = new Set(X86_MEASURED.map(([form]) => form));
    expect(new Set(compared.map(({ form }) => form))).toEqual(forms);
  });

  it('cost what was measured', () => {
    expect(compared.filter(({ error }) => Math.abs(error) > TOLERANCE)).toEqual([]);
  });

  it('are exact in the middle', () => {
    const errors = compared.map(({ error }) => Math.abs(error)).sort((a, b) => a - b);
    expect(errors[errors.length >> 1]).toBeLessThan(0.5);
    expect(errors.reduce((sum, error) => sum + error, 0) / errors.length).toBeLessThan(1);
  });
});
