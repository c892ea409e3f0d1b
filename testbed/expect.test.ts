import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { checkStep } from './expect.ts';
import type { FaultRecord } from './fault-log.ts';
import type { CallObserved, StepObserved } from './observed.ts';
import type { ArenaPlace } from './places.ts';
import { parseScenario, type Step } from './scenario.ts';

const KBASE = 0xffffc90001e69000n;
const ARENA: ArenaPlace = {
  name: 'arena',
  kbase: KBASE,
  userVmStart: 0x7f00_0000_0000n,
  pageSize: 4096,
};

/** The first step of a scenario, as the loader makes it. */
function stepOf(text: string): Step {
  const { worlds } = parseScenario(text, 'f.yaml', () => new Uint8Array());
  return worlds.x86_64!.cpus[0][0];
}

const memory = Uint8Array.from({ length: 256 }, (_, i) => i);

const fault = (page: number, changes: Partial<FaultRecord> = {}): FaultRecord => ({
  cpu: 0,
  ip: virtAddr(0xffffffff81100000n),
  addr: virtAddr(KBASE + BigInt(page) * 4096n + 8n),
  access: 'write',
  code: 2n,
  resolution: 'scratch',
  ...changes,
});

const seen = (list: readonly FaultRecord[]) => ({
  length: list.length,
  at: (index: number) => list[index],
});

const returned: CallObserved = {
  kind: 'call',
  outcome: 'returned',
  ret: 0n,
  faults: seen([]),
  oops: null,
  stderr: '',
  stderrBytes: 0,
  instructions: 3,
  cycles: 2140,
  readRegister: (name) => (name === 'rcx' ? 0xffff_ffff_ffff_ffffn : 0n),
  readArena: (_, offset, length) =>
    offset >= 256n ? null : memory.slice(Number(offset), Number(offset) + length),
  readBuffer: (_, length) => memory.slice(0, length),
};

/** Failures of a call that should come to `expect:` (in YAML) and came to `returned` with `changes`. */
function failures(expected: string, changes: Partial<CallObserved> = {}) {
  const text = `arch: x86_64\ncode: {x86_64: ret}\nargs: [{buffer_size: 64}]\nexpect: ${expected}`;
  return checkStep(stepOf(text), { ...returned, ...changes }, [ARENA]);
}

/** Failures of a step other than a call. */
const stepFailures = (step: string, expected: string, observed: Record<string, unknown>) =>
  checkStep(
    stepOf(`steps: [{${step}, expect: ${expected}}]`),
    { stderr: '', stderrBytes: 0, ...observed } as StepObserved,
    [ARENA],
  );

describe('a call', () => {
  it('fails nothing where all is as expected', () => {
    const all = `{ret: 0, outcome: returned, oops: null, faults: [], stderr: "",
      registers: {x86_64: {rcx: -1}}, instructions: 3, cycles: {max: 3000},
      memory: [{offset: 2, hex: "020304"}], buffers: [{arg: 0, hex: "0001"}]}`;
    expect(failures(all)).toEqual([]);
  });

  it.each([
    ['{ret: 1}', { expect: 'ret', wanted: '0x1', got: '0x0' }],
    ['{ret: -1}', { expect: 'ret', wanted: '0xffffffffffffffff', got: '0x0' }],
    ['{ret: {arena: 0x10}}', { expect: 'ret', wanted: '0xffffc90001e69010', got: '0x0' }],
    ['{ret: {user: 0x10}}', { expect: 'ret', wanted: '0x7f0000000010', got: '0x0' }],
    ['{outcome: oops}', { expect: 'outcome', wanted: 'oops', got: 'returned' }],
    [
      '{registers: {x86_64: {rcx: 1}}}',
      { expect: 'registers.rcx', wanted: '0x1', got: '0xffffffffffffffff' },
    ],
    ['{instructions: {min: 4}}', { expect: 'instructions', wanted: 'at least 4', got: '3' }],
    ['{cycles: {max: 2139}}', { expect: 'cycles', wanted: 'at most 2139', got: '2140' }],
    ['{cycles: 1}', { expect: 'cycles', wanted: '1', got: '2140' }],
    [
      '{memory: [{offset: 0, hex: "00"}, {offset: 4, hex: "0406"}]}',
      { expect: 'memory[1]', wanted: '0406', got: '0405' },
    ],
    [
      '{memory: [{offset: 256, hex: "00"}]}',
      { expect: 'memory[0]', wanted: '00', got: 'not mapped' },
    ],
    [
      '{memory: [{offset: 0, pointer: {arena: 0x1000}}]}',
      { expect: 'memory[0]', wanted: '00a0e60100c9ffff', got: '0001020304050607' },
    ],
    ['{buffers: [{arg: 0, hex: "ff"}]}', { expect: 'buffers[0]', wanted: 'ff', got: '00' }],
    ['{stderr: one}', { expect: 'stderr', wanted: 'one', got: 'line 1: no further line' }],
    ['{stderr_bytes: {min: 1}}', { expect: 'stderr_bytes', wanted: 'at least 1', got: '0' }],
    ['{oops: [BUG], outcome: oops}', { expect: 'oops', wanted: 'BUG', got: 'no report' }],
  ])('%s', (expected, failure) => {
    expect(failures(expected)).toContainEqual(failure);
  });

  it('compares sums of long memory', () => {
    const sum = createHash('sha256').update(memory.subarray(0, 200)).digest('hex');
    const wanted = (length: number) =>
      `{memory: [{offset: 0, length: ${length}, sha256: "${sum}"}]}`;
    expect(failures(wanted(200))).toEqual([]);
    expect(failures(wanted(199))).toHaveLength(1);
  });

  it('shows long memory from where it differs', () => {
    const bytes = [...memory.subarray(0, 200)];
    bytes[150] = 0;
    const hex = bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');
    const [failure] = failures(`{memory: [{offset: 0, hex: "${hex}"}]}`);
    expect(failure.wanted).toMatch(/^at \+0x90: 909192939495009798/);
    expect(failure.got).toMatch(/^at \+0x90: 909192939495969798/);
  });

  it('must return unless something else is expected', () => {
    const oops = { outcome: 'oops', ret: null, oops: ['BUG: x', 'Oops: y'] } as const;
    expect(failures('{ret: 0}', oops)).toEqual([
      { expect: 'outcome', wanted: 'returned', got: 'oops' },
    ]);
    expect(failures('{outcome: oops}', oops)).toEqual([]);
    expect(failures('{oops: ["BUG: {re:.}", "Oops: y"]}', oops)).toEqual([]);
    expect(failures('{oops: ["Oops: y", "BUG: x"]}', oops)).toEqual([
      {
        expect: 'oops',
        wanted: 'BUG: x',
        got: 'no such line after those before it; the report begins: BUG: x',
      },
    ]);
    expect(failures('{oops: null}', oops).map((f) => f.expect)).toEqual(['outcome', 'oops']);
    expect(failures('{outcome: oops, ret: 0}', oops)).toEqual([
      { expect: 'ret', wanted: '0x0', got: 'nothing' },
    ]);
  });
});

describe('faults', () => {
  const faults = (expected: string, ...list: FaultRecord[]) =>
    failures(`{faults: ${expected}}`, { faults: seen(list) });

  it('must be these and no others', () => {
    expect(faults('[{page: 1}, {}]', fault(1), fault(9))).toEqual([]);
    expect(faults('[{page: 1}]', fault(1), fault(2), fault(3))).toEqual([
      {
        expect: 'faults[1]',
        wanted: 'no further fault',
        got: 'write, page 2, at 0xffffc90001e6b008, scratch, and 1 more',
      },
    ]);
    expect(faults('[{page: 1}, {page: 2, access: read, count: 3}]', fault(1))).toEqual([
      { expect: 'faults[1]', wanted: 'read, page 2, and 2 more', got: 'no further fault' },
    ]);
  });

  it('fail by key', () => {
    const expected =
      '[{page: 2, access: read, resolution: oops, code: 3, addr: {arena: 0}, ip: 0}]';
    expect(faults(expected, fault(1)).map((f) => `${f.expect}: ${f.wanted}, ${f.got}`)).toEqual([
      'faults[0].page: 2, 1',
      'faults[0].access: read, write',
      'faults[0].resolution: oops, scratch',
      'faults[0].addr: 0xffffc90001e69000, 0xffffc90001e6a008',
      'faults[0].ip: 0x0, 0xffffffff81100000',
      'faults[0].code: 0x3, 0x2',
    ]);
  });

  it('may come in rows, each some pages further', () => {
    const row = '[{page: 16, count: 3, step: 2}, {page: 1}]';
    expect(faults(row, fault(16), fault(18), fault(20), fault(1))).toEqual([]);
    expect(faults(row, fault(16), fault(18), fault(19), fault(1))).toEqual([
      { expect: 'faults[2].page', wanted: '20', got: '19' },
    ]);
    expect(faults('[{page: 4, count: 2}]', fault(4), fault(4))).toEqual([]);
    const byAddress = '[{addr: {arena: 0x10008}, count: 2, step: -1}]';
    expect(faults(byAddress, fault(16), fault(15))).toEqual([]);
  });

  it('outside every arena have no page', () => {
    const below = fault(0, { addr: virtAddr(KBASE - 1n) });
    expect(faults('[{page: null}]', below)).toEqual([]);
    expect(faults('[{page: -1}]', below)).toEqual([
      { expect: 'faults[0].page', wanted: '-1', got: 'null' },
    ]);
    expect(faults('[{page: 1048583}, {page: null}]', fault(1048583), fault(1048584))).toEqual([]);
    expect(faults('[{page: null}]', fault(1))).toHaveLength(1);
  });

  it('that differ throughout are not all listed', () => {
    const list = Array.from({ length: 100 }, (_, i) => fault(i + 1));
    expect(faults('[{page: 0, step: 1, count: 100}]', ...list)).toHaveLength(5);
  });
});

describe('steps', () => {
  it.each([
    [
      'alloc: {count: 1}',
      '{result: {page: 0}}',
      { kind: 'alloc', page: null },
      ['result', '{page: 0}', 'null'],
    ],
    [
      'alloc: {count: 1}',
      '{result: null}',
      { kind: 'alloc', page: 3 },
      ['result', 'null', '{page: 3}'],
    ],
    ['free: {page: 0, count: 1}', '{freed: 1}', { kind: 'free', freed: 0 }, ['freed', '1', '0']],
    ['worker: {}', '{freed: 1}', { kind: 'worker', freed: 2 }, ['freed', '1', '2']],
    ['destroy: {}', '{leaked: 0}', { kind: 'destroy', freed: 1, leaked: 2 }, ['leaked', '0', '2']],
    [
      'reserve: {page: 0, count: 1}',
      '{result: -EBUSY}',
      { kind: 'reserve', result: 0 },
      ['result', '-EBUSY', '0'],
    ],
    ['create: {}', '{result: 0}', { kind: 'create', result: -7 }, ['result', '0', '-E2BIG']],
    [
      'user: {page: 0, access: read}',
      '{result: ok}',
      { kind: 'user', result: 'SIGSEGV', value: null },
      ['result', 'ok', 'SIGSEGV'],
    ],
    [
      'user: {page: 0, access: read}',
      '{value: 1}',
      { kind: 'user', result: 'SIGSEGV', value: null },
      ['value', '0x1', 'nothing'],
    ],
    [
      'pte: {page: 0}',
      '{value: 0, kind: none}',
      { kind: 'pte', value: 1n, pteKind: 'none' },
      ['value', '0x0', '0x1'],
    ],
    [
      'pte: {page: 0}',
      '{kind: scratch}',
      { kind: 'pte', value: 1n, pteKind: 'page' },
      ['kind', 'scratch', 'page'],
    ],
    [
      'stream: {read: 10}',
      '{bytes: 10}',
      { kind: 'streamRead', result: 0, bytes: 9 },
      ['bytes', '10', '9'],
    ],
    [
      'stream: {print: a}',
      '{result: -ENOSPC}',
      { kind: 'streamPrint', result: 0, bytes: 1 },
      ['result', '-ENOSPC', '0'],
    ],
    [
      'worker: {}',
      '{stderr: x}',
      { kind: 'worker', freed: 0, stderr: 'y' },
      ['stderr', 'x', 'line 1: y'],
    ],
  ])('%s that should come to %s', (step, expected, observed, [key, wanted, got]) => {
    expect(stepFailures(step, expected, observed)).toEqual([{ expect: key, wanted, got }]);
    expect(stepFailures(step, '{}', observed)).toEqual([]);
  });

  it('and what was observed must be of one kind', () => {
    expect(() => stepFailures('worker: {}', '{}', { kind: 'alloc', page: 0 })).toThrow(TypeError);
  });
});
