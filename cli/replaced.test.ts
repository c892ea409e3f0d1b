import { beforeAll, describe, expect, it } from 'vitest';
import { isReplaceable, type ReplaceableName } from '../testbed/replace/functions.ts';
import type { RunHost } from '../testbed/run.ts';
import { notReplaceable } from '../testbed/scenario-load-kernel.ts';
import { loadHost } from './host.ts';
import { STANDINGS } from './standings.ts';
import {
  ACCESSORS,
  CALLBACKS,
  difference,
  limited,
  load,
  PAGES,
  REPORTS,
  replacing,
  type Seen,
  see,
  suite,
} from './test-replaced.ts';

let host: RunHost;
beforeAll(async () => {
  host = await loadHost();
});

const cases = suite.flatMap((file) => {
  const scenario = load(file);
  return scenario.archs.map((arch) => ({ file, arch, world: limited(scenario.worlds[arch]!) }));
});

/** How often compiled code was called, in all. */
const calls = new Map<string, number>();

function same(model: Seen, compiled: Seen, level: string): void {
  calls.set(level, (calls.get(level) ?? 0) + compiled.compiled);
  expect(difference(model, compiled)).toBeNull();
}

describe('what can be replaced', () => {
  it.each(Object.keys(STANDINGS))('%s, or the reason why not', (key) => {
    const name = key.replace(/^.*[/ ]/, '');
    if (isReplaceable(name)) expect(notReplaceable(name)[0]).toBeDefined();
    else expect(notReplaceable(name)[0]).toMatch(`${name} cannot be replaced: `);
  });

  it('says of other names that the model has no such function', () => {
    expect(notReplaceable('arena_alloc_page')[0]).toContain('is no function of the model');
    expect(notReplaceable('arena_alloc_page')[1]).toContain('did you mean arena_alloc_pages?');
  });
});

describe('the whole suite with compiled code in the place of the model', () => {
  it.each(cases)('$file $arch', ({ world }) => {
    const model = see(host, world, CALLBACKS);
    for (const level of ['O0', 'O2']) {
      same(model, see(host, replacing(world, CALLBACKS, level), CALLBACKS), level);
    }
    same(see(host, world, REPORTS), see(host, replacing(world, REPORTS, 'O2'), REPORTS), 'report');
    for (const level of ['O0', 'O2']) {
      same(see(host, world, PAGES), see(host, replacing(world, PAGES, level), PAGES), 'pages');
    }
    for (const level of ['O0', 'O2']) {
      const compiled = see(host, replacing(world, ACCESSORS, level), ACCESSORS);
      same(see(host, world, ACCESSORS), compiled, 'accessors');
    }
    const all: ReplaceableName[] = [...CALLBACKS, ...REPORTS, 'bpf_arena_handle_page_fault'];
    same(see(host, world, all), see(host, replacing(world, all, 'O2'), all), 'all');
  });

  it('runs it thousands of times', () => {
    expect(calls.get('O0')).toBe(calls.get('O2'));
    expect(calls.get('O0')).toBeGreaterThan(8000);
    for (const part of ['report', 'pages', 'accessors']) {
      expect(calls.get(part)).toBeGreaterThan(500);
    }
    expect(calls.get('all')).toBeGreaterThan(calls.get('O2')!);
  });
});
