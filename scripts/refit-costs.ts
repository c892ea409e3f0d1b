// Fits the constants of the x86-64 core that were fitted to measured blocks once more, to a random part of them, and
// says how the rest scores: does the fit hold for code that it has not seen?
//   npx tsx scripts/refit-costs.ts [--seed N] [--every N] FILE.jsonl...
// Starts every constant at the first of its candidates, far from the fit, and goes through them one at a time, keeping
// what lowers the mean error on 80 % of the cases (of those, for the search, one in --every). Takes minutes.
import { readFileSync } from 'node:fs';
import { type CycleCase, cycleOracle } from '../arch/cycles-oracle.ts';
import { PORTS } from '../arch/x86/cost-classes.ts';
import { goldenCove, goldenCoveFrontEnd } from '../arch/x86/cost-core.ts';
import type { CoreModel } from '../emulator/cost/run.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';
import { Random } from './fuzz/random.ts';

/** Share of the cases that the constants are fitted to. */
const FITTED = 0.8;

/** What was fitted, and what it might be. */
const CORE = {
  window: [512, 384, 256, 192],
  takenBranchPorts: [PORTS.branch, PORTS.shift],
  blockedForwarding: [13, 15, 17, 19],
  rememberedLoads: [800, 400, 200],
} as const;
const FRONT_END = {
  windowInstructions: [6, 7, 8, 9, 10],
  fullGroupTicks: [60, 63, 66, 69, 72],
  nearBytes: [0, 32, 64, 128],
  loopExitCycles: [0, 1, 2, 3, 4, 5],
} as const;

type Constants = Record<keyof typeof CORE | keyof typeof FRONT_END, number>;
const CANDIDATES: readonly (readonly [keyof Constants, readonly number[]])[] = [
  ...(Object.keys(FRONT_END) as (keyof typeof FRONT_END)[]).map(
    (name) => [name, FRONT_END[name]] as const,
  ),
  ...(Object.keys(CORE) as (keyof typeof CORE)[]).map((name) => [name, CORE[name]] as const),
];

function modelOf(constants: Constants): CoreModel {
  const { windowInstructions, fullGroupTicks, nearBytes, loopExitCycles, ...core } = constants;
  return {
    core: { ...goldenCove, ...core },
    frontEnd: {
      ...goldenCoveFrontEnd,
      ...{ windowInstructions, fullGroupTicks, nearBytes, loopExitCycles },
    },
  };
}

const SHIPPED = Object.fromEntries(
  CANDIDATES.map(([name]) => [
    name,
    { ...goldenCove, ...goldenCoveFrontEnd }[name as keyof typeof goldenCove],
  ]),
) as Constants;

const option = (args: string[], name: string, fallback: number): number => {
  const at = args.indexOf(name);
  return at < 0 ? fallback : Number(args.splice(at, 2)[1]);
};

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  const seed = option(args, '--seed', 1);
  const every = option(args, '--every', 2);
  if (args.length === 0 || !(every >= 1) || !Number.isInteger(seed)) {
    console.error('usage: npx tsx scripts/refit-costs.ts [--seed N] [--every N] FILE.jsonl...');
    process.exit(2);
  }
  const cases = args
    .flatMap((file) => readFileSync(file, 'utf8').trim().split('\n'))
    .map((line) => JSON.parse(line) as CycleCase)
    .filter(({ arch }) => arch !== 'arm64');
  const random = new Random(seed, 0);
  const inFit = cases.map(() => random.chance(FITTED));
  const fitted = cases.filter((_, n) => inFit[n]);
  const rest = cases.filter((_, n) => !inFit[n]);
  const searched = fitted.filter((_, n) => n % every === 0);

  const disassembler = await loadDisassembler();
  /** Mean error in percent. */
  const errorOf = (lines: readonly CycleCase[], constants: Constants): number => {
    const deps = { disassembler, engine: unicornEngine(), x86Model: modelOf(constants) };
    const { answers } = cycleOracle(lines, deps);
    const found = new Map(answers.map(({ id, cycles }) => [id, cycles]));
    const errors = lines.map(({ id, cycles_per_iter: measured = 1 }) =>
      Math.abs(((found.get(id) ?? 0) - measured) / measured),
    );
    return (100 * errors.reduce((sum, error) => sum + error, 0)) / errors.length;
  };
  const show = (percent: number) => `${percent.toFixed(2)} %`;

  let best = Object.fromEntries(CANDIDATES.map(([name, [first]]) => [name, first])) as Constants;
  let error = errorOf(searched, best);
  console.log(`seed ${seed}: ${fitted.length} cases to fit, ${rest.length} held back`);
  console.log(`start: ${show(error)} on ${searched.length} of those to fit`);
  for (const [name, values] of CANDIDATES) {
    for (const value of values) {
      if (value === best[name]) continue;
      const tried = { ...best, [name]: value };
      const found = errorOf(searched, tried);
      if (found < error) [best, error] = [tried, found];
    }
    console.log(`${name}: ${best[name]} (shipped ${SHIPPED[name]}), ${show(error)}`);
  }
  for (const [what, constants] of [
    ['refitted', best],
    ['shipped', SHIPPED],
  ] as const) {
    const [held, whole] = [errorOf(rest, constants), errorOf(cases, constants)];
    console.log(`${what}: held back ${show(held)}, all ${show(whole)}`);
  }
}

await main();
