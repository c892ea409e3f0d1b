import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { virtAddr } from '../../emulator/address.ts';
import type { RecordedFault } from './recorded.ts';
import { FaultTally, RESOLUTIONS, SLICES } from './tally.ts';

const KBASE = 0xffff_8000_8100_8000n;
const place = { name: 'arena', kbase: KBASE, userVmStart: 0n, pageSize: 4096 };

const fault = fc
  .record({
    cpu: fc.nat(3),
    resolution: fc.constantFrom(...RESOLUTIONS),
    offset: fc.bigInt(-0x1_8000n, 0x1_0001_8000n),
    instructions: fc.nat(1000),
    symbol: fc.constantFrom('f+0x0', 'g+0x4'),
  })
  .map(({ cpu, resolution, offset, instructions, symbol }) => ({
    cpu,
    resolution,
    site: { ip: '0x0', symbol, instruction: 'nop' },
    va: virtAddr(KBASE + offset),
    access: 'read' as const,
    code: 0n,
    move: 0,
    endMove: 0,
    instructions,
    events: 0,
    cycles: 7,
    detail: null,
    start: 0,
    end: 0,
  }));

const faults = fc
  .array(fault, { maxLength: 60 })
  .map((all) => all.map((one, order): RecordedFault => ({ ...one, order })));

function tallied(all: readonly RecordedFault[], split: number): FaultTally {
  const tally = new FaultTally([place]);
  // Two calls, of which the second begins at 1000.
  for (const one of all.slice(0, split)) tally.add(one);
  tally.place(({ instructions }) => instructions, 0);
  for (const one of all.slice(split)) tally.add(one);
  tally.place(({ instructions }) => instructions, 1000);
  return tally;
}

describe('the tally of faults', () => {
  it('counts every fault once: in time, by instruction, and by page where an arena is', () => {
    fc.assert(
      fc.property(faults, fc.nat(60), (all, split) => {
        const tally = tallied(all, split);
        const slices = tally.slices(2000);
        for (const resolution of RESOLUTIONS) {
          const count = all.filter((one) => one.resolution === resolution).length;
          expect(tally.countOf(resolution)).toBe(count);
          expect(slices.reduce((sum, { counts }) => sum + (counts[resolution] ?? 0), 0)).toBe(
            count,
          );
        }
        const groups = tally.groups();
        expect(groups.reduce((sum, { count }) => sum + count, 0)).toBe(all.length);
        expect(groups.reduce((sum, { cycles }) => sum + cycles!, 0)).toBe(7 * all.length);
        for (const { first, like, lowest, highest } of groups) {
          expect(all[first - 1].site.symbol).toBe(like.site.symbol);
          expect(lowest).toBeLessThanOrEqual(highest);
        }
        for (const [page, count] of tally.pagesOf('arena')) {
          const from = KBASE + BigInt(page) * 4096n;
          expect(all.filter(({ va }) => va >= from && va < from + 4096n)).toHaveLength(count);
        }
      }),
    );
  });

  it('puts each fault into the slice of its CPU and of its place in the run', () => {
    fc.assert(
      fc.property(faults, fc.nat(60), (all, split) => {
        const wanted = new Map<string, number>();
        for (const [i, { cpu, instructions }] of all.entries()) {
          const start = instructions + (i < split ? 0 : 1000);
          const key = `${cpu} ${Math.min(SLICES - 1, Math.floor((start * SLICES) / 2000))}`;
          wanted.set(key, (wanted.get(key) ?? 0) + 1);
        }
        const found = tallied(all, split)
          .slices(2000)
          .map(({ cpu, slice, counts }) => [
            `${cpu} ${slice}`,
            Object.values(counts).reduce((sum, count) => sum + count, 0),
          ]);
        expect(new Map(found as [string, number][])).toEqual(wanted);
      }),
    );
  });
});
