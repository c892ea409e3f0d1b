// Random lives of an arena with real code on the vCPU: kernel accesses are machine code that faults, walks and goes
// through the TLB. Every result, every byte and every page must agree with a naive arena. fast-check prints the seed of
// a failure. bpf/ does the same many more times without the engine.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NaiveArena } from '../bpf/test-naive.ts';
import { virtAddr } from '../emulator/address.ts';
import type { CallSeen } from './call.ts';
import { WorldRun } from './run.ts';
import { type ArchName, parseScenario, type Series, type Step, type World } from './scenario.ts';
import { loadTestHost } from './test-run.ts';

const SIZE = 24;
/** Offset of page 0 in the band. */
const PAGE0 = 0x4000n;
const PAGE = 4096;
const CODE = {
  x86_64: { read: '488b07c3', write: '488937c3' },
  arm64: { read: '000040f9c0035fd6', write: '010000f9c0035fd6' },
};

// Some accesses lie below user_vm_start or behind the end.
const page = fc.integer({ min: -2, max: SIZE + 2 });
const inside = fc.integer({ min: 0, max: SIZE - 1 });
const count = fc.integer({ min: 1, max: 6 });
const value = fc.option(fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }));
const offset = fc.constantFrom(0, 0x120, 0xff8);
const of = <T>(weight: number, arbitrary: fc.Arbitrary<T>) => ({ weight, arbitrary });
const kind = <K extends string>(op: K) => fc.constant(op);

const operation = fc.oneof(
  of(4, fc.record({ op: kind('alloc'), page: fc.option(inside), count, sleepable: fc.boolean() })),
  of(4, fc.record({ op: kind('free'), page: inside, count, sleepable: fc.boolean() })),
  of(1, fc.record({ op: kind('worker') })),
  of(1, fc.record({ op: kind('reserve'), page: inside, count })),
  of(6, fc.record({ op: kind('kernel'), page, offset, value })),
  of(3, fc.record({ op: kind('user'), page: inside, offset, value })),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

const host = await loadTestHost();

function worldOf(arch: ArchName, series: Series): World {
  const text = `
arch: ${arch}
series: ${series}
arena: {pages: ${SIZE}, user_vm_start: 0x7f0000004000}
steps: [{worker: {}}]
`;
  const scenario = parseScenario(text, 'property.yaml', () => new Uint8Array());
  return scenario.worlds[arch]!;
}

class Life {
  readonly run: WorldRun;
  readonly naive: NaiveArena;
  private readonly arch: ArchName;
  private readonly series: Series;
  /**
   * Pages that the CPU still takes for the scratch page. x86 flushes nothing when mainline replaces the scratch PTE: a
   * finding that fixtures/stale-scratch-mainline.yaml keeps.
   */
  private readonly stale = new Set<number>();
  /** Pages whose scratch translation the TLB holds. */
  private readonly cached = new Set<number>();

  constructor(world: World) {
    this.arch = world.arch;
    this.series = world.series;
    this.run = new WorldRun(host, world);
    this.naive = new NaiveArena(SIZE, world.series === 'v2');
  }

  do(o: Operation): void {
    const { naive } = this;
    switch (o.op) {
      case 'alloc': {
        const first = naive.alloc(o.page, o.count, o.sleepable);
        const replaced = first === null ? [] : range(first, o.count);
        for (const one of replaced) {
          if (this.arch === 'x86_64' && this.cached.has(one)) this.stale.add(one);
          else this.cached.delete(one);
        }
        expect(this.step({ kind: 'alloc', ...at(o.page), ...o, expect: ENDS })).toMatchObject({
          page: first,
        });
        return;
      }
      case 'free': {
        const before = naive.held;
        naive.release(o.page, o.count, o.sleepable);
        if (o.sleepable) this.flushed(o.page, Math.min(o.count, SIZE - o.page));
        const step = { kind: 'free', ...at(o.page), ...o, expect: ENDS };
        expect(this.step(step)).toMatchObject({ freed: before - naive.held });
        return;
      }
      case 'worker': {
        const before = naive.held;
        const { pending } = naive;
        naive.worker();
        for (const span of pending) this.flushed(span.page, span.count);
        const step = { kind: 'worker', arena: 'arena', expect: ENDS };
        expect(this.step(step)).toMatchObject({ freed: before - naive.held });
        return;
      }
      case 'reserve': {
        const result = naive.reserve(o.page, o.count);
        const step = { kind: 'reserve', ...at(o.page), ...o, expect: ENDS };
        expect(this.step(step)).toMatchObject({ result });
        return;
      }
      case 'user': {
        const bytes = naive.user(o.page);
        const wanted = bytes === null ? 'SIGSEGV' : 'ok';
        const access = o.value === null ? 'read' : 'write';
        const step = { kind: 'user', ...at(o.page), ...o, access, value: o.value ?? 0n };
        const seen = this.step({ ...step, expect: ENDS });
        expect(seen).toMatchObject({ result: wanted });
        if (bytes !== null) {
          expect(seen).toMatchObject({ value: o.value ?? word(bytes, o.offset) });
          if (o.value !== null) put(bytes, o.offset, o.value);
        }
        return;
      }
      case 'kernel':
        this.kernel(o.page, o.offset, o.value);
    }
  }

  /** Code that loads or stores 8 bytes, with the program on the stack. */
  private kernel(page: number, offset: number, value: bigint | null): void {
    const { naive } = this;
    const absent = !naive.pages.has(page);
    const bytes = this.stale.has(page) ? naive.scratch : naive.kernel(page);
    if (bytes === naive.scratch && !this.stale.has(page)) this.cached.add(page);
    const hex = CODE[this.arch][value === null ? 'read' : 'write'];
    const seen = this.step({
      kind: 'call',
      code: { kind: 'bytes', bytes: Buffer.from(hex, 'hex') },
      symbols: new Map(),
      extable: [],
      image: 'kernel',
      args: [
        { kind: 'arena', arena: 'arena', offset: PAGE0 + BigInt(page * PAGE + offset) },
        { kind: 'integer', value: value ?? 0n },
      ],
      caller: {
        direct: false,
        frames: [{ prog: 'prog', arena: 'arena', subprogram: false, atEnd: false }],
      },
      expect: { ...ENDS, memory: [], buffers: [], registers: new Map() },
    }) as CallSeen;
    expect(seen.outcome).toBe('returned');
    expect(seen.faults.length).toBe(absent ? 1 : 0);
    if (absent) expect(seen.stderr).toMatch(/^ERROR: Arena (READ|WRITE) access at unmapped/);
    if (value !== null) put(bytes, offset, value);
    else expect(seen.ret).toBe(word(bytes, offset));
  }

  /** Every page and every byte, through the PTEs. */
  check(): void {
    const { run, naive } = this;
    const arena = run.kernel.arenas.get('arena')!;
    const frames = new Set<number>();
    for (let i = -3; i <= SIZE + 3; i++) {
      const va = virtAddr(arena.kernVmStart + PAGE0 + BigInt(i * PAGE));
      const pa = run.kernel.memory.physOf(va);
      const bytes = naive.pages.get(i);
      expect([i, pa === null]).toEqual([i, bytes === undefined]);
      if (pa === null || bytes === undefined) continue;
      expect([i, pa / PAGE === arena.scratchPage]).toEqual([i, bytes === naive.scratch]);
      expect(Buffer.compare(run.kernel.ram.read(pa, PAGE), bytes)).toBe(0);
      if (bytes !== naive.scratch) frames.add(pa);
    }
    expect(frames.size).toBe(naive.held);
    expect(run.kernel.pages.bugs).toEqual([]);
  }

  /** The arena goes, and with it every page of it. */
  end(): void {
    const { held } = this.naive;
    const seen = this.step({ kind: 'destroy', arena: 'arena', expect: ENDS });
    expect(seen).toMatchObject({ freed: held, leaked: 0 });
    const { pages } = this.run.kernel;
    const left = [...pages.outstanding().keys()];
    expect(left.filter((owner) => /arena|scratch/.test(owner))).toEqual([]);
    expect(pages.bugs).toEqual([]);
  }

  private step(step: object) {
    return this.run.runStep({ line: 1, ...step } as Step).seen;
  }

  private flushed(page: number, count: number): void {
    for (const one of range(page, count)) {
      this.stale.delete(one);
      this.cached.delete(one);
    }
  }
}

const ENDS = { outcome: 'returned' } as const;
const at = (page: number | null) => ({ arena: 'arena', page });
const range = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);
const word = (bytes: Uint8Array, offset: number) =>
  new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(offset, true);
const put = (bytes: Uint8Array, offset: number, value: bigint) =>
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(offset, value, true);

const BOTH = (['x86_64', 'arm64'] as const).flatMap((arch) =>
  (['v2', 'mainline'] as const).map((series) => ({ arch, series })),
);

describe.each(BOTH)('a world of $arch, $series, by property', ({ arch, series }) => {
  const world = worldOf(arch, series);

  it('agrees with a naive arena in everything that can be seen', () => {
    fc.assert(
      fc.property(fc.array(operation, { minLength: 1, maxLength: 30 }), (operations) => {
        const life = new Life(world);
        try {
          for (const o of operations) life.do(o);
          life.check();
          life.end();
        } finally {
          life.run.close();
        }
      }),
      { numRuns: 100 },
    );
  });
});
