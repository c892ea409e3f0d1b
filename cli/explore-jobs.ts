// Explores in several processes, each of them a shard: the engine's native state belongs to one process.
import { spawn } from 'node:child_process';
import { CliError } from './errors.ts';
import type { ExploreOptions } from './explore.ts';
import { type ExploreDocument, mergeDocuments } from './explore-report.ts';
import type { Io } from './io.ts';

/** @throws CliError for options that shards cannot share */
export async function exploreInJobs(
  file: string,
  options: ExploreOptions,
  archs: readonly string[],
  io: Io,
): Promise<ExploreDocument[]> {
  if (
    options.mode !== 'exhaustive' ||
    options.shard !== undefined ||
    options.resume !== undefined ||
    options.save !== undefined
  ) {
    throw new CliError(
      '--jobs divides an exhaustive exploration alone',
      'leave out --mode, --shard, --save and --resume',
    );
  }
  const count = options.jobs!;
  const given = [
    ['--arch', options.arch],
    ['--series', options.series],
    ['--mutant', options.mutant],
    ...(options.replace ?? []).map((one) => ['--replace', one]),
    ['--assembler', options.assembler],
    ['--preemptions', options.preemptions],
    ['--stop-after', options.stopAfter === undefined ? undefined : String(options.stopAfter)],
  ].flatMap(([name, value]) => (value === undefined ? [] : [name!, value]));
  let done = 0;
  const jobs = Array.from({ length: count }, async (_, i) => {
    const text = await runSelf([
      'explore',
      file,
      '--json',
      '--shard',
      `${i + 1}/${count}`,
      ...given,
    ]);
    if (io.terminal) io.err(`\r\x1b[K${++done} of ${count} shards`);
    const parsed = JSON.parse(text);
    return (parsed.results ?? [parsed]) as ExploreDocument[];
  });
  const parts = (await Promise.all(jobs)).flat();
  if (io.terminal) io.err('\r\x1b[K');
  return mergeDocuments(parts, file).sort((a, b) => archs.indexOf(a.arch) - archs.indexOf(b.arch));
}

/** Runs this program with other arguments. @returns what it printed */
function runSelf(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1], ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.stderr.on('data', (chunk) => {
      err += chunk;
    });
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0 || code === 1) resolve(out);
      else
        reject(new CliError(`a shard failed: ${err.trim()}`, 'run it without --jobs to see more'));
    });
  });
}
