// Kernels and machines are used again from one run to the next. No scenario may notice what ran before it: in whatever
// order, each comes to the same document, byte for byte, as on a machine of its own.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { Machines } from '../testbed/machines.ts';
import type { RunHost } from '../testbed/run.ts';
import type { ArchName, Scenario } from '../testbed/scenario.ts';
import { execute } from './execute.ts';
import { loadHost } from './host.ts';
import { processIo } from './io.ts';
import { loadScenario } from './scenario-file.ts';

const io = processIo();
const FIXTURES = fileURLToPath(new URL('../fixtures', import.meta.url));

const cases = readdirSync(FIXTURES)
  .filter((file) => file.endsWith('.yaml'))
  .map((file) => loadScenario(join(FIXTURES, file), io))
  .flatMap((scenario) => scenario.archs.map((arch) => ({ scenario, arch })));

const textOf = (host: RunHost, scenario: Scenario, arch: ArchName): string =>
  JSON.stringify(execute(host, scenario, arch).document);

it('a run is the same whatever ran before it', async () => {
  const host = await loadHost();
  const alone = cases.map(({ scenario, arch }) =>
    textOf({ ...host, machines: new Machines(unicornEngine()) }, scenario, arch),
  );
  const shared = { ...host, machines: new Machines(unicornEngine()) };
  const order = cases.map((_, i) => i);
  // The third time a kernel is asked for it comes from a snapshot.
  for (const i of [...order, ...order, ...order.reverse()]) {
    const { scenario, arch } = cases[i];
    expect(textOf(shared, scenario, arch), `${scenario.name} (${arch})`).toBe(alone[i]);
  }
});
