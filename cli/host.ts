// What commands that run code share: the engine and the tools, loaded once, and scenario files from the disk.
import { dirname, extname, resolve } from 'node:path';
import { type Assembler, loadAssembler } from '../emulator/assembler.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { Machines } from '../testbed/machines.ts';
import { rememberAssembler, rememberDisassembler } from '../testbed/remembered.ts';
import type { RunHost } from '../testbed/run.ts';
import { parseScenario, type Scenario } from '../testbed/scenario.ts';
import { CliError, cannotRead } from './errors.ts';
import type { Io } from './io.ts';

/** Our assembler, or GNU as (`gnu`), whose absence shows when it is used. */
export async function loadNamedAssembler(name: string | undefined): Promise<Assembler> {
  if (name !== 'gnu') return loadAssembler();
  const { assembleWithGnu } = await import('./gnu-as.ts');
  return { assemble: assembleWithGnu };
}

/** The engine, the assembler and the disassembler. @throws EngineError with what to do */
export async function loadHost(assemblerName?: string): Promise<RunHost> {
  const [assembler, disassembler] = await Promise.all([
    loadNamedAssembler(assemblerName),
    loadDisassembler(),
  ]);
  return {
    machines: new Machines(unicornEngine()),
    assembler: rememberAssembler(assembler),
    disassembler: rememberDisassembler(disassembler),
  };
}

/** The text of a UTF-8 file. @throws CliError if it cannot be read or is no text */
export function readText(path: string, io: Io): string {
  let bytes: Uint8Array;
  try {
    bytes = io.readFile(path);
  } catch (error) {
    throw cannotRead(path, error);
  }
  try {
    // Neither format has a use for a zero byte; files that are no text are full of them.
    if (!bytes.includes(0)) return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // Not UTF-8.
  }
  throw new CliError(
    `${path}: is not UTF-8 text`,
    'give a scenario (.yaml, .json) or assembly (.S, .s)',
  );
}

/** Reads and checks a scenario file. @throws CliError, ScenarioError */
export function loadScenario(path: string, io: Io): Scenario {
  const folder = dirname(path);
  return parseScenario(readText(path, io), path, (name) => io.readFile(resolve(folder, name)));
}

export const isScenarioFile = (path: string): boolean =>
  ['.yaml', '.yml', '.json'].includes(extname(path));

/** The scenario in another series than its file says. */
export function withSeries(scenario: Scenario, series: string | undefined): Scenario {
  if (series === undefined || series === scenario.series) return scenario;
  const chosen = series as Scenario['series'];
  const worlds = Object.fromEntries(
    Object.entries(scenario.worlds).map(([arch, world]) => [arch, { ...world, series: chosen }]),
  );
  return { ...scenario, series: chosen, worlds };
}
