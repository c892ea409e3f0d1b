import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Score } from '../emulator/cost/score.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import {
  type CycleCase,
  type CycleDependencies,
  type CycleReport,
  cycleOracle,
} from './cycles-oracle.ts';

// Blocks and functions timed on a server core, and blocks as llvm-mca sees a Neoverse N1.
const read = (name: string): CycleCase[] =>
  gunzipSync(readFileSync(new URL(`../fixtures/oracle/${name}.jsonl.gz`, import.meta.url)))
    .toString('utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

let deps: CycleDependencies;
let report: CycleReport;

beforeAll(async () => {
  deps = { disassembler: await loadDisassembler(), engine: unicornEngine() };
  report = cycleOracle([...read('cycles'), ...read('cycles-programs')], deps);
}, 120_000);

const scoreOf = (group: string): Score => {
  const found = report.summary.find((entry) => entry.group === group);
  if (found === undefined) throw new Error(`no group ${group}`);
  return found.model;
};

const block = (bytes: string, mode = 'unroll'): CycleCase => ({
  id: bytes,
  arch: 'x86_64',
  bytes,
  mode,
  cycles_per_iter: 1,
});
const cyclesOf = (bytes: string, mode?: string) =>
  cycleOracle([block(bytes, mode)], deps).answers[0].cycles;

describe('cycles against the measured core', () => {
  it('answers every case', () => {
    expect(report.unanswered).toEqual([]);
    expect(report.answers).toHaveLength(887);
  });

  it.each([
    ['core', { mape: 5, tau: 0.93, within25: 95 }],
    ['system', { mape: 10, tau: 0.93, within25: 90 }],
    ['functions', { mape: 15, tau: 0.9, within25: 80 }],
    ['arm64', { mape: 2, tau: 0.98, within25: 97 }],
  ])('keeps %s within its error', (group, bound) => {
    const { mape, tau, within25 } = scoreOf(group);
    expect(mape).toBeLessThan(bound.mape);
    expect(tau).toBeGreaterThan(bound.tau);
    expect(within25).toBeGreaterThan(bound.within25);
  });

  it('is better than counting instructions', () => {
    for (const { model, oneACycle, fullWidth } of report.summary.filter(
      ({ model }) => model.n > 30,
    )) {
      expect(model.mape).toBeLessThan(oneACycle.mape);
      expect(model.mape).toBeLessThan(fullWidth.mape);
    }
  });

  it('gives the same cycles again', () => {
    const lines = read('cycles').slice(0, 60);
    expect(cycleOracle(lines, deps).answers).toEqual(cycleOracle(lines, deps).answers);
  });

  it('says why a case has no answer', () => {
    const { unanswered } = cycleOracle([{ id: 'x' }, { id: 'y', bytes: '' }], deps);
    expect(unanswered).toEqual([
      { id: 'x', why: 'neither bytes nor code' },
      { id: 'y', why: 'neither bytes nor code' },
    ]);
  });

  it('answers a case that nobody measured, and does not score it', () => {
    const { answers, summary } = cycleOracle([{ id: 'nop', bytes: '90', mode: 'unroll' }], deps);
    expect(answers).toHaveLength(1);
    expect(summary).toEqual([]);
  });
});

describe('a block', () => {
  it('is run, not only read: an inner loop counts its trips', () => {
    // mov ecx, 20; 1: mov rax, [rax]; dec ecx; jnz 1b
    const chase = cyclesOf('b914000000488b00ffc975f9');
    expect(chase).toBeGreaterThan(95);
    expect(chase).toBeLessThan(110);
    // mov ecx, 40
    expect(cyclesOf('b928000000488b00ffc975f9')).toBeGreaterThan(1.9 * chase);
  });

  it('takes the count of a repetition from the register', () => {
    // mov ecx, N; mov rdi, r8; mov rsi, r9; rep movsb
    const copy = (count: string) => cyclesOf(`b9${count}00004c89c74c89cef3a4`);
    expect(copy('4000')).toBeLessThan(12);
    expect(copy('0010')).toBeGreaterThan(60);
  });

  it('sees that two registers point to the same place', () => {
    // mov [rdi], rax; mov rsi, rdi; mov rax, [rsi]; imul rax, rax, 3, against a load beside it
    const through = cyclesOf('4889074889fe488b06486bc003', 'loop');
    const beside = cyclesOf('4889074889fe488b4608486bc003', 'loop');
    expect(through).toBeGreaterThan(beside + 1);
  });

  it('costs the same with other registers of the same kind', () => {
    // add r8, r9; imul r10, r8; mov [r11], r10 and with r12, r13, r14, r9
    expect(cyclesOf('4d01c84d0fafd04d8913')).toBe(cyclesOf('4d01ec4d0faff44d8931'));
  });

  it('costs the same with displacements moved by a line', () => {
    // add rax, [rdi+8]; mov [rsi+16], rax
    expect(cyclesOf('4803470848894610')).toBe(cyclesOf('4803474848894650'));
  });

  it.each([
    ['jmp $', 'ebfe'],
    ['ud2', '0f0b'],
    ['hlt', 'f4'],
    ['rep movsb with a count of half a thousand million', 'f3a4'],
    ['a load at the top of the address space', '488b0425f8ffffff'],
    ['bytes that are no instruction', '06'],
    ['a call out of the block', 'e8fb0f0000'],
  ])('may be %s', (_, bytes) => {
    for (const mode of ['unroll', 'loop']) {
      expect(cyclesOf(bytes, mode)).toBeGreaterThanOrEqual(0);
    }
  });

  it('is costed as it stands where the engine cannot run it', () => {
    // vaddps ymm0, ymm0, ymm1: a chain of two cycles
    expect(cyclesOf('c5fc58c1')).toBeCloseTo(2, 1);
  });
});
