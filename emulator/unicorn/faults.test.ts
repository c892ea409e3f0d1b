// Faults of many instruction forms: where, of which kind, with nothing done yet, and a restart that ends as if there had
// been no fault. What the hardware does is from the manuals and, for kinds on x86, from measurements.
import { describe, expect, it } from 'vitest';
import { arm64Description } from '../../arch/arm64/registers.ts';
import { x86Description } from '../../arch/x86/registers.ts';
import type { VirtAddr } from '../address.ts';
import { type CpuDescription, PERM_R, READ, type Stop, WRITE } from '../engine.ts';
import { ARM64_FORMS, type Form, X86_FORMS } from './test-forms.ts';
import { DATA, DATA_PA, TestMachine } from './test-machine.ts';

const PAGE = 4096n;
/** Pages 1 and 2 of the data are under test, 8 is the stack. */
const FIRST = DATA + PAGE;
const SECOND = DATA + 2n * PAGE;
const STACK = DATA + 8n * PAGE + 0x800n;

/** These must be aligned: across a page they raise another exception, or none on this core. */
const ALIGNED = /cmpxchg16b|ldxr|ldaxr|ldar|stlr|ldxp|ldadd|swp|cas|ldset|stadd|ldapr/;
/** Forms whose memory must hold something valid. */
const NEEDS_ZEROES = /fxrstor|ldmxcsr|fld|fild/;

interface Setting {
  readonly description: CpuDescription;
  readonly base: string;
  readonly code: string | readonly number[];
  readonly registers: Readonly<Record<string, bigint>>;
}

const x86Setting = ([text, code]: Form<string>, base: bigint): Setting => ({
  description: x86Description,
  base: 'rdi',
  // nop; the form; nop; hlt
  code: `90 ${code} 90 f4`,
  registers: {
    ...{ rax: 0x0102_0304_0506_0708n, rbx: -3n, rcx: 5n, rdx: 7n, r9: 1n, r14: 0x40n },
    ...{ rdi: base, r15: base, rsi: base, rsp: text.includes('rsp') ? base : STACK },
    ...{ 'xmm0:lo': 0x1111_2222_3333_4444n, 'xmm0:hi': 0x5555_6666_7777_8888n },
  },
});

const arm64Setting = ([, code]: Form<number>, base: bigint): Setting => ({
  description: arm64Description,
  base: 'x1',
  // nop; the form; nop; wfi
  code: [0xd503201f, code, 0xd503201f, 0xd503207f],
  registers: {
    ...{ x0: 0x0102_0304_0506_0708n, x1: base, x2: 7n, x3: 8n, x4: -8n, x5: 5n, x6: 6n, x7: 7n },
    ...{ sp: STACK, 'v0:lo': 0x1111_2222_3333_4444n, 'v0:hi': 0x5555_6666_7777_8888n },
    ...{ 'v1:lo': 11n, 'v1:hi': 12n, 'v2:lo': 13n, 'v3:hi': 14n },
  },
});

function machine(setting: Setting, text: string): TestMachine {
  const m = new TestMachine(setting.description, setting.code);
  const zeroes = NEEDS_ZEROES.test(text);
  for (let i = 0; i < 4 * 4096; i++) {
    m.ram.bytes[DATA_PA + i] = zeroes ? 0 : (i * 7 + (i >> 8)) & 0xff;
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
function expectedFaults([text, , kind, size, offset]: Form<unknown>, base: bigint): string[] {
  const from = base + BigInt(offset);
  const last = from + BigInt(size) - 1n;
  const letter = kind === 'W' ? 'W' : 'R';
  const crosses = from / PAGE !== last / PAGE;
  const fromEnd = /fxsave|fxrstor/.test(text);
  if (!crosses) return [`${letter} ${hex(fromEnd ? last : from)}`];
  const second = (last / PAGE) * PAGE;
  return fromEnd
    ? [`${letter} ${hex(last)}`, `${letter} ${hex(from)}`]
    : [`${letter} ${hex(from)}`, `${letter} ${hex(second)}`];
}

function cases<Code>(form: Form<Code>): bigint[] {
  const [text, , , size, offset] = form;
  const shift = BigInt(offset);
  const inside = [FIRST + 0x100n - shift];
  if (size === 1 || ALIGNED.test(text)) return inside;
  // FXSAVE areas are aligned to 16 bytes.
  if (size === 512) return [...inside, SECOND - 256n, SECOND - 16n];
  const distances = [...new Set([1, size >> 1, size > 8 ? size - 8 : 1])];
  return [...inside, ...distances.map((distance) => SECOND - BigInt(distance) - shift)];
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
    m.cpu.close();
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
    m.cpu.close();
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
    m.cpu.close();
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
      m.cpu.close();
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
    m.cpu.close();
  });

  it('calls an arm64 atomic on a missing page a read', () => {
    const ldadd = ARM64_FORMS.find(([text]) => text.startsWith('ldadd'))!;
    const m = machine(arm64Setting(ldadd, FIRST), '');
    expect(m.cpu.run(10)).toMatchObject({ reason: 'fault', kind: READ });
    m.cpu.close();
  });
});
