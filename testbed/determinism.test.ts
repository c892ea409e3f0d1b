// The same scenario gives the same events, byte for byte: a hundred times, on machines used again and on new ones, alone
// and while another process takes the rest of the computer.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EventSink } from '../emulator/events.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { Machines } from './machines.ts';
import { type RunHost, WorldRun } from './run.ts';
import { parseScenario, type World } from './scenario.ts';
import { loadTestHost } from './test-run.ts';

const TIMES = 100;
const FIXTURES = new URL('../fixtures/', import.meta.url);
// Objects, faults and the allocator; and a thousand pages more than the TLB holds, which takes long.
const FILES: Readonly<Record<string, number>> = {
  'object-kfuncs.yaml': TIMES,
  'many-pages-at-once.yaml': TIMES / 10,
};

const host = await loadTestHost();

const worlds = Object.entries(FILES).flatMap(([file, times]) => {
  const scenario = parseScenario(readFileSync(new URL(file, FIXTURES), 'utf8'), file, (name) =>
    readFileSync(new URL(name, FIXTURES)),
  );
  return scenario.archs.map((arch) => ({
    name: `${file} (${arch})`,
    times,
    world: scenario.worlds[arch]!,
  }));
});

/** A hash of every event of a run, its order included. */
function eventsOf(on: RunHost, world: World): string {
  const hash = createHash('sha256');
  const sink = new EventSink();
  sink.read((event) => {
    hash.update(
      JSON.stringify(event, (_key, value) => (typeof value === 'bigint' ? `${value}n` : value)),
    );
  });
  const run = new WorldRun(on, world, { events: sink });
  try {
    for (const step of run.steps) run.runStep(step);
  } finally {
    run.close();
  }
  return hash.digest('hex');
}

let load: ChildProcess;
beforeAll(() => {
  // It ends by itself, whatever becomes of us.
  const spin = 'const end = Date.now() + 100000; while (Date.now() < end) {}';
  load = spawn(process.execPath, ['-e', spin], { stdio: 'ignore' });
});
afterAll(() => {
  load.kill('SIGKILL');
});

describe('runs while another process is busy', () => {
  it.each(worlds)('are one, $times times: $name', ({ world, times }) => {
    expect(load).toMatchObject({ exitCode: null, signalCode: null });
    const seen = new Set<string>();
    for (let i = 0; i < times; i++) seen.add(eventsOf(host, world));
    const anew = { ...host, machines: new Machines(unicornEngine()) };
    seen.add(eventsOf(anew, world));
    expect(seen.size).toBe(1);
  });
});
