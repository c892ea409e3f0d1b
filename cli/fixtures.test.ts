// Every scenario under fixtures/ must come out as it says, on each architecture it names. What is wrong or differs on
// purpose lies under fixtures/bad and fixtures/golden; of races, one schedule is played.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import type { RunHost } from '../testbed/run.ts';
import { type ArchName, parseScenario, type Scenario } from '../testbed/scenario.ts';
import { execute } from './execute.ts';
import { loadHost } from './host.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures', import.meta.url));

const files = readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })
  .filter(
    (file) =>
      file.endsWith('.yaml') && !/^(bad|golden|mutants|litmus|races\/findings)\//.test(file),
  )
  .sort();

function load(file: string, change: (text: string) => string = (text) => text): Scenario {
  const path = join(FIXTURES, file);
  const readFile = (name: string) => readFileSync(resolve(dirname(path), name));
  return parseScenario(change(readFileSync(path, 'utf8')), relative('.', path), readFile);
}

/** One case a file and architecture; a file that cannot be loaded is a case that fails. */
function casesOf(file: string): { title: string; scenario: () => Scenario; arch: ArchName }[] {
  try {
    const scenario = load(file);
    return scenario.archs.map((arch) => ({
      title: `${scenario.name} (${arch})`,
      scenario: () => scenario,
      arch,
    }));
  } catch (error) {
    const fail = () => {
      throw error;
    };
    return [{ title: file, scenario: fail, arch: 'x86_64' }];
  }
}

let host: RunHost;
beforeAll(async () => {
  host = await loadHost();
});

describe('fixtures', () => {
  it('are many', () => {
    expect(files.length).toBeGreaterThanOrEqual(20);
  });

  it.each(files.flatMap(casesOf))('$title', ({ scenario, arch }) => {
    const { document, pass, steps } = execute(host, scenario(), arch);
    expect(document.failures, String(document.replay)).toEqual([]);
    expect(document).toMatchObject({ pass: true, arch, name: scenario().name });
    expect(pass).toBe(true);
    expect(steps.length).toBe(scenario().worlds[arch]?.cpus.flat().length);
  });

  it('show a difference where there is one', () => {
    const changed = load('first-fault.yaml', (text) => text.replace('hex: "2a', 'hex: "2b'));
    for (const arch of changed.archs) {
      const { document, pass } = execute(host, changed, arch);
      expect(pass).toBe(false);
      expect(document).toMatchObject({ pass: false, failures: [{ expect: 'memory[0]' }] });
    }
  });
});
