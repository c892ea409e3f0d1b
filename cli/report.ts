// `run --report FILE`: the HTML page of a run.
import { readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pageOf } from '../testbed/report/page.ts';
import { CliError } from './errors.ts';
import type { Executed } from './execute.ts';

/** Files beside this one, in the source as in the bundle. */
const asset = (name: string): string =>
  readFileSync(new URL(`report-page.${name}`, import.meta.url), 'utf8');

/**
 * Writes the page, whole or not at all.
 * @throws CliError for a file that cannot be written
 */
export function writeReport(file: string, done: readonly Executed[]): void {
  const reports = done.flatMap(({ report }) => report ?? []);
  const page = pageOf(reports, { css: asset('css'), script: asset('js') });
  try {
    replaceFile(file, page);
  } catch (error) {
    throw cannotWrite(file, error);
  }
}

/** Writes beside the file and moves it there, so that no half of a page is ever under its name. */
function replaceFile(file: string, text: string): void {
  const there = statSync(file, { throwIfNoEntry: false });
  // A device or a pipe is written to, and not replaced.
  if (there !== undefined && !there.isFile()) {
    writeFileSync(file, text);
    return;
  }
  const target = there === undefined ? file : realpathSync(file);
  const half = join(dirname(target), `.faultline-${process.pid}.tmp`);
  try {
    writeFileSync(half, text);
    renameSync(half, target);
  } catch (error) {
    rmSync(half, { force: true });
    throw error;
  }
}

/** Looks before a long run. @throws CliError for a file that cannot be written anyway */
export function checkReport(file: string): void {
  const isFolder = (path: string): boolean => {
    try {
      return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
    } catch (error) {
      throw cannotWrite(file, error);
    }
  };
  if (file === '') throw new CliError('--report: no file is named', 'give a file');
  if (isFolder(file)) throw new CliError(`--report ${file}: is a directory`, 'give a file');
  if (!isFolder(dirname(file))) {
    throw new CliError(`--report ${file}: there is no folder ${dirname(file)}`, 'check the path');
  }
}

function cannotWrite(file: string, error: unknown): CliError {
  const why = error instanceof Error ? error.message : String(error);
  return new CliError(`--report ${file}: cannot be written: ${why}`, 'check the path');
}
