// Never stale: code that is overwritten by the kernel model, by its own vCPU or by another one, and pages that are moved.
// A vCPU must run what lies in memory now, through the mapping that holds now.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arm64 } from '../arch/arm64/index.ts';
import { x86 } from '../arch/x86/index.ts';
import type { VirtAddr } from '../emulator/address.ts';
import { type Cpu, type CpuDescription, PERM_R, PERM_W, PERM_X } from '../emulator/engine.ts';
import { SAVE } from '../emulator/snapshot.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { PageMap } from '../emulator/unicorn/test-machine.ts';
import { type Machine, Machines } from './machines.ts';

const RWX = PERM_R | PERM_W | PERM_X;
/** Code under test, which begins with the same address on each vCPU and lies in one of two frames. */
const CODE = 0xffff_ffff_8100_0000n;
const FRAMES = [0x10_0000, 0x10_1000] as const;
/** The same frames as data. */
const ALIAS = 0xffff_ffff_8200_0000n;
/** Code that stores a word. */
const STORE = 0xffff_ffff_8300_0000n;
const STORE_FRAME = 0x20_0000;

interface Dialect {
  readonly description: CpuDescription;
  readonly ip: string;
  readonly result: string;
  /** Stores the low half of `value` to `pointer`; then stops. */
  readonly store: readonly number[];
  readonly pointer: string;
  readonly value: string;
  /** Loads a number into `result`, from a word of 4 bytes at `at`; then stops. */
  code(n: number): Uint8Array;
  readonly at: number;
  word(n: number): number;
}

const bytes = (...all: number[]): Uint8Array => Uint8Array.from(all);
const words = (...all: number[]): Uint8Array => new Uint8Array(Uint32Array.from(all).buffer);
const movz = (n: number): number => (0x5280_0000 | ((n & 0xffff) << 5)) >>> 0;

const DIALECTS: readonly Dialect[] = [
  {
    description: x86.description,
    ...{ ip: 'rip', result: 'rax', pointer: 'rdi', value: 'rsi' },
    // mov [rdi], esi; hlt
    store: [0x89, 0x37, 0xf4],
    // mov eax, n; hlt
    code: (n) => bytes(0xb8, n & 0xff, n >> 8, 0, 0, 0xf4),
    at: 1,
    word: (n) => n,
  },
  {
    description: arm64.description,
    ...{ ip: 'pc', result: 'x0', pointer: 'x1', value: 'x2' },
    // str w2, [x1]; wfi
    store: [...words(0xb900_0022, 0xd503_207f)],
    // mov w0, #n; wfi
    code: (n) => words(movz(n), 0xd503_207f),
    at: 0,
    word: movz,
  },
];

const frame = fc.nat(1);
const number = fc.nat(0xffff);
const operation = (who: fc.Arbitrary<number>) =>
  fc.oneof(
    fc.record({ op: fc.constant('run' as const), cpu: who }),
    fc.record({ op: fc.constant('write' as const), frame, number }),
    fc.record({ op: fc.constant('store' as const), cpu: who, frame, number }),
    fc.record({ op: fc.constant('move' as const), cpu: who, frame }),
    fc.record({ op: fc.constant('save' as const) }),
    fc.record({ op: fc.constant('restore' as const) }),
  );
type Operation = ReturnType<typeof operation> extends fc.Arbitrary<infer T> ? T : never;

class Pair {
  readonly holds = [1, 2];
  readonly frameOf = [0, 0];
  private saved: { restore: () => void; holds: number[] } | null = null;
  private readonly cpus: Cpu[] = [];
  private readonly maps: readonly PageMap[];

  private readonly machine: Machine;
  private readonly dialect: Dialect;

  constructor(machine: Machine, dialect: Dialect, cpus: number) {
    this.maps = Array.from({ length: cpus }, () => new PageMap());
    this.machine = machine;
    this.dialect = dialect;
    for (const [i, pa] of FRAMES.entries()) machine.ram.write(pa, dialect.code(this.holds[i]));
    machine.ram.write(STORE_FRAME, Uint8Array.from(dialect.store));
    for (const map of this.maps) {
      map.map(CODE, FRAMES[0], RWX);
      for (const [i, pa] of FRAMES.entries())
        map.map(ALIAS + BigInt(i * 4096), pa, PERM_R | PERM_W);
      map.map(STORE, STORE_FRAME, PERM_R | PERM_X);
      const cpu = machine.takeCpu(map);
      cpu.flushCode();
      this.cpus.push(cpu);
    }
  }

  do(o: Operation): void {
    const { machine, dialect, holds } = this;
    const at = (index: number) => FRAMES[index] + dialect.at;
    switch (o.op) {
      case 'run':
        this.start(o.cpu, CODE);
        expect(this.cpus[o.cpu].readRegister(dialect.result)).toBe(
          BigInt(holds[this.frameOf[o.cpu]]),
        );
        return;
      case 'write':
        machine.ram.write(at(o.frame), words(dialect.word(o.number)));
        holds[o.frame] = o.number;
        return;
      case 'store': {
        const cpu = this.cpus[o.cpu];
        cpu.writeRegister(dialect.pointer, ALIAS + BigInt(o.frame * 4096 + dialect.at));
        cpu.writeRegister(dialect.value, BigInt(dialect.word(o.number)));
        this.start(o.cpu, STORE);
        holds[o.frame] = o.number;
        return;
      }
      case 'move':
        this.maps[o.cpu].map(CODE, FRAMES[o.frame], RWX);
        this.cpus[o.cpu].flushTlbPage(CODE as VirtAddr);
        this.frameOf[o.cpu] = o.frame;
        return;
      case 'save':
        this.saved = { restore: machine[SAVE](), holds: [...holds] };
        return;
      case 'restore':
        this.saved?.restore();
        for (const [i, n] of (this.saved?.holds ?? holds).entries()) holds[i] = n;
    }
  }

  private start(cpu: number, va: bigint): void {
    this.cpus[cpu].writeRegister(this.dialect.ip, va);
    expect(this.cpus[cpu].run(10).reason).toBe('halt');
  }
}

describe.each(DIALECTS)('$description.name', (dialect) => {
  const kept = [1, 2].map(() => new Machines(unicornEngine()));

  function live(operations: readonly Operation[], cpus = 2): void {
    const machines = kept[cpus - 1];
    const machine = machines.take(dialect.description, 2 ** 22, {
      counting: true,
      metering: false,
      accesses: false,
    });
    try {
      const pair = new Pair(machine, dialect, cpus);
      for (const one of operations) pair.do(one);
      for (let cpu = 0; cpu < cpus; cpu++) pair.do({ op: 'run', cpu });
    } finally {
      machines.give(machine);
    }
  }

  it.each([1, 2])('runs what lies there now, whoever of %i wrote it', (cpus) => {
    const some = fc.array(operation(fc.nat(cpus - 1)), { minLength: 4, maxLength: 40 });
    fc.assert(
      fc.property(some, (operations) => live(operations, cpus)),
      { numRuns: 250 },
    );
  });

  const run = (cpu: number): Operation => ({ op: 'run', cpu });
  const store = (cpu: number, n: number): Operation => ({ op: 'store', cpu, frame: 0, number: n });

  it('sees the store of another vCPU that wrote there before without asking', () => {
    live([run(1), store(0, 5), run(1), store(0, 6), run(1), store(0, 7), run(1)]);
  });

  it('sees the store of another vCPU that had put back what lay there', () => {
    const elsewhere: Operation = { op: 'store', cpu: 0, frame: 1, number: 3 };
    live([{ op: 'save' }, run(0), store(1, 1), elsewhere, store(1, 6), run(0)]);
  });

  it('sees a write of the kernel model', () => {
    live([run(0), { op: 'write', frame: 0, number: 9 }, run(0)]);
  });
});
