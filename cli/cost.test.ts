// `--cost` and `--cost-preset`: what a user gets, and what is said of bad files.
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readPreset } from './cost.ts';
import { faultline } from './test-cli.ts';

const FAULT = 'fixtures/first-fault.yaml';

describe('--cost', () => {
  it('names grain and preset, or costs nothing', async () => {
    const cost = async (...more: string[]) => {
      const { stdout } = await faultline(['run', FAULT, '--arch', 'x86_64', '--json', ...more]);
      const { cycles, cost } = JSON.parse(stdout);
      return [cost, typeof cycles];
    };
    expect(await cost()).toEqual(['fast golden-cove', 'number']);
    expect(await cost('--cost-preset', 'virtual')).toEqual(['fast virtual', 'number']);
    expect(await cost('--cost', 'off')).toEqual(['off', 'object']);
  });

  it('is part of the line that runs a scenario again', async () => {
    const { stdout } = await faultline([
      ...['run', FAULT, '--arch', 'x86_64', '--json'],
      ...['--cost', 'off', '--cost-preset', 'virtual'],
    ]);
    expect(JSON.parse(stdout).replay).toMatch(/ --cost off --cost-preset virtual$/);
  });

  it('refuses presets that are not there or not for the run', async () => {
    const bad = async (preset: string) =>
      (await faultline(['run', FAULT, '--arch', 'arm64', '--cost-preset', preset])).stderr;
    expect(await bad('skylake')).toContain('unknown preset skylake\n  give one of golden-cove');
    expect(await bad('golden-cove')).toContain('is for x86_64, and the run is for arm64');
    expect(await bad('missing.yaml')).toContain('missing.yaml: no such file');
  });
});

/** What an action throws. */
function errorOf(action: () => void): { message: string; remedy: string } {
  try {
    action();
  } catch (error) {
    return error as { message: string; remedy: string };
  }
  throw new Error('nothing was thrown');
}

describe('--profile and --folded', () => {
  it('divide the cycles whole, by place and by event', async () => {
    const folded = join(mkdtempSync(join(tmpdir(), 'faultline-')), 'stacks.txt');
    const { stdout } = await faultline([
      ...['run', FAULT, '--arch', 'x86_64', '--profile', '--folded', folded],
    ]);
    const total = Number(/^(\d+) cycles \(fast golden-cove\)$/m.exec(stdout)?.[1]);
    const sum = (title: string) => {
      const table = new RegExp(`cycles by ${title}\\n((?: .*\\n)+)`).exec(stdout)?.[1] ?? '';
      const rows = table.trimEnd().split('\n');
      return rows.reduce((all, row) => all + Number(row.trim().split(/\s+/)[1]), 0);
    };
    expect(total).toBeGreaterThan(1930);
    expect(Math.abs(sum('function') - total)).toBeLessThan(1);
    expect(Math.abs(sum('block') + sum('event') - total)).toBeLessThan(1);
    expect(Math.abs(sum('instruction') - sum('block'))).toBeLessThan(1);
    expect(Math.abs(sum('source line') - sum('block'))).toBeLessThan(1);
    const stacks = readFileSync(folded, 'utf8').trimEnd().split('\n');
    const written = stacks.reduce((all, line) => all + Number(line.split(' ').at(-1)), 0);
    expect(Math.abs(written - total)).toBeLessThan(3);
    expect(stacks).toContain('x86_64;[events];page fault;exceptionEntry 500');
  });

  it('need cycles, and a file that can be written', async () => {
    const bad = async (...more: string[]) => (await faultline(['run', FAULT, ...more])).stderr;
    expect(await bad('--profile', '--cost', 'off')).toContain('--profile needs cycles');
    expect(await bad('--profile', '--json')).toContain('--profile has no --json form');
    expect(await bad('--folded', '/nonexistent/x')).toContain('cannot be written');
  });
});

describe('a preset file', () => {
  it('changes knobs of the preset that it starts from', () => {
    const preset = readPreset(
      'mine.yaml',
      'base: golden-cove\nname: mine\nknobs:\n  exceptionEntry: 700\n  memory: {value: 400, source: own measurement}\n',
    );
    expect(preset).toMatchObject({ name: 'mine', arch: 'x86_64' });
    expect(preset.knobs.exceptionEntry).toEqual({ value: 700, source: 'mine.yaml' });
    expect(preset.knobs.memory).toEqual({ value: 400, source: 'own measurement' });
    expect(preset.knobs.stlbHit.value).toBe(7);
    const stated = readPreset(
      'mine.yaml',
      'base: golden-cove\nknobs: {memory: {value: 1, unit: cycles}}',
    );
    expect(stated.knobs.memory).toEqual({ value: 1, source: 'mine.yaml' });
  });

  it.each([
    ['knobs: {exceptionEntry: 1}', '1: base: no preset', 'give one of'],
    ['base: virtual', '1: base: virtual is for several architectures', 'arch: x86_64'],
    ['base: virtual\narch: mips', '1: base: no preset virtual for mips', 'give one of'],
    [
      'base: golden-cove\nknobs:\n  pfDelivery: 1',
      '3: knobs.pfDelivery: unknown knob',
      'exceptionEntry',
    ],
    ['base: golden-cove\nknobs:\n  memory: -1', '3: knobs.memory: -1 is no whole number', 'cycles'],
    ['base: golden-cove\nknobs:\n  memory: 1.5', '3: knobs.memory: 1.5 is no whole', 'cycles'],
    ['base: golden-cove\nknobs:\n  memory: fast', '3: knobs.memory: "fast" is no whole', 'cycles'],
    ['base: golden-cove\nknobs:\n  l1Ways: 0', '3: knobs.l1Ways: 0 is no whole number', 'ways'],
    ['base: golden-cove\nknobs:\n  memory: 400ns', '3: knobs.memory: "400ns" is no', 'of cycles'],
    ['base: golden-cove\nknobs:\n  memory: 1e30', 'knobs.memory: 1e+30 is no whole', 'of cycles'],
    [
      'base: golden-cove\nknobs:\n  memory: {value: 1, unit: ns}',
      '3: knobs.memory: the unit is cycles, not ns',
      'of cycles',
    ],
    ['base: golden-cove\nknobs:\n  memory: {value: 1, note: x}', 'unknown key note', 'unit and'],
    ['base: golden-cove\nknobs:\n  toString: 1', '3: knobs.toString: unknown knob', 'knobs are'],
    ['base: golden-cove\nknobs: {memory: *b}', 'bad.yaml: Unresolved alias', 'without aliases'],
    ['base: golden-cove\n---\nbase: virtual', '2: is more than one document', 'YAML'],
    ['base: golden-cove\nabout: 5', '2: about: is no text', 'text'],
    ['base: golden-cove\nknobs:\n  lineBytes: 48', '3: knobs.lineBytes: 48 is no power', 'as 64'],
    [
      'base: golden-cove\nknobs:\n  l1Bytes: 1000',
      '3: knobs.l1Bytes: 1000 bytes are no whole sets of 12 ways of 64 bytes',
      'multiple of 768, or another l1Ways',
    ],
    [
      'base: golden-cove\nknobs:\n  dtlbWays: 500',
      '3: knobs.dtlbWays: with dtlbEntries: 96 entries are no whole sets of 500 ways',
      'multiple of 500',
    ],
    [
      'base: golden-cove\nknobs:\n  l3Bytes: 4294967296',
      '3: knobs.l3Bytes: 4294967296 bytes are more than 1073741824',
      'what a core has',
    ],
    ['base: golden-cove\nknobs: 3', '2: knobs: is no mapping', 'KNOB: value'],
    ['base: golden-cove\nbase2: 3', '2: base2: unknown key', 'base, arch'],
    ['- 3', '1: is no mapping', 'base: and knobs:'],
    ['base: [', '1: ', 'YAML'],
  ])('that is wrong is told with its place: %s', (text, message, remedy) => {
    const error = errorOf(() => readPreset('bad.yaml', text));
    expect(error.message).toContain('bad.yaml:');
    expect(error.message).toContain(message);
    expect(error.remedy).toContain(remedy);
  });
});
