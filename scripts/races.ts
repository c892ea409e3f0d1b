// Explores every race of fixtures/races on both architectures and in both series, and kills every mutant of
// fixtures/mutants; prints what came of it and compares with fixtures/races/recorded.json. --update writes that file.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadHost } from '../cli/host.ts';
import { minimize } from '../testbed/counterexample.ts';
import { Explorer } from '../testbed/explore.ts';
import { type Mutant, parseMutant } from '../testbed/mutant.ts';
import { type RunHost, WorldRun } from '../testbed/run.ts';
import {
  ARCHS,
  type ArchName,
  parseScenario,
  type Scenario,
  type Series,
} from '../testbed/scenario.ts';
import { formatSchedule, turnsOf } from '../testbed/schedule.ts';
import { WatchedRace } from '../testbed/watched-race.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));
const RECORD = join(FIXTURES, 'races/recorded.json');
const SERIES: readonly Series[] = ['v2', 'mainline'];
/** Steps of a mutant's counterexample at most. */
const MOST_STEPS = 15;

/** What one exploration came to. `broken`: by invariant, the shortest schedule that breaks it. */
interface Verdict {
  readonly complete: boolean;
  readonly schedules: number;
  readonly states: number;
  readonly broken: Readonly<Record<string, string>>;
}

interface Kill {
  readonly race: string;
  readonly invariant: string;
  readonly steps: number;
  readonly schedule: string;
}

interface Record_ {
  readonly races: Readonly<Record<string, Verdict>>;
  readonly mutants: Readonly<Record<string, Kill | null>>;
}

const yamlIn = (folder: string): string[] =>
  readdirSync(join(FIXTURES, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.yaml'))
    .sort();

function loadRace(file: string): Scenario {
  const path = join(FIXTURES, 'races', file);
  return parseScenario(readFileSync(path, 'utf8'), path, (name) =>
    readFileSync(resolve(dirname(path), name)),
  );
}

function explore(
  host: RunHost,
  scenario: Scenario,
  arch: ArchName,
  series: Series,
  mutant: Mutant | null = null,
  known: readonly string[] = [],
): Verdict & { steps: Record<string, number> } {
  const world = { ...scenario.worlds[arch]!, series };
  const run = new WorldRun(host, world);
  try {
    run.kernel.context.replacements = mutant?.replacements ?? null;
    const watched = new WatchedRace(run);
    const preemptions = world.bound.preemptions ?? 3;
    const { complete, schedules, states, counterexamples } = new Explorer(watched, {
      preemptions,
    }).explore();
    const broken: Record<string, string> = {};
    const steps: Record<string, number> = {};
    for (const [invariant, found] of counterexamples) {
      if (known.includes(invariant)) continue;
      const { cpus } = minimize(watched, found, { preemptions });
      broken[invariant] = formatSchedule(turnsOf(cpus));
      steps[invariant] = cpus.length;
    }
    return { complete, schedules, states, broken, steps };
  } finally {
    run.close();
  }
}

const differs = (a: unknown, b: unknown): boolean => JSON.stringify(a) !== JSON.stringify(b);
const readRecord = (): Record_ => JSON.parse(readFileSync(RECORD, 'utf8'));

async function main(argv: readonly string[]): Promise<number> {
  const update = argv.includes('--update');
  const host = await loadHost();
  const begun = process.cpuUsage();
  const seconds = () => {
    const { user, system } = process.cpuUsage(begun);
    return (user + system) / 1e6;
  };
  const recorded: Record_ = update ? { races: {}, mutants: {} } : readRecord();
  let wrong = 0;
  const line = (text: string, good: boolean) => {
    if (!good) wrong++;
    process.stdout.write(`${text}${good ? '' : '  NOT AS RECORDED'}\n`);
  };

  const races: Record<string, Verdict> = {};
  const scenarios = new Map(
    yamlIn('races').map((file) => [file.replace(/\.yaml$/, ''), loadRace(file)]),
  );
  process.stdout.write(`${'race'.padEnd(44)} schedules   states  verdict\n`);
  for (const [name, scenario] of scenarios) {
    for (const arch of ARCHS.filter((name) => scenario.archs.includes(name))) {
      for (const series of SERIES) {
        const key = `${name} ${arch} ${series}`;
        const { steps, ...verdict } = explore(host, scenario, arch, series);
        races[key] = verdict;
        const { complete, schedules, states, broken } = verdict;
        const texts = Object.entries(broken).map(([invariant, by]) => `${invariant} by "${by}"`);
        const text = !complete
          ? 'NOT COMPLETE'
          : texts.length === 0
            ? 'holds'
            : `breaks ${texts.join(', ')}`;
        const good = complete && (update || !differs(verdict, recorded.races[key]));
        line(
          `${key.padEnd(44)} ${String(schedules).padStart(9)} ${String(states).padStart(8)}  ${text}`,
          good,
        );
      }
    }
  }
  process.stdout.write(
    `${Object.keys(races).length} explorations, ${seconds().toFixed(1)} s of CPU\n\n`,
  );

  const mutants: Record<string, Kill | null> = {};
  process.stdout.write(`${'mutant'.padEnd(28)} ${'killed in'.padEnd(40)} by\n`);
  for (const file of yamlIn('mutants')) {
    const name = basename(file, '.yaml');
    const path = join(FIXTURES, 'mutants', file);
    const mutant = parseMutant(readFileSync(path, 'utf8'), path);
    const candidates = update ? Object.keys(races) : [recorded.mutants[name]?.race ?? ''];
    mutants[name] = killIn(
      candidates.filter((key) => key in races),
      mutant,
    );
    const kill = mutants[name];
    const text =
      kill === null
        ? 'survives'
        : `${kill.race.padEnd(40)} ${kill.invariant}, ${kill.steps} steps: "${kill.schedule}"`;
    const good =
      kill !== null &&
      kill.steps <= MOST_STEPS &&
      (update || !differs(kill, recorded.mutants[name]));
    line(`${name.padEnd(28)} ${text}`, good);
  }
  process.stdout.write(
    `${Object.keys(mutants).length} mutants, ${seconds().toFixed(1)} s of CPU in all\n`,
  );
  if (update) writeFileSync(RECORD, `${JSON.stringify({ races, mutants }, null, 2)}\n`);
  return wrong === 0 ? 0 : 1;

  /** The first of these races in which the mutant breaks, soon enough, what the kernel as it is does not. */
  function killIn(keys: readonly string[], mutant: Mutant): Kill | null {
    for (const key of keys) {
      const [race, arch, series] = key.split(' ');
      const scenario = scenarios.get(race)!;
      const known = Object.keys(races[key].broken);
      const { broken, steps } = explore(
        host,
        scenario,
        arch as ArchName,
        series as Series,
        mutant,
        known,
      );
      const invariant = Object.keys(broken).find((one) => steps[one] <= MOST_STEPS);
      if (invariant === undefined) continue;
      return { race: key, invariant, steps: steps[invariant], schedule: broken[invariant] };
    }
    return null;
  }
}

process.exitCode = await main(process.argv.slice(2));
