// Runs code by chance in a process that it may take down: `worker.ts ARCH KIND SEED FROM TO`. After each group of cases
// it writes a line of JSON, so that whoever started it knows in which group it died.
import { writeSync } from 'node:fs';
import { argv } from 'node:process';
import { loadHost } from '../../cli/host.ts';
import { WorldRun } from '../../testbed/run.ts';
import type { ArchName } from '../../testbed/scenario.ts';
import { type FuzzKind, generateCode } from './code.ts';
import { Random } from './random.ts';
import { callOf, worldFor } from './world.ts';

/** Cases that share a world, one after another. */
const GROUP = 16;

/** What a group came to. */
export interface GroupReport {
  /** First case behind the group. */
  readonly to: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly faults: number;
  readonly instructions: number;
  /** What must not be: `case 17: ...`. */
  readonly wrong: readonly string[];
}

/** The library's own words. */
const RAW = /UC_ERR|unicorn|qemu|assert/i;

const [arch, kind] = argv.slice(2, 4) as [ArchName, FuzzKind];
const [seed, from, to] = argv.slice(4).map(Number);
const host = await loadHost();

for (let at = from; at < to; at += GROUP) {
  writeSync(1, `${JSON.stringify(runGroup(at, Math.min(at + GROUP, to)))}\n`);
}

function runGroup(first: number, behind: number): GroupReport {
  const outcomes: Record<string, number> = {};
  const wrong: string[] = [];
  let faults = 0;
  let instructions = 0;
  const run = new WorldRun(host, worldFor(arch));
  try {
    for (let n = first; n < behind; n++) {
      const random = new Random(seed, n);
      const code = generateCode(arch, kind, random, host.disassembler);
      try {
        const { seen } = run.runStep(callOf(arch, code, random));
        if (seen.kind !== 'call') throw new TypeError(`a call was seen as ${seen.kind}`);
        outcomes[seen.outcome] = (outcomes[seen.outcome] ?? 0) + 1;
        faults += seen.faults.length;
        instructions += seen.instructions;
        const end = (seen as unknown as { end: { why?: string } }).end;
        if (RAW.test(end.why ?? '')) wrong.push(`case ${n}: ${end.why}`);
      } catch (error) {
        wrong.push(`case ${n}: ${error instanceof Error ? error.stack : error}`);
      }
    }
  } finally {
    run.close();
  }
  return { to: behind, outcomes, faults, instructions, wrong };
}
