// Scenario files from the disk, and which of their worlds a command is to run. Loads nothing that runs code.
import { dirname, resolve } from 'node:path';
import { type Mutant, parseMutant } from '../testbed/mutant.ts';
import { type ArchName, parseScenario, type Scenario, type World } from '../testbed/scenario.ts';
import { CliError } from './errors.ts';
import { readText } from './files.ts';
import type { Io } from './io.ts';

/** Reads and checks a scenario file. @throws CliError, ScenarioError */
export function loadScenario(path: string, io: Io): Scenario {
  const folder = dirname(path);
  return parseScenario(readText(path, io), path, (name) => io.readFile(resolve(folder, name)));
}

/** Reads a mutant. @throws CliError, ScenarioError */
export const loadMutant = (path: string, io: Io): Mutant => parseMutant(readText(path, io), path);

/** The scenario in another series than its file says. */
export function withSeries(scenario: Scenario, series: string | undefined): Scenario {
  if (series === undefined || series === scenario.series) return scenario;
  const chosen = series as Scenario['series'];
  const worlds = Object.fromEntries(
    Object.entries(scenario.worlds).map(([arch, world]) => [arch, { ...world, series: chosen }]),
  );
  return { ...scenario, series: chosen, worlds };
}

/** The world of an architecture that the scenario has. */
export const worldOf = (scenario: Scenario, arch: ArchName): World => scenario.worlds[arch]!;

/**
 * Architectures to run on.
 * @throws CliError if the scenario is not for the one that is wanted
 */
export function pickArchs(scenario: Scenario, wanted: string | undefined): readonly ArchName[] {
  if (wanted === undefined) return scenario.archs;
  const arch = scenario.archs.find((name) => name === wanted);
  if (arch === undefined) {
    const has = scenario.archs.join(', ');
    throw new CliError(`${scenario.file}: is not for ${wanted}`, `it is for ${has}`);
  }
  return [arch];
}

/** The one architecture to work on. @throws CliError if several are left or none */
export function pickArch(scenario: Scenario, wanted: string | undefined): ArchName {
  const archs = pickArchs(scenario, wanted);
  if (archs.length === 1) return archs[0];
  throw new CliError(
    `${scenario.file}: is for ${archs.join(' and ')}`,
    `say which: --arch ${archs.join(' or --arch ')}`,
  );
}
