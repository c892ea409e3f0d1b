// The child process that runs what nobody trusts: it takes one world after another from its parent (guard.ts), runs
// them and answers with plain data. It stays warm; when the engine takes it down, the parent starts another.
import { writeSync } from 'node:fs';
import { virtAddr } from '../emulator/address.ts';
import type { Witness } from '../emulator/engine.ts';
import { driveCarefully, type Place } from '../testbed/careful.ts';
import type { WorldRun } from '../testbed/run.ts';
import type { Scenario } from '../testbed/scenario.ts';
import { costingFrom, costReplay } from './cost.ts';
import { isUserError } from './errors.ts';
import { execute } from './execute.ts';
import { loadHost } from './host.ts';
import { processIo } from './io.ts';
import { replayOptions, scenarioFrom } from './program.ts';
import { raceOptions, scheduleOf } from './run-race.ts';
import { loadMutant } from './scenario-file.ts';
import { type Answer, type Task, writePlace } from './worker-protocol.ts';

/** Longest x86 instruction. */
const LONGEST = 15;

/** A preset for one of them leaves the other's worlds to the default. */
const ARCHS = ['x86_64', 'arm64'] as const;

const io = processIo();

// The parent is gone.
process.on('disconnect', () => process.exit());
process.on('message', (task: Task) => void answerTo(task).then(say));
say(await greet());

function say(answer: Answer): void {
  process.send?.(answer);
}

async function greet(): Promise<Answer> {
  try {
    await loadHost();
    return { kind: 'ready' };
  } catch (error) {
    return failure(error, 'unusable');
  }
}

async function answerTo(task: Task): Promise<Answer> {
  try {
    const scenario = read(task);
    if (task.arch === null) return { kind: 'read', name: scenario.name, archs: scenario.archs };
    const { options, condemned } = task;
    const note = (place: Place) => void writeSync(task.notesFd, writePlace(place), 0, undefined, 0);
    const closely = task.notesFrom !== null && Number.isFinite(task.notesFrom);
    const witness: Witness = (ip, code) => note({ inCore: true, retired: 0, ip, code });
    const host = await loadHost(options.assembler, condemned, closely ? witness : null);
    const { document, steps, pass } = execute(host, scenario, task.arch, {
      replayOptions: replayOptions(options) + costReplay(options) + raceOptions(options),
      schedule: scheduleOf(scenario, options.schedule),
      mutant: options.mutant === undefined ? undefined : loadMutant(options.mutant, io),
      costing: costingFrom(options, ARCHS, host, io),
      prepare: (run) => takeNotes(run, task.notesFrom, note),
    });
    const failures = steps.flatMap(({ step, failures: list }) =>
      list.map((failure) => ({ ...failure, line: step.line })),
    );
    return { kind: 'ran', ran: { document, failures, pass } };
  } catch (error) {
    return failure(error, 'refused');
  }
}

let last: { readonly key: string; readonly scenario: Scenario } | null = null;

/** The same file comes once to be read, and then for each of its worlds. */
function read({ file, options, arch }: Task): Scenario {
  const key = JSON.stringify([file, options]);
  if (arch === null || last?.key !== key) {
    last = null;
    last = { key, scenario: scenarioFrom(file, options, io) };
  }
  return last.scenario;
}

function failure(error: unknown, kind: 'unusable' | 'refused'): Answer {
  if (isUserError(error)) return { kind, message: error.message, remedy: error.remedy };
  return { kind: 'fault', stack: error instanceof Error ? (error.stack ?? '') : String(error) };
}

function takeNotes({ kernel }: WorldRun, from: number | null, note: (place: Place) => void): void {
  if (from === null) return;
  const { instructions } = kernel.arch.description;
  const codeAt = (ip: bigint) => {
    const code: number[] = [];
    while (code.length < LONGEST) {
      const byte = kernel.memory.read(virtAddr(BigInt.asUintN(64, ip + BigInt(code.length))), 1);
      if (byte === null) break;
      code.push(byte[0]);
    }
    const all = Uint8Array.from(code);
    return all.subarray(0, instructions.length(all) || all.length);
  };
  for (const vcpu of kernel.cpus) vcpu.drive = driveCarefully(note, from, codeAt);
}
