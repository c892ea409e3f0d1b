// Cycle files for the oracle script: how the model's cycles agree with the measured ones, by group, beside two naive
// baselines.
import {
  type CycleCase,
  type CycleGroup,
  type CycleReport,
  cycleOracle,
} from '../arch/cycles-oracle.ts';
import type { Score } from '../emulator/cost/score.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';

/** True for a line of a cycle file: a block, or a function with its memory. */
export const isCycleCase = (line: object): boolean =>
  'cycles_per_iter' in line || 'mode' in line || 'code_addr' in line;

/** Answers every case that can be answered. @throws EngineError */
export async function runCycles(lines: readonly CycleCase[]): Promise<CycleReport> {
  return cycleOracle(lines, {
    disassembler: await loadDisassembler(),
    engine: unicornEngine(),
  });
}

const percent = (value: number): string => `${value.toFixed(1)}%`.padStart(8);

/** The table that people read. */
export function cycleTable({ summary, unanswered }: CycleReport): string[] {
  const head =
    'group               n     MAPE   median  <=10%   <=25%     tau   | one a cycle  full width';
  const line = ({ group, model, oneACycle, fullWidth }: CycleGroup) =>
    [
      group.padEnd(16),
      String(model.n).padStart(5),
      percent(model.mape),
      percent(model.median),
      percent(model.within10),
      percent(model.within25),
      model.tau.toFixed(3).padStart(7),
      '  |',
      baseline(oneACycle),
      baseline(fullWidth),
    ].join(' ');
  return [
    head,
    ...summary.map(line),
    ...unanswered.map(({ id, why }) => `${id}: no answer, ${why}`),
  ];
}

const baseline = ({ mape, tau }: Score): string => `${percent(mape)} ${tau.toFixed(2)}`;

/** The same for `--json`, under the names of the table. */
export const cycleJson = ({ summary }: CycleReport): object[] =>
  summary.map(({ group, model, oneACycle, fullWidth }) => ({
    category: group,
    ...model,
    baselines: { one_a_cycle: oneACycle, full_width: fullWidth },
  }));
