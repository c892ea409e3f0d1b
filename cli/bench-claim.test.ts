import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { faultline } from './test-cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'claim-'));
afterAll(() => rmSync(folder, { recursive: true }));

const claim = (...args: string[]) => faultline(['bench', '--claim', 'no-flush', ...args]);

/** What the claim says with a shootdown that costs so much for each further CPU. */
async function crossings(shootdownFurther: number): Promise<(number | null)[]> {
  const preset = join(folder, `${shootdownFurther}.yaml`);
  writeFileSync(preset, `base: golden-cove\nknobs: {shootdownFurther: ${shootdownFurther}}\n`);
  const { stdout } = await claim('--json', '--cost-preset', preset);
  const { results } = JSON.parse(stdout);
  return results[0].rows.map((row: { crossingShare: number | null }) => row.crossingShare);
}

describe('the claim as data', () => {
  it('has a crossing that a dearer shootdown moves, until there is none', async () => {
    const shares = [await crossings(500), await crossings(3000), await crossings(20_000)];
    // At 256 CPUs, the last row.
    const [cheap, dear, never] = shares.map((row) => row[row.length - 1]);
    expect(cheap).toBeGreaterThan(10);
    expect(dear).toBeGreaterThan(80);
    expect(never).toBeNull();
  });

  it('is drawn with a point for each number of CPUs', async () => {
    const file = join(folder, 'plot.svg');
    await claim('--plot', file, '--arch', 'arm64');
    const svg = readFileSync(file, 'utf8');
    expect(svg.startsWith('<svg ')).toBe(true);
    const curves = [...svg.matchAll(/points="([^"]*)"/g)].map(([, points]) => points.split(' '));
    expect(curves.map((points) => points.length)).toEqual([9, 9, 9]);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });
});
