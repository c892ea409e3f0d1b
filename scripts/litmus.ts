// Explores every litmus test of fixtures/litmus completely, without and with FEAT_ETS2, and compares what can be reached
// with the published verdicts. Exits 0 only if all agree.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { loadHost } from '../cli/host.ts';
import { reaches, runLitmus } from '../testbed/litmus.ts';
import { parseScenario } from '../testbed/scenario.ts';

const FOLDER = fileURLToPath(new URL('../fixtures/litmus/', import.meta.url));
const MODELS = ['vmsa', 'vmsa-ets2'] as const;

interface Verdict {
  readonly test: string;
  readonly from: string;
  readonly final: string;
  readonly vmsa: 'allowed' | 'forbidden';
  readonly 'vmsa-ets2': 'allowed' | 'forbidden';
  /** Why a state that is allowed is not reached. */
  readonly not_modelled?: string;
}

const host = await loadHost();
const verdicts: Verdict[] = parse(readFileSync(join(FOLDER, 'verdicts.txt'), 'utf8'));
let wrong = 0;
let notModelled = 0;
process.stdout.write(
  `${'test'.padEnd(42)} ${'model'.padEnd(10)} ${'final state'.padEnd(16)} ${'published'.padEnd(10)} ours\n`,
);
for (const verdict of verdicts) {
  const file = join(FOLDER, `${verdict.test}.yaml`);
  const { worlds } = parseScenario(readFileSync(file, 'utf8'), file, (name) =>
    readFileSync(join(FOLDER, name)),
  );
  for (const memory of MODELS) {
    const { finals, complete, schedules } = runLitmus(host, { ...worlds.arm64!, memory });
    const reached = reaches(finals, verdict.final);
    const published = verdict[memory];
    const weaker = published === 'allowed' && !reached && verdict.not_modelled !== undefined;
    const agrees = complete && reached === (published === 'allowed');
    if (weaker) notModelled++;
    else if (!agrees) wrong++;
    const ours = `${reached ? 'reached' : 'not reached'}, ${schedules} schedules`;
    const note = weaker ? `  not modelled: ${verdict.not_modelled}` : agrees ? '' : '  DIFFERS';
    const { test, final } = verdict;
    process.stdout.write(
      `${test.padEnd(42)} ${memory.padEnd(10)} ${final.padEnd(16)} ${published.padEnd(10)} ${ours}${note}\n`,
    );
    if (process.argv.includes('--states')) process.stdout.write(`    ${finals.join('; ')}\n`);
  }
}
const { user, system } = process.cpuUsage();
process.stdout.write(
  `${verdicts.length * MODELS.length} verdicts: ${wrong} differ, ${notModelled} not modelled, ${((user + system) / 1e6).toFixed(1)} s of CPU\n`,
);
process.exitCode = wrong === 0 ? 0 : 1;
