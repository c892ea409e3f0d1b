// faultline test: every scenario below the paths, one line each.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { hex } from '../emulator/bits.ts';
import { type CostOptions, presetsFrom } from './cost.ts';
import { CliError, cannotRead, EXIT, isUserError } from './errors.ts';
import { isScenarioFile } from './files.ts';
import { Guard, type Verdict } from './guard.ts';
import type { Io } from './io.ts';
import { createReporter, type ReporterName, type TestResult } from './reporters.ts';

export interface TestOptions extends CostOptions {
  readonly arch?: string;
  readonly series?: string;
  readonly assembler?: string;
  readonly reporter: ReporterName;
  readonly json?: boolean;
  /** i/n */
  readonly shard?: string;
  readonly filter?: string;
  /** FUNCTION=OBJECT, each */
  readonly replace?: readonly string[];
  /** Seconds that one scenario may run on one architecture. */
  readonly timeout?: number;
}

const DEFAULT_TIMEOUT = 120;

/** Guards keep a warm process for the next call. */
const guards = new Map<number, Guard>();

function guardFor(seconds: number): Guard {
  const guard = guards.get(seconds) ?? new Guard(seconds);
  guards.set(seconds, guard);
  guard.warmUp();
  return guard;
}

/**
 * @param paths scenario files and folders; the present folder if there are none
 * @returns the exit code: a file that cannot be used counts as failed and makes it 2
 */
export async function testCommand(paths: readonly string[], options: TestOptions, io: Io) {
  const files = [...new Set((paths.length === 0 ? ['.'] : paths).flatMap(scenariosBelow))].sort();
  const chosen = shard(
    files.filter((file) => file.includes(options.filter ?? '')),
    options.shard,
  );
  if (chosen.length === 0) {
    throw new CliError('test: no scenario is left to run', 'check the paths, --filter and --shard');
  }
  // A bad preset is told once.
  if (options.costPreset !== undefined) presetsFrom(options.costPreset, io);
  const guard = guardFor(options.timeout ?? DEFAULT_TIMEOUT);
  const reporter = createReporter(options.json ? 'json' : options.reporter, io);
  reporter.start(chosen.length);
  let bad = false;
  let failed = false;
  // The lines of the default report are progress enough.
  const shows = io.terminal && (options.json || options.reporter !== 'default');
  for (const [i, file] of chosen.entries()) {
    if (shows) io.err(`\r\x1b[K${i + 1}/${chosen.length} ${file}`);
    for (const result of await runFile(file)) {
      reporter.result(result);
      failed ||= result.status === 'failed';
      bad ||= result.error !== null;
    }
  }
  if (shows) io.err('\r\x1b[K');
  reporter.end();
  return bad ? EXIT.usage : failed ? EXIT.differs : EXIT.ok;

  async function runFile(file: string): Promise<TestResult[]> {
    const none = { failures: [], document: null, error: null };
    const { arch, series, assembler, cost, costPreset, replace } = options;
    const job = { file, options: { arch, series, assembler, cost, costPreset, replace } };
    try {
      const { name, archs } = await guard.read(job);
      const chosen = archs.filter((arch) => arch === (options.arch ?? arch));
      if (chosen.length === 0) {
        const why = `not for ${options.arch}`;
        return [{ ...none, name: file, arch: null, status: 'skipped', why }];
      }
      const results: TestResult[] = [];
      for (const arch of chosen) {
        const ran = resultOf(await guard.run(job, arch));
        const status = ran.document?.pass ? 'passed' : 'failed';
        results.push({ ...ran, name: file, arch, status, why: name });
      }
      return results;
    } catch (error) {
      if (!isUserError(error)) throw error;
      const { message, remedy } = error;
      return [
        { ...none, name: file, arch: null, status: 'failed', why: '', error: { message, remedy } },
      ];
    }
  }
}

/** @throws CliError for bad input */
function resultOf(verdict: Verdict): Pick<TestResult, 'failures' | 'document' | 'error'> {
  if (verdict.kind === 'refused') throw new CliError(verdict.message, verdict.remedy);
  if (verdict.kind === 'ran') {
    return { failures: verdict.ran.failures, document: verdict.ran.document, error: null };
  }
  const { place } = verdict;
  const at = place === null ? '' : ` at ${hex(place.ip)}`;
  const got =
    verdict.kind === 'late' ? `still running${at}` : `engine: the process died again${at}`;
  const failures = [{ expect: 'outcome', wanted: 'an end within --timeout', got, line: 1 }];
  return { failures, document: null, error: null };
}

/** A folder with a file of this name is left out, unless it is named outright: its scenarios are wrong on purpose. */
const SKIP_MARK = '.faultline-skip';

function scenariosBelow(path: string): string[] {
  let isFolder: boolean;
  try {
    isFolder = statSync(path).isDirectory();
  } catch (error) {
    throw cannotRead(path, error);
  }
  if (!isFolder) {
    if (isScenarioFile(path)) return [path];
    throw new CliError(
      `${path}: is no scenario (.yaml, .json)`,
      'give scenarios or folders of them',
    );
  }
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name.startsWith('.') || entry.name === 'node_modules') return [];
    const inner = join(path, entry.name);
    if (entry.isDirectory()) {
      return existsSync(join(inner, SKIP_MARK)) ? [] : scenariosBelow(inner);
    }
    // JSON of other kinds lies about everywhere; a scenario written in JSON is named outright.
    return /\.ya?ml$/.test(entry.name) ? [inner] : [];
  });
}

function shard(files: readonly string[], text: string | undefined): readonly string[] {
  if (text === undefined) return files;
  const [, i, n] = (/^(\d+)\/(\d+)$/.exec(text) ?? []).map(Number);
  if (!(i >= 1 && i <= n))
    throw new CliError(`--shard: ${text} is no part`, 'give i/n with 1 <= i <= n');
  return files.filter((_, at) => at % n === i - 1);
}
