// Every instruction form through the whole way: the MMU, the kernel's fault path, the scratch page, the report and the
// retry. Each run must end as one in which the scratch page lay at the address from the start. The stack's own forms
// (with rsp in the arena) end the call instead, as on hardware: no exception frame can be pushed there.
import { afterAll, describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import {
  arm64Registers,
  basesOf,
  type Form,
  faultAddresses,
  needsTarget,
  needsZeroes,
  x86Registers,
} from '../emulator/unicorn/test-forms.ts';
import { ARM64_FORMS } from '../emulator/unicorn/test-forms-arm64.ts';
import { X86_FORMS } from '../emulator/unicorn/test-forms-x86.ts';
import type { CallSeen } from './call.ts';
import { WorldRun } from './run.ts';
import { type ArchName, type CallStep, parseScenario, type Step } from './scenario.ts';
import type { WorldState } from './snapshot.ts';
import { loadTestHost } from './test-run.ts';

const PAGE = 4096;
const hex = (value: bigint) => `0x${value.toString(16)}`;

/** A form between two no-ops: the call ends behind the second. */
interface Setting {
  readonly code: Uint8Array;
  readonly registers: Readonly<Record<string, bigint>>;
  readonly needsTarget: boolean;
  readonly needsZeroes: boolean;
}

const NO_EXPECTATIONS = {
  outcome: 'returned',
  memory: [],
  buffers: [],
  registers: new Map(),
};

const host = await loadTestHost();

/** A world with page 0 of its arena allocated, which every run begins with. */
class Bench {
  readonly run: WorldRun;
  readonly base: bigint;
  private readonly first: WorldState;

  constructor(arch: ArchName) {
    const text = `arch: ${arch}\narena: {alloc: [[0, 1]]}\nsteps: [{worker: {}}]`;
    const { worlds } = parseScenario(text, 'forms.yaml', () => new Uint8Array());
    this.run = new WorldRun(host, worlds[arch]!);
    this.base = this.run.places[0].kbase;
    this.first = this.run.save();
  }

  private get arena() {
    return this.run.kernel.arenas.get('arena')!;
  }

  /** Runs the form from the first state. @param present pages at which the scratch page lies already */
  call(setting: Setting, present: readonly number[]) {
    const { run } = this;
    const { kernel } = run;
    run.restore(this.first);
    for (const page of present) this.install(page);
    const call = run.startCall(this.stepOf(setting.code));
    const { cpu } = call.vcpu;
    if (kernel.arch.name === 'x86_64') {
      // fs: and gs: are operands like others here.
      cpu.writeRegister('gs_base', 0n);
      cpu.writeRegister('fs_base', 0n);
    }
    for (const [name, value] of Object.entries(setting.registers)) cpu.writeRegister(name, value);
    const end = virtAddr(call.code.start + BigInt(setting.code.length));
    const stack = cpu.readRegister(kernel.arch.description.stackPointer);
    this.fillMemory(setting, end - BigInt(kernel.arch.linkRegister === null ? 1 : 4), stack);
    cpu.setExits([end]);
    const before = this.bytes();
    const { seen } = run.endCall(call, call.vcpu.runCall(100));
    return { seen: seen as CallSeen, state: this.state(seen as CallSeen), before };
  }

  private install(page: number): void {
    const step = { kind: 'pte', arena: 'arena', page, set: this.arena.scratchPte, line: 1 };
    const { seen } = this.run.runStep({ ...step, expect: {} } as unknown as Step);
    expect(seen).toMatchObject({ pteKind: 'scratch' });
  }

  private stepOf(bytes: Uint8Array): CallStep {
    return {
      kind: 'call',
      line: 1,
      code: { kind: 'bytes', bytes },
      symbols: new Map(),
      extable: [],
      image: 'kernel',
      args: [],
      caller: {
        direct: false,
        frames: [{ prog: 'prog', arena: 'arena', subprogram: false, atEnd: false }],
      },
      expect: NO_EXPECTATIONS,
    } as unknown as CallStep;
  }

  /** The allocated page and the scratch page hold different things, so that no access can take one for the other. */
  private fillMemory(setting: Setting, target: bigint, stack: bigint): void {
    const frames = this.frames();
    const word = new Uint8Array(new BigUint64Array([target]).buffer);
    frames.forEach((pa, n) => {
      const bytes = new Uint8Array(PAGE);
      if (!setting.needsZeroes) {
        for (let i = 0; i < PAGE; i++) bytes[i] = (i * 7 + (i >> 8) + n * 0x55) & 0xff;
      }
      this.run.kernel.ram.write(pa, bytes);
    });
    if (!setting.needsTarget) return;
    // Where to go on, byte by byte as the access will find it: pages 1 and 2 are one frame.
    const { rdi, rsp } = setting.registers;
    const at = rsp ?? rdi ?? stack;
    word.forEach((byte, i) => {
      const offset = Number(at + BigInt(i) - this.base);
      const frame = frames[offset < PAGE ? 0 : 1];
      this.run.kernel.ram.write(frame + (offset % PAGE), Uint8Array.of(byte));
    });
  }

  /** Of page 0 and of the scratch page. */
  private frames(): readonly [number, number] {
    const { kernel } = this.run;
    return [kernel.memory.physOf(virtAddr(this.base))!, this.arena.scratchPage * PAGE];
  }

  private bytes(): string {
    const { ram, memory, task } = this.run.kernel;
    const pages = this.frames().map((pa) => ram.read(pa, PAGE));
    const stack = memory.read(task.stack, Number(task.stackEnd - task.stack))!;
    return [...pages, stack].map((bytes) => Buffer.from(bytes).toString('latin1')).join();
  }

  private state(seen: CallSeen) {
    const prefix = this.run.world.arch === 'x86_64' ? 'xmm' : 'v';
    const vectors = [0, 1, 2, 3].flatMap((n) =>
      ['lo', 'hi'].map((half) => seen.readRegister(`${prefix}${n}:${half}`)),
    );
    const { instructions, registers } = seen;
    return { registers: [...registers], vectors, instructions, memory: this.bytes() };
  }
}

const x86Setting = ([text, code]: Form<string>, base: bigint): Setting => ({
  code: Buffer.from(`90${code}90`, 'hex'),
  registers: x86Registers(text, base),
  needsTarget: needsTarget(text),
  needsZeroes: needsZeroes(text),
});

const NOP = 0xd503201f;
const arm64Setting = ([, code]: Form<number>, base: bigint): Setting => ({
  code: new Uint8Array(new Uint32Array([NOP, code, NOP]).buffer),
  registers: arm64Registers(base),
  needsTarget: false,
  needsZeroes: false,
});

/** What an error code or ESR says of a page that is not there: SDM 3A, 4.7; DDI 0487, D24.2.40. */
const CODES: Readonly<Record<ArchName, { read: bigint; write: bigint }>> = {
  x86_64: { read: 0n, write: 2n },
  // EC data abort from EL1, IL, WnR, DFSC translation fault of level 3.
  arm64: { read: 0x9600_0007n, write: 0x9600_0047n },
};

/** Page of the arena that an address lies in. */
const pageOf = (bench: Bench, va: bigint) => Number((va - bench.base) >> 12n);

function suite<Code>(
  arch: ArchName,
  forms: readonly Form<Code>[],
  settingOf: (form: Form<Code>, base: bigint) => Setting,
): void {
  const bench = new Bench(arch);
  afterAll(() => bench.run.close());
  const inPage = (page: number) => bench.base + BigInt(page * PAGE);
  const onStack = ([text]: Form<Code>) => /\[rsp\]|rsp = base/.test(text);
  const unprivileged = ([text]: Form<Code>) => /^(ldtr|sttr)/.test(text);
  const isLeave = ([text]: Form<Code>) => text.startsWith('leave');
  const ordinary = forms.filter((form) => !onStack(form) && !unprivileged(form) && !isLeave(form));

  it.each(ordinary.map((form) => ({ form, name: form[0] })))('$name', ({ form }) => {
    const { inside } = basesOf(form, inPage(1));
    // From the allocated page into page 1, and from page 1 into page 2: the same frame twice.
    const bases = [inside, ...basesOf(form, inPage(0)).across, ...basesOf(form, inPage(1)).across];
    for (const base of bases) {
      const setting = settingOf(form, base);
      const addresses = faultAddresses(form, base).filter((va) => pageOf(bench, va) > 0);
      const access = form[2] === 'W' ? 'write' : 'read';
      const { seen, state } = bench.call(setting, []);
      expect(seen.outcome).toBe('returned');
      const faults = Array.from({ length: seen.faults.length }, (_, i) => seen.faults.at(i));
      expect(faults.map(({ addr }) => hex(addr))).toEqual(addresses.map(hex));
      for (const fault of faults) {
        expect(fault).toMatchObject({ access, resolution: 'scratch', code: CODES[arch][access] });
      }
      const reports = seen.stderr.match(/^ERROR: Arena \w+/gm) ?? [];
      expect(reports).toEqual(addresses.map(() => `ERROR: Arena ${access.toUpperCase()}`));

      const always = bench.call(setting, [1, 2]);
      expect(always.seen).toMatchObject({ outcome: 'returned', faults: { length: 0 } });
      expect(state.registers).toEqual(always.state.registers);
      expect(state.vectors).toEqual(always.state.vectors);
      expect(state.instructions).toBe(always.state.instructions);
      expect(state.memory === always.state.memory).toBe(true);
      // What the form should write it did write, and a load wrote nothing.
      const writes = form[2] !== 'R' || /^(push|call)/.test(form[0]);
      if (!writes) expect(always.state.memory === always.before).toBe(true);
    }
  });

  const rest = forms.filter((form) => onStack(form));
  it.runIf(rest.length > 0).each(rest.map((form) => ({ form, name: form[0] })))(
    'is the end: $name',
    ({ form }) => {
      const { seen } = bench.call(settingOf(form, basesOf(form, inPage(1)).inside), []);
      expect(seen.outcome).toBe('halted');
      expect(seen.end).toMatchObject({ why: expect.stringContaining('double fault') });
    },
  );

  // ORC data say of a function with LEAVE that rbp is its frame: with that in the arena no program is found on the stack.
  for (const form of forms.filter(isLeave)) {
    it(`hides the program: ${form[0]}`, () => {
      const addr = inPage(1) + 0x100n;
      const { seen } = bench.call(settingOf(form, addr), []);
      expect(seen.outcome).toBe('oops');
      expect(seen.faults).toMatchObject({ length: 1 });
      expect(seen.faults.at(0)).toMatchObject({ addr, code: CODES[arch].read, access: 'read' });
    });
  }

  const asUser = forms.filter((form) => unprivileged(form));
  it.runIf(asUser.length > 0).each(asUser.map((form) => ({ form, name: form[0] })))(
    'meets a page that is not for EL0: $name',
    ({ form }) => {
      const { seen } = bench.call(settingOf(form, basesOf(form, inPage(1)).inside), []);
      const access = form[2] === 'W' ? 'write' : 'read';
      expect(seen.outcome).toBe('oops');
      expect([seen.faults.at(0), seen.faults.at(1)]).toMatchObject([
        { access, resolution: 'scratch', code: CODES.arm64[access] },
        // DFSC permission fault of level 3.
        { access, resolution: 'oops', code: CODES.arm64[access] + 8n },
      ]);
    },
  );
}

/** Operands that move no data: what they report, or null for those that never fault. */
type Touch = readonly [text: string, code: string | number, error: bigint | null];

const X86_TOUCHES: readonly Touch[] = [
  ['clflush [rdi]', '0fae3f', 0n],
  ['clflushopt [rdi]', '660fae3f', 0n],
  ['clwb [rdi]', '660fae37', 0n],
  ['prefetcht0 [rdi]', '0f180f', null],
  ['prefetchnta [rdi]', '0f1807', null],
  ['prefetchw [rdi]', '0f0d0f', null],
  ['nop dword ptr [rdi]', '0f1f07', null],
  ['lea rax, [rdi]', '488d07', null],
  ['maskmovdqu xmm0, xmm2', '660ff7c2', null], // xmm2 is clear
  ['maskmovq mm0, mm1', '0ff7c1', null],
];

// CM, and WnR whatever the operation does: DDI 0487, ESR_ELx.WnR.
const CACHE = 0x9600_0147n;
const ARM64_TOUCHES: readonly Touch[] = [
  ['dc ivac, x1', 0xd5087621, CACHE],
  ['dc cvac, x1', 0xd50b7a21, CACHE],
  ['dc cvau, x1', 0xd50b7b21, CACHE],
  ['dc civac, x1', 0xd50b7e21, CACHE],
  ['ic ivau, x1', 0xd50b7521, CACHE],
  ['prfm pldl1keep, [x1]', 0xf9800020, null],
  ['prfm pstl1keep, [x1]', 0xf9800030, null],
  ['prfum pldl2strm, [x1, #1]', 0xf8801023, null],
  ['at s1e1r, x1', 0xd5087801, null],
  ['at s1e1w, x1', 0xd5087821, null],
];

function touches(
  arch: ArchName,
  table: readonly Touch[],
  settingOf: (code: string | number, base: bigint) => Setting,
): void {
  const bench = new Bench(arch);
  afterAll(() => bench.run.close());

  it.each(table)('%s', (_text, code, error) => {
    const addr = bench.base + BigInt(PAGE) + 0x123n;
    const setting = settingOf(code, addr);
    const { seen, state, before } = bench.call(setting, []);
    expect(seen.outcome).toBe('returned');
    expect(seen.faults.length).toBe(error === null ? 0 : 1);
    const wanted = { addr, code: error, resolution: 'scratch' };
    if (error !== null) expect(seen.faults.at(0)).toMatchObject(wanted);
    expect(state.memory === before).toBe(true);
    const always = bench.call(setting, [1]);
    expect(always.seen).toMatchObject({ outcome: 'returned', faults: { length: 0 } });
    expect(state).toEqual(always.state);
  });
}

describe('x86-64', () => suite('x86_64', X86_FORMS, x86Setting));
describe('arm64', () => suite('arm64', ARM64_FORMS, arm64Setting));

describe('x86-64 operands without data', () =>
  touches('x86_64', X86_TOUCHES, (code, base) =>
    x86Setting(['', code as string, 'R', 1, 0], base),
  ));
describe('arm64 operands without data', () =>
  touches('arm64', ARM64_TOUCHES, (code, base) =>
    arm64Setting(['', code as number, 'R', 1, 0], base),
  ));
