// Many cases of code by chance, in processes that may die of them. A group in which one died is run again case by case
// by the guard that suites run under, which must give every one an outcome.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Guard } from '../../cli/guard.ts';
import { loadDisassembler } from '../../emulator/disassembler.ts';
import type { ArchName } from '../../testbed/scenario.ts';
import { type FuzzKind, generateCode } from './code.ts';
import { Random } from './random.ts';
import type { GroupReport } from './worker.ts';
import { callOf, scenarioText } from './world.ts';

const GROUP = 16;
/** Seconds without a report after which a process counts as hung. */
const PATIENCE = 60;

export interface Campaign {
  readonly arch: ArchName;
  readonly kind: FuzzKind;
  readonly seed: number;
  /** First case, and the one behind the last. */
  readonly from: number;
  readonly to: number;
}

export interface CampaignReport {
  readonly cases: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly faults: number;
  readonly instructions: number;
  /** Cases that took a process down, and what the guard made of them. */
  readonly deaths: readonly string[];
  readonly wrong: readonly string[];
}

/** @param told hears how many cases are done */
export async function runCampaign(
  campaign: Campaign,
  told: (done: number) => void = () => {},
): Promise<CampaignReport> {
  const { from, to } = campaign;
  const total = { faults: 0, instructions: 0 };
  const outcomes: Record<string, number> = {};
  const count = (outcome: string, n: number) => {
    outcomes[outcome] = (outcomes[outcome] ?? 0) + n;
  };
  const deaths: string[] = [];
  const wrong: string[] = [];
  let at = from;
  while (at < to) {
    const { died, noise } = await runProcess({ ...campaign, from: at }, (report) => {
      at = report.to;
      for (const [outcome, n] of Object.entries(report.outcomes)) count(outcome, n);
      total.faults += report.faults;
      total.instructions += report.instructions;
      wrong.push(...report.wrong);
      told(at - from);
    });
    if (died === null && at < to) wrong.push(`case ${at}: the process ended early\n${noise}`);
    if (at >= to) break;
    const behind = Math.min(at + GROUP, to);
    const found = await caseByCase({ ...campaign, from: at, to: behind });
    for (const outcome of found.outcomes) count(outcome, 1);
    deaths.push(...found.deaths);
    wrong.push(...found.wrong);
    if (found.deaths.length === 0)
      wrong.push(`cases ${at} to ${behind - 1}: ${died}, together only`);
    at = behind;
  }
  return { cases: to - from, outcomes, ...total, deaths, wrong };
}

async function runProcess(
  { arch, kind, seed, from, to }: Campaign,
  onReport: (report: GroupReport) => void,
): Promise<{ died: string | null; noise: string }> {
  const worker = fileURLToPath(new URL('worker.ts', import.meta.url));
  const args = ['--import', 'tsx', worker, arch, kind, `${seed}`, `${from}`, `${to}`];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let noise = '';
  child.stderr.on('data', (data) => {
    noise = (noise + data).slice(-4000);
  });
  const ended = new Promise<string | null>((resolve) => {
    child.on('exit', (code, signal) =>
      resolve(code === 0 ? null : (signal ?? `exit code ${code}`)),
    );
  });
  let clock = setTimeout(() => {}, 0);
  const patience = () => {
    clearTimeout(clock);
    clock = setTimeout(() => child.kill('SIGKILL'), PATIENCE * 1000);
  };
  patience();
  for await (const line of createInterface({ input: child.stdout })) {
    onReport(JSON.parse(line));
    patience();
  }
  const died = await ended;
  clearTimeout(clock);
  return { died, noise };
}

async function caseByCase({ arch, kind, seed, from, to }: Campaign) {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-fuzz-'));
  const guard = new Guard(PATIENCE);
  const disassembler = await loadDisassembler();
  const outcomes: string[] = [];
  const deaths: string[] = [];
  const wrong: string[] = [];
  try {
    for (let n = from; n < to; n++) {
      const random = new Random(seed, n);
      const call = callOf(arch, generateCode(arch, kind, random, disassembler), random);
      const file = join(folder, `${n}.json`);
      writeFileSync(file, scenarioText(arch, call));
      const verdict = await guard.run({ file, options: {} }, arch);
      const text = `case ${n}: ${JSON.stringify(call.code.kind === 'bytes' ? Buffer.from(call.code.bytes).toString('hex') : '')}`;
      if (verdict.kind !== 'ran') wrong.push(`${text} ends as ${verdict.kind}`);
      else {
        const { outcome, why, bytes } = verdict.ran.document;
        outcomes.push(`${outcome}`);
        if (/^the engine (aborts|hangs)/.test(`${why}`)) deaths.push(`${text}: ${why}: ${bytes}`);
      }
    }
  } finally {
    guard.close();
    rmSync(folder, { recursive: true });
  }
  return { outcomes, deaths, wrong };
}
