// What commands that run code share: the engine and the tools, loaded once, and scenario files from the disk.
import { dirname, extname, resolve } from 'node:path';
import { type Assembler, loadAssembler } from '../emulator/assembler.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { Machines } from '../testbed/machines.ts';
import { rememberAssembler, rememberDisassembler } from '../testbed/remembered.ts';
import type { RunHost } from '../testbed/run.ts';
import { parseScenario, type Scenario } from '../testbed/scenario.ts';
import { readText } from './files.ts';
import type { Io } from './io.ts';

/** Our assembler, or GNU as (`gnu`), whose absence shows when it is used. */
export async function loadNamedAssembler(name: string | undefined): Promise<Assembler> {
  if (name !== 'gnu') return loadAssembler();
  const { assembleWithGnu } = await import('./gnu-as.ts');
  return { assemble: assembleWithGnu };
}

/** One process has one store of machines: they are used again from one command to the next. */
let machines: Machines | null = null;

/** The engine, the assembler and the disassembler. @throws EngineError with what to do */
export async function loadHost(assemblerName?: string): Promise<RunHost> {
  const [assembler, disassembler] = await Promise.all([
    loadNamedAssembler(assemblerName),
    loadDisassembler(),
  ]);
  machines ??= new Machines(unicornEngine());
  return {
    machines,
    assembler: rememberAssembler(assembler),
    disassembler: rememberDisassembler(disassembler),
  };
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
