// Runs scenarios written into tests, and keeps what happened.
import { readFileSync } from 'node:fs';
import { virtAddr } from '../emulator/address.ts';
import { loadAssembler } from '../emulator/assembler.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import { type Event, EventSink } from '../emulator/events.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { Machines } from './machines.ts';
import { type RunHost, type StepRun, WorldRun } from './run.ts';
import { type ArchName, parseScenario } from './scenario.ts';

export async function loadTestHost(): Promise<RunHost> {
  const [assembler, disassembler] = await Promise.all([loadAssembler(), loadDisassembler()]);
  return { machines: new Machines(unicornEngine()), assembler, disassembler };
}

export interface TestRun {
  readonly steps: readonly StepRun[];
  /** Kernel log, one entry a line. */
  readonly log: readonly string[];
  /** By step. */
  readonly events: readonly (readonly Event[])[];
  /** Lines `key: wanted, got` of every step. */
  readonly failures: readonly string[];
}

const FIXTURES = new URL('../fixtures/', import.meta.url);

/** Large files are read once: what is derived from their bytes is kept with them. */
const files = new Map<string, Uint8Array>();

export function fixture(name: string): Uint8Array {
  const bytes = files.get(name) ?? new Uint8Array(readFileSync(new URL(name, FIXTURES)));
  files.set(name, bytes);
  return bytes;
}

/** The first pages of the arena, page by page: one that is not mapped is of zeroes. @param pages of 4 KiB */
export function arenaMemory({ kernel }: WorldRun, pages: number): Uint8Array<ArrayBuffer> {
  const { kernVmStart } = kernel.arenas.get('arena')!;
  const memory = new Uint8Array(pages * 0x1000);
  for (let at = 0; at < memory.length; at += 0x1000) {
    const page = kernel.memory.read(virtAddr(kernVmStart + BigInt(at)), 0x1000);
    if (page !== null) memory.set(page, at);
  }
  return memory;
}

/**
 * Runs every step of a scenario's text; its files are those of fixtures/.
 * @param look is shown the world after the last step
 * @throws what a command would tell the user
 */
export function runYaml(
  host: RunHost,
  text: string,
  arch: ArchName,
  look?: (run: WorldRun) => void,
): TestRun {
  const scenario = parseScenario(text, 'test.yaml', fixture);
  const sink = new EventSink();
  const run = new WorldRun(host, scenario.worlds[arch]!, { events: sink });
  try {
    const events: Event[][] = [];
    const steps = run.steps.map((step) => {
      const seen: Event[] = [];
      const stop = sink.read((event) => seen.push(event));
      const done = run.runStep(step);
      stop();
      events.push(seen);
      return done;
    });
    const failures = steps.flatMap((step) =>
      step.failures.map(({ expect, wanted, got }) => `${expect}: ${wanted}, ${got}`),
    );
    look?.(run);
    return { steps, log: [...run.kernel.context.log], events, failures };
  } finally {
    run.close();
  }
}
