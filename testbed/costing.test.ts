// What runs cost: the same however they are run, the measured fault, the knobs.
import { beforeAll, describe, expect, it } from 'vitest';
import { adjusted } from '../emulator/cost/knobs.ts';
import type { CallSeen } from './call.ts';
import { Costing, type Grain } from './costing.ts';
import { ARCHITECTURES, type RunHost, WorldRun } from './run.ts';
import { type ArchName, parseScenario } from './scenario.ts';
import { loadTestHost } from './test-run.ts';

let host: RunHost;
beforeAll(async () => {
  host = await loadTestHost();
});

const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];

/** The default model, or one of other knobs. */
function costingOf(
  arch: ArchName,
  changes: Parameters<typeof adjusted>[3] = {},
  grain: Grain = 'fast',
): Costing {
  const [preset] = ARCHITECTURES[arch].costs.presets;
  return new Costing(
    ARCHITECTURES[arch],
    host.disassembler,
    grain,
    adjusted(preset, 'test', '', changes),
  );
}

interface Told {
  readonly traced?: boolean;
  readonly exact?: boolean;
  readonly changes?: Parameters<typeof adjusted>[3];
}

/** A scenario's only call, done. */
function call(
  document: object,
  arch: ArchName,
  { traced = false, exact = false, changes }: Told = {},
): CallSeen {
  const scenario = parseScenario(JSON.stringify({ arch: ARCHS, ...document }), 'test', () => {
    throw new RangeError('no files');
  });
  const run = new WorldRun(host, scenario.worlds[arch]!, {
    costing: costingOf(arch, changes, exact ? 'exact' : 'fast'),
  });
  try {
    run.kernel.cpus[0].traceInstructions = traced;
    return run.runStep(run.steps[0]).seen as CallSeen;
  } finally {
    run.close();
  }
}

/** (pointer): one load whose fault goes on behind it. */
const FIXED_UP = {
  code: {
    x86_64: 'stac\naccess: mov rax, [rdi]\nbehind: clac\nret',
    arm64: 'access: ldr x0, [x0]\nbehind: ret',
  },
  extable: [{ insn: 'access', fixup: 'behind', type: 'default' }],
};
/** (pointer, count): stores to as many pages, with a bit of work between. */
const STORES = {
  x86_64: '1: mov [rdi], rax\nadd rdi, 4096\nimul rax, rdi\ndec rsi\njnz 1b\nret',
  arm64: '1: str x2, [x0]\nadd x0, x0, #4096\nmul x2, x2, x0\nsubs x1, x1, #1\nb.ne 1b\nret',
};

const events = (seen: CallSeen) =>
  Object.fromEntries(seen.cost!.charges.map(({ name, count, cycles }) => [name, [count, cycles]]));

describe('a run', () => {
  it('charges a bad access to a user address with a fix-up what was measured: 1,930 cycles', () => {
    const bad = call({ ...FIXED_UP, args: [4096] }, 'x86_64');
    const good = call({ ...FIXED_UP, args: [{ buffer_size: 8 }] }, 'x86_64');
    expect(bad.faults.length).toBe(1);
    const difference = bad.cycles! - good.cycles!;
    expect(Math.abs(difference - 1930)).toBeLessThan(0.2 * 1930);
  });

  it.each(ARCHS)('costs the same told instruction by instruction, and each time, on %s', (arch) => {
    const document = { code: STORES, args: [{ arena: 0 }, 20], arena: { alloc: [[0, 10]] } };
    const first = call(document, arch);
    expect(first.faults.length).toBe(10);
    expect(call(document, arch).cycles).toBe(first.cycles);
    expect(call(document, arch, { traced: true }).cost!.cycles).toBe(first.cycles);
  });

  it.each(ARCHS)('is the sum of its parts, all whole, on %s', (arch) => {
    const { cost } = call({ code: STORES, args: [{ arena: 0 }, 20] }, arch);
    const { blocks, charges, cycles } = cost!;
    const ticks = blocks.edges.reduce((sum, edge) => sum + edge.ticks, blocks.mispredicted.ticks);
    const beside = charges.reduce((sum, charge) => sum + charge.cycles, 0);
    expect(cycles).toBe(Math.ceil(ticks / 60) + beside);
    expect([...charges.map((charge) => charge.cycles), ticks].every(Number.isInteger)).toBe(true);
  });

  it.each(ARCHS)('takes a recovered fault by its steps, on %s', (arch) => {
    const seen = call({ code: STORES, args: [{ arena: 0 }, 1] }, arch);
    const charged = events(seen);
    const { values } = costingOf(arch);
    for (const name of ['exceptionEntry', 'pathEntry', 'pathExit', 'recoverInstall'] as const) {
      expect([name, charged[name]]).toEqual([name, [1, values[name]]]);
    }
    expect(charged.recoverFrame[0]).toBeGreaterThanOrEqual(3);
    expect(charged.recoverReport[0]).toBe(1);
    expect(charged.pathVma).toBeUndefined();
    expect(charged.pathFixup).toBeUndefined();
  });

  it.each(ARCHS)('walks once for each page, and reads the last entry alone, on %s', (arch) => {
    const walks = (pages: number) =>
      events(
        call({ code: STORES, args: [{ arena: 0 }, pages], arena: { alloc: [[0, 64]] } }, arch),
      );
    const few = walks(10);
    const many = walks(60);
    expect(many.walkFixed[0] - few.walkFixed[0]).toBe(50);
    expect(many.walkEntry[0] - few.walkEntry[0]).toBe(50);
  });

  it('takes each knob from its preset', () => {
    const document = { code: STORES, args: [{ arena: 0 }, 1] };
    const plain = call(document, 'x86_64').cycles!;
    const changes = { exceptionEntry: { value: 10_500, source: 'test' } };
    expect(call(document, 'x86_64', { changes }).cycles! - plain).toBe(10_000);
  });

  it('takes repetitions by their number', () => {
    const code = { x86_64: 'mov rcx, rsi\nrep stosb\nret', arm64: 'ret' };
    const fill = (n: number) =>
      call({ code, args: [{ buffer_size: 0x2000 }, n] }, 'x86_64').cost!.blocks.edges.reduce(
        (sum, { ticks }) => sum + ticks,
        0,
      ) / 60;
    // The measured curve of rep stosb.
    expect(fill(100) - fill(1)).toBeLessThan(1);
    expect(fill(4096) - fill(512)).toBeCloseTo(69.9 - 35.6, 0);
  });

  it('takes instructions that invalidate as events', () => {
    const code = {
      x86_64: 'invlpg [rdi]\nmov rax, cr3\nmov cr3, rax\nret',
      arm64: 'lsr x1, x0, #12\ntlbi vaae1is, x1\ndsb ish\nisb\nret',
    };
    const x86 = events(call({ code, args: [{ arena: 0 }] }, 'x86_64'));
    expect([x86.invalidatePage[0], x86.rootWrite[0]]).toEqual([1, 1]);
    const arm = events(call({ code, args: [{ arena: 0 }] }, 'arm64'));
    expect([arm.invalidatePage[0], arm.barrier[0]]).toEqual([1, 1]);
  });
});

describe('the grain exact', () => {
  /** (base, pages, rounds): a load from each page, again and again. */
  const CHASE = {
    x86_64:
      '1: mov rcx, rsi\nmov r8, rdi\n2: mov rax, [r8]\nadd r8, 4096 + 64\ndec rcx\njnz 2b\ndec rdx\njnz 1b\nret',
    arm64:
      '1: mov x3, x1\nmov x4, x0\n2: ldr x5, [x4]\nadd x4, x4, #4096\nadd x4, x4, #64\nsubs x3, x3, #1\nb.ne 2b\nsubs x2, x2, #1\nb.ne 1b\nret',
  };
  const exact = (document: object, arch: ArchName) => events(call(document, arch, { exact: true }));

  it.each(ARCHS)('sees what the first-level TLB no longer holds, on %s', (arch) => {
    const { dtlbEntries } = costingOf(arch).values;
    const misses = (pages: number) => {
      const document = { code: CHASE, args: [{ buffer_size: pages * 4160 }, pages, 10] };
      return exact(document, arch).stlbHit?.[0] ?? 0;
    };
    expect(misses(dtlbEntries - 4)).toBeLessThan(dtlbEntries);
    expect(misses(dtlbEntries * 2)).toBeGreaterThan(9 * dtlbEntries);
  });

  it.each(ARCHS)('takes pages that share a frame for the pages they are, on %s', (arch) => {
    // Every page is the scratch page: one frame, which the first-level cache holds.
    const pages = costingOf(arch).values.dtlbEntries * 2;
    const charged = exact({ code: CHASE, args: [{ arena: 0 }, pages, 10] }, arch);
    expect(charged.stlbHit[0]).toBeGreaterThan(4 * pages);
  });

  it('costs the same each time and told instruction by instruction', () => {
    const document = { code: CHASE, args: [{ buffer_size: 0x20000 }, 20, 3] };
    const cycles = call(document, 'x86_64', { exact: true }).cycles;
    expect(call(document, 'x86_64', { exact: true }).cycles).toBe(cycles);
    expect(call(document, 'x86_64', { exact: true, traced: true }).cycles).toBe(cycles);
  });
});

describe('a budget', () => {
  it('is met or not by the cycles that were counted', () => {
    const check = (cycles: object, costed: boolean) => {
      const text = JSON.stringify({
        arch: ['x86_64'],
        ...FIXED_UP,
        code: { x86_64: FIXED_UP.code.x86_64 },
        args: [4096],
        expect: { cycles },
      });
      const scenario = parseScenario(text, 'test', () => new Uint8Array());
      const costing = costed ? costingOf('x86_64') : null;
      const run = new WorldRun(host, scenario.worlds.x86_64!, { costing });
      const { failures } = run.runStep(run.steps[0]);
      run.close();
      return failures;
    };
    expect(check({ max: 3000 }, true)).toEqual([]);
    expect(check({ max: 300 }, true)).toMatchObject([{ expect: 'cycles', wanted: 'at most 300' }]);
    expect(check({ min: 5000 }, true)).toMatchObject([{ wanted: 'at least 5000' }]);
    expect(check({ max: 3000 }, false)).toMatchObject([{ got: 'not counted (--cost off)' }]);
  });
});
