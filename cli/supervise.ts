// Code that somebody else made (assembly, objects) is run by a second process of the same command, whose streams are ours:
// an encoding that takes the engine down then ends that process, and this one finds out with care where (guard.ts) and
// says so. Scenario files are run without: they cost a start less, and `faultline test` guards them.
import { spawnSync } from 'node:child_process';
import type { RunDocument } from '../testbed/document.ts';
import type { ArchName } from '../testbed/scenario.ts';
import { CliError, EXIT } from './errors.ts';
import { isScenarioFile } from './files.ts';
import { Guard } from './guard.ts';
import type { Io } from './io.ts';
import type { RunOptions } from './run.ts';

/** Set in the second process. */
const MARK = 'FAULTLINE_SUPERVISED';
/** Signals of a process that its own code takes down; any other was somebody's wish. */
const DEADLY = ['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP'];
const SIGNAL_EXIT = 128;
/** Seconds that the search may take for one world. */
const PATIENCE = 120;

/**
 * Runs the command again in a second process, if the file calls for it.
 * @returns the exit code, or null where the caller is to run the file itself
 */
export async function supervised(
  file: string,
  options: RunOptions,
  io: Io,
  makeGuard = () => new Guard(PATIENCE),
): Promise<number | null> {
  if (io.command === null || process.env[MARK] || file === '-' || isScenarioFile(file)) return null;
  const [program, ...argv] = io.command;
  const child = spawnSync(program, argv, {
    env: { ...process.env, [MARK]: '1' },
    stdio: ['inherit', 'inherit', 'pipe'],
  });
  if (child.error) throw child.error;
  if (child.signal === null || !DEADLY.includes(child.signal)) {
    io.err(child.stderr.toString());
    return child.status ?? SIGNAL_EXIT;
  }
  const guard = makeGuard();
  try {
    return await explain(guard, file, options, io);
  } finally {
    guard.close();
  }
}

async function explain(guard: Guard, file: string, options: RunOptions, io: Io): Promise<number> {
  const job = { file, options };
  const { archs } = await guard.read(job);
  const documents: RunDocument[] = [];
  for (const arch of archs.filter((one) => one === (options.arch ?? one))) {
    documents.push(await endOf(guard, job, arch));
  }
  const pass = documents.every((document) => document.pass);
  if (options.json) {
    const [only] = documents;
    const passed = documents.filter((document) => document.pass).length;
    const failed = documents.length - passed;
    const whole =
      documents.length === 1 ? only : { passed, failed, skipped: 0, results: documents };
    io.out(`${JSON.stringify(whole, null, 2)}\n`);
  } else for (const document of documents) io.out(`${linesOf(document).join('\n')}\n`);
  return pass ? EXIT.ok : EXIT.differs;
}

async function endOf(
  guard: Guard,
  job: Parameters<Guard['run']>[0],
  arch: ArchName,
): Promise<RunDocument> {
  const verdict = await guard.run(job, arch);
  if (verdict.kind === 'ran') return verdict.ran.document;
  if (verdict.kind === 'refused') throw new CliError(verdict.message, verdict.remedy);
  const at = verdict.place === null ? '' : ` at 0x${verdict.place.ip.toString(16)}`;
  throw new CliError(
    `${job.file}: the engine died or stood still${at}, and again when that was kept from it`,
    'give a smaller piece of the code',
  );
}

/** What a person is told of a world whose story broke off. */
function linesOf(document: RunDocument): string[] {
  const { name, arch, outcome, why, ip, bytes, instructions, replay } = document;
  const where = ip === undefined ? '' : ` at ${ip}: ${bytes}`;
  return [
    `${name} (${arch})`,
    `${outcome}${why === undefined ? '' : `: ${why}`}${where}; ${instructions} instructions before it`,
    `replay: ${replay}`,
  ];
}
