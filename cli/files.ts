// Files that a command line names.
import { extname } from 'node:path';
import { CliError, cannotRead } from './errors.ts';
import type { Io } from './io.ts';

/** The bytes of a file, or of standard input for `-`. @throws CliError if it cannot be read */
export function readBytes(path: string, io: Io): Uint8Array {
  try {
    return path === '-' ? io.readStdin() : io.readFile(path);
  } catch (error) {
    throw cannotRead(nameOf(path), error);
  }
}

/** What a file is called in errors. */
export const nameOf = (path: string): string => (path === '-' ? 'standard input' : path);

/** The text of a UTF-8 file, or of standard input for `-`. @throws CliError if it cannot be read or is no text */
export function readText(path: string, io: Io): string {
  const bytes = readBytes(path, io);
  try {
    // Neither format has a use for a zero byte; files that are no text are full of them.
    if (!bytes.includes(0)) return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // Not UTF-8.
  }
  throw new CliError(
    `${nameOf(path)}: is not UTF-8 text`,
    'give a scenario (.yaml, .json) or assembly (.S, .s)',
  );
}

export const isScenarioFile = (path: string): boolean =>
  ['.yaml', '.yml', '.json'].includes(extname(path));
