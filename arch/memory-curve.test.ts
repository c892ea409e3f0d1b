// The memory model against the measured curves of a pointer chase: knees and latencies.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { valuesOf } from '../emulator/cost/knobs.ts';
import { MemoryModel } from '../emulator/cost/memory.ts';
import { x86Costs } from './cost-models.ts';

interface Measured {
  readonly tlb_curve_4k_stride: readonly { readonly pages: number; readonly min: number }[];
  readonly latency_curve_4k_pages: readonly { working_set_bytes: number; min: number }[];
  readonly cache_load_to_use: { readonly l1d: number; readonly l2: number };
}
const measured: Measured = JSON.parse(
  readFileSync(new URL('../fixtures/oracle/memory-costs.json', import.meta.url), 'utf8'),
);
const LINE = 64;
const PAGE = 4096;
/** Page tables of the chase, away from its data: eight bytes a page. */
const TABLES = 2 ** 32;

/** Cycles of one step of a chase once it has gone round. */
function chase(preset: string, addresses: readonly number[]): number {
  const values = valuesOf(x86Costs.presets.find(({ name }) => name === preset)!);
  let cycles = 0;
  const memory: MemoryModel = new MemoryModel(
    values,
    (_knob, more) => {
      cycles += more;
    },
    (page) => {
      const walk = values.walkFixed + memory.entry(TABLES + page * 8);
      cycles += (walk * values.walkFactor) / 100;
    },
  );
  const round = () => {
    for (const at of addresses) memory.access(Math.floor(at / PAGE), at, 8, false);
  };
  round();
  round();
  cycles = 0;
  round();
  return values.l1Hit + cycles / addresses.length;
}

/** One line of each page, at places that fill the sets of every cache evenly. */
const perPage = (pages: number) =>
  Array.from({ length: pages }, (_, i) => i * PAGE + (((i * 7 + (i >> 6)) * LINE) % PAGE));
const lines = (bytes: number) => Array.from({ length: bytes / LINE }, (_, i) => i * LINE);
const measuredAt = (pages: number) =>
  measured.tlb_curve_4k_stride.find((one) => one.pages === pages)!.min;

describe('a chase over pages', () => {
  it.each([4, 64, 96, 128, 192, 512, 768, 1024])('costs what was measured: %d pages', (pages) => {
    expect(Math.abs(chase('golden-cove', perPage(pages)) / measuredAt(pages) - 1)).toBeLessThan(
      0.05,
    );
  });

  it('has its knees at 96 and 2,048 pages', () => {
    const at = (pages: number) => chase('golden-cove', perPage(pages));
    expect(at(97)).toBeGreaterThan(at(96));
    expect(at(128) - at(96)).toBeCloseTo(7, 5);
    expect(at(2048)).toBeCloseTo(at(1536), 5);
    expect(at(2176)).toBeGreaterThan(at(2048) + 8);
  });

  // Nested walks spread widely even at their best.
  it.each([2560, 3072, 4096])(
    'walks in a guest near what was measured there: %d pages',
    (pages) => {
      expect(Math.abs(chase('virtual', perPage(pages)) / measuredAt(pages) - 1)).toBeLessThan(0.3);
    },
  );
});

describe('a chase over lines', () => {
  const { l1d, l2 } = measured.cache_load_to_use;
  it('takes the first and the second level at their latencies', () => {
    expect(chase('golden-cove', lines(48 << 10))).toBe(l1d);
    expect(chase('golden-cove', lines(256 << 10))).toBe(l2);
  });

  it.each([8192, 49152, 65536, 131072, 262144])('costs what was measured: %d bytes', (bytes) => {
    const { min } = measured.latency_curve_4k_pages.find((c) => c.working_set_bytes === bytes)!;
    expect(Math.abs(chase('golden-cove', lines(bytes)) / min - 1)).toBeLessThan(0.02);
  });

  it('leaves the second level for the third beyond 2 MiB', () => {
    const far = chase('golden-cove', lines(3 << 20));
    expect(far).toBeGreaterThanOrEqual(100);
    expect(Math.abs(far / 92.2 - 1)).toBeLessThan(0.2);
  });
});
