// Every scenario of fixtures/ on every architecture that it names, as `faultline test fixtures` runs it.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadAssembler } from '../emulator/assembler.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { Machines } from './machines.ts';
import { WorldRun } from './run.ts';
import { parseScenario, type Scenario } from './scenario.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures', import.meta.url));

/** Folders whose files are no scenarios, or wrong ones on purpose. */
const OTHERS = ['bad', 'oracle', 'golden', 'explore'];

function scenariosBelow(folder: string): string[] {
  return readdirSync(join(FIXTURES, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return OTHERS.includes(entry.name) ? [] : scenariosBelow(path);
    return entry.name.endsWith('.yaml') ? [path] : [];
  });
}

function load(path: string): Scenario {
  const file = join(FIXTURES, path);
  const readFile = (name: string) => readFileSync(resolve(dirname(file), name));
  return parseScenario(readFileSync(file, 'utf8'), path, readFile);
}

const worlds = scenariosBelow('.').flatMap((path) => {
  const scenario = load(path);
  return scenario.archs.map((arch) => ({ path, arch, world: scenario.worlds[arch]! }));
});

describe('the scenarios of fixtures/', async () => {
  const [assembler, disassembler] = await Promise.all([loadAssembler(), loadDisassembler()]);
  const host = { machines: new Machines(unicornEngine()), assembler, disassembler };

  it('are many', () => {
    expect(worlds.length).toBeGreaterThan(100);
  });

  it.each(worlds.filter(({ world }) => world.cpus.length === 1))(
    '$path comes out as it says on $arch',
    ({ world }) => {
      const run = new WorldRun(host, world);
      try {
        const failures = run.steps.flatMap((step) =>
          run.runStep(step).failures.map((failure) => ({ line: step.line, ...failure })),
        );
        expect(failures).toEqual([]);
        expect(run.kernel.pages.bugs).toEqual([]);
      } finally {
        run.close();
      }
    },
  );
});
