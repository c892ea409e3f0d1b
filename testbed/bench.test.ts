// What a walk costs: time as a share of what the bare library's fill costs in the same run, and memory.
import { describe, expect, it } from 'vitest';
import { hi32, lo32 } from '../emulator/bits.ts';
import { type AccessKind, READ, WRITE } from '../emulator/engine.ts';
import { openFloor } from '../emulator/unicorn/floor.ts';
import { Bench } from './bench.ts';
import { WorldRun } from './run.ts';
import { parseScenario } from './scenario.ts';
import { loadTestHost } from './test-run.ts';

const ARCHS = ['x86_64', 'arm64'] as const;
const PAGE = 4096;
/** More than any TLB here holds: every access walks. */
const PAGES = 4096;
const WALKS = 1_000_000;
const LIMIT = 32 * 2 ** 20;

const host = await loadTestHost();
const floor = openFloor();

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

const scenario = parseScenario(
  '{"arch": ["x86_64", "arm64"], "code": {"x86_64": "ret", "arm64": "ret"}}',
  'bench',
  () => {
    throw new RangeError('names no files');
  },
);

describe.each(ARCHS)('a walk of four levels on %s', (arch) => {
  it('costs at most half of an answered fill of the bare library', () => {
    const bench = new Bench(host, cpuSeconds, () => host.machines);
    const pair = () => bench.walkHit(arch) / floor.run(`faults.${arch}`);
    pair();
    expect(Math.max(pair(), pair(), pair())).toBeGreaterThan(2);
  });

  it('leaves the heap below 32 MB larger after a million', () => {
    const run = new WorldRun(host, scenario.worlds[arch]!);
    try {
      const start = run.kernel.allocBuffer(new Uint8Array(PAGES * PAGE));
      const { mmu } = run.kernel.cpus[0];
      const [hi, lo] = [hi32(start), lo32(start)];
      const before = process.memoryUsage().heapUsed;
      const missed = mmu.misses;
      let highest = 0;
      for (let i = 0; i < WALKS; i++) {
        const kind: AccessKind = i & 1 ? WRITE : READ;
        expectTrue(mmu.translate(hi, lo + (i % PAGES) * PAGE, kind));
        if (i % 1000 === 0) highest = Math.max(highest, process.memoryUsage().heapUsed);
      }
      expect(mmu.misses - missed).toBe(WALKS);
      expect(highest - before).toBeLessThan(LIMIT);
    } finally {
      run.close();
    }
  });
});

function expectTrue(ok: boolean): void {
  if (!ok) throw new Error('a page of the buffer was refused');
}
