// Faults of many instruction forms: where, of which kind, with nothing done yet, and a restart that ends as if there had
// been no fault. What the hardware does is from the manuals and, for kinds on x86, from measurements.
import { afterAll, describe, expect, it } from 'vitest';
import { arm64Description } from '../../arch/arm64/registers.ts';
import { x86Description } from '../../arch/x86/registers.ts';
import type { VirtAddr } from '../address.ts';
import { type CpuDescription, PERM_R, READ, type Stop, WRITE } from '../engine.ts';
import {
  arm64Registers,
  basesOf,
  type Form,
  faultAddresses,
  needsTarget,
  needsZeroes,
  x86Registers,
} from './test-forms.ts';
import { ARM64_FORMS } from './test-forms-arm64.ts';
import { X86_FORMS } from './test-forms-x86.ts';
import { CODE, CODE_PA, DATA, DATA_PA, TestMachine } from './test-machine.ts';

const PAGE = 4096n;
/** Pages 1 and 2 of the data are under test, 8 is the stack. */
const FIRST = DATA + PAGE;
const STACK = DATA + 8n * PAGE + 0x800n;

interface Setting {
  readonly description: CpuDescription;
  readonly base: string;
  readonly code: string | readonly number[];
  /** Bytes. */
  readonly formLength: number;
  readonly registers: Readonly<Record<string, bigint>>;
}

const x86Setting = ([text, code]: Form<string>, base: bigint): Setting => ({
  description: x86Description,
  base: 'rdi',
  // nop; the form; nop; hlt
  code: `90 ${code} 90 f4`,
  formLength: code.length / 2,
  registers: { rsp: STACK, rbp: STACK, ...x86Registers(text, base) },
});

const arm64Setting = ([, code]: Form<number>, base: bigint): Setting => ({
  description: arm64Description,
  base: 'x1',
  // nop; the form; nop; wfi
  code: [0xd503201f, code, 0xd503201f, 0xd503207f],
  formLength: 4,
  registers: { sp: STACK, ...arm64Registers(base) },
});

/** Machines used again, with a vCPU's first state. */
const idle: { readonly m: TestMachine; readonly first: unknown }[] = [];
const firstOf = new Map<TestMachine, unknown>();
afterAll(() => {
  for (const m of firstOf.keys()) m.cpu.close();
});

function take({ description, code }: Setting): TestMachine {
  const at = idle.findIndex(({ m }) => m.cpu.description === description);
  if (at < 0) {
    const m = new TestMachine(description, code);
    firstOf.set(m, m.cpu.save());
    return m;
  }
  const [{ m, first }] = idle.splice(at, 1);
  m.cpu.restore(first);
  m.load(CODE_PA, code);
  m.cpu.flushCode();
  m.cpu.flushTlb();
  m.ram.bytes.fill(0, DATA_PA, DATA_PA + 9 * 4096);
  for (let i = 0; i <= 8; i++) m.pages.unmap(DATA + BigInt(i) * PAGE);
  return m;
}

const give = (m: TestMachine) => void idle.push({ m, first: firstOf.get(m) });

function machine(setting: Setting, text: string): TestMachine {
  const m = take(setting);
  const zeroes = needsZeroes(text);
  for (let i = 0; i < 4 * 4096; i++) {
    m.ram.bytes[DATA_PA + i] = zeroes ? 0 : (i * 7 + (i >> 8)) & 0xff;
  }
  if (needsTarget(text)) {
    const at = setting.registers[text.startsWith('ret') ? 'rsp' : 'rdi'];
    const target = new BigUint64Array([CODE + 1n + BigInt(setting.formLength)]);
    m.ram.write(DATA_PA + Number(at - DATA), new Uint8Array(target.buffer));
  }
  m.mapData(0);
  m.mapData(3);
  m.mapData(8);
  m.set(setting.registers);
  return m;
}

interface State {
  readonly general: readonly bigint[];
  readonly vectors: readonly bigint[];
  readonly memory: Uint8Array;
}

function stateOf(m: TestMachine): State {
  const general = new BigUint64Array(m.cpu.description.general.length);
  m.cpu.readGeneral(general);
  const prefix = m.cpu.description.name === 'x86_64' ? 'xmm' : 'v';
  const vectors = [0, 1, 2, 3].flatMap((n) => [
    m.get(`${prefix}${n}:lo`),
    m.get(`${prefix}${n}:hi`),
  ]);
  const memory = m.ram.read(DATA_PA, 9 * 4096);
  return { general: [...general], vectors, memory };
}

function expectSame(state: State, wanted: State): void {
  expect(state.general).toEqual(wanted.general);
  expect(state.vectors).toEqual(wanted.vectors);
  expect(Buffer.compare(state.memory, wanted.memory)).toBe(0);
}

const hex = (value: bigint) => `0x${value.toString(16)}`;
const shown = (stop: Stop) =>
  stop.reason === 'fault' ? `${'RWX'[stop.kind]} ${hex(stop.va)}` : stop.reason;

/** What the hardware reports, in order, if each fault is repaired by mapping the page of its address. */
const expectedFaults = (form: Form<unknown>, base: bigint): string[] =>
  faultAddresses(form, base).map((va) => `${form[2] === 'W' ? 'W' : 'R'} ${hex(va)}`);

function cases(form: Form<unknown>): bigint[] {
  const { inside, across } = basesOf(form, FIRST);
  return [inside, ...across];
}

function suite<Code>(
  forms: readonly Form<Code>[],
  settingOf: (form: Form<Code>, base: bigint) => Setting,
): void {
  const table = forms.flatMap((form) =>
    cases(form).map((base) => ({ form, base, name: `${form[0]} at ${hex(base & 0xffffn)}` })),
  );

  /** The run that never faults. */
  const reference = (form: Form<Code>, base: bigint): State => {
    const m = machine(settingOf(form, base), form[0]);
    m.mapData(1);
    m.mapData(2);
    expect(shown(m.cpu.run(10))).toBe('halt');
    expect(m.cpu.retired).toBe(3);
    const state = stateOf(m);
    give(m);
    return state;
  };

  const mapPageOf = (m: TestMachine, va: VirtAddr, perms?: number) =>
    m.mapData(Number((va - DATA) / PAGE), perms);

  it.each(table)('stops and restarts: $name', ({ form, base }) => {
    const m = machine(settingOf(form, base), form[0]);
    const faults: string[] = [];
    m.cpu.step();
    const before = stateOf(m);
    for (let stop = m.cpu.run(10); stop.reason === 'fault'; stop = m.cpu.run(10)) {
      faults.push(shown(stop));
      expect(m.cpu.retired).toBe(1);
      // A load of several registers may have filled some: nobody looks at them before the restart.
      const now = stateOf(m);
      expect(now.general).toEqual(before.general);
      expect(Buffer.compare(now.memory, before.memory)).toBe(0);
      mapPageOf(m, stop.va);
      if (faults.length > 4) break;
    }
    expect(faults).toEqual(expectedFaults(form, base));
    expect(m.cpu.retired).toBe(3);
    expectSame(stateOf(m), reference(form, base));
    give(m);
  });

  it.each(table)('is repaired in place: $name', ({ form, base }) => {
    const m = machine(settingOf(form, base), form[0]);
    const faults: string[] = [];
    const stop = m.cpu.run(10, (va, kind) => {
      faults.push(`${'RWX'[kind]} ${hex(va)}`);
      mapPageOf(m, va);
      return faults.length < 5;
    });
    expect(shown(stop)).toBe('halt');
    expect(faults).toEqual(expectedFaults(form, base));
    expect(m.cpu.retired).toBe(3);
    expectSame(stateOf(m), reference(form, base));
    give(m);
  });

  it.each(forms.map((form) => ({ form, name: form[0] })))(
    'faults on a read-only page by what it does: $name',
    ({ form }) => {
      const base = FIRST + 0x100n - BigInt(form[4]);
      const m = machine(settingOf(form, base), form[0]);
      m.mapData(1, PERM_R);
      const stop = m.cpu.run(10);
      if (form[2] === 'R') expect(shown(stop)).toBe('halt');
      else expect(stop).toMatchObject({ reason: 'fault', kind: WRITE });
      give(m);
    },
  );
}

describe('x86-64', () => suite(X86_FORMS, x86Setting));
describe('arm64', () => suite(ARM64_FORMS, arm64Setting));

describe('kinds', () => {
  it('asks the translator for the kind that is reported', () => {
    const m = machine(x86Setting(['', '48ff07', 'W', 8, 0], FIRST), '');
    m.pages.asked.length = 0;
    expect(m.cpu.run(10)).toMatchObject({ kind: WRITE });
    expect(m.pages.asked.at(-1)).toBe(`W ${hex(FIRST)}`);
    give(m);
  });

  it('asks a read-modify-write for its write before it goes where RAM ends', () => {
    const m = machine(x86Setting(['', '48ff07', 'W', 8, 0], FIRST), '');
    m.pages.map(FIRST, 2 ** 30, PERM_R);
    expect(m.cpu.run(10)).toMatchObject({ reason: 'fault', va: FIRST, kind: WRITE });
    m.pages.map(FIRST, 2 ** 30);
    m.cpu.flushTlb();
    expect(m.cpu.run(10)).toMatchObject({ reason: 'engine' });
    give(m);
  });

  it('calls an arm64 atomic on a missing page a read', () => {
    const ldadd = ARM64_FORMS.find(([text]) => text.startsWith('ldadd'))!;
    const m = machine(arm64Setting(ldadd, FIRST), '');
    expect(m.cpu.run(10)).toMatchObject({ reason: 'fault', kind: READ });
    give(m);
  });

  it.each([
    ['stxr w3, x2, [x1]', 0xc85f7c20, 0xc8037c22],
    ['stlxp w3, x0, x2, [x1]', 0xc87f0820, 0xc8238820],
  ])('keeps the monitor when %s faults between load and store', (_name, load, store) => {
    const m = machine(arm64Setting(['', load, 'R', 8, 0], FIRST), '');
    // ldxr; stxr; wfi
    m.load(CODE_PA, [load, store, 0xd503207f]);
    m.cpu.flushCode();
    m.mapData(1, PERM_R);
    expect(m.cpu.run(10)).toMatchObject({ reason: 'fault', ip: CODE + 4n, va: FIRST, kind: WRITE });
    m.mapData(1);
    expect(m.cpu.run(10).reason).toBe('halt');
    expect(m.get('x3')).toBe(0n);
    give(m);
  });
});
