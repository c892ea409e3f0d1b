// Errors that are the user's to mend. Everything else that is thrown is a fault of ours.

/** Exit codes of every command. */
export const EXIT = { ok: 0, differs: 1, usage: 2, internal: 3 } as const;

/**
 * Wrong usage or bad input. `message` says what is wrong and where (file:line:column), `remedy` what to do.
 * Errors of the lower floors carry the same two fields and are treated alike: see {@link isUserError}.
 */
export class CliError extends Error {
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.name = 'CliError';
    this.remedy = remedy;
  }
}

/** True for an error that says what the user can do about it. */
export const isUserError = (error: unknown): error is Error & { remedy: string } =>
  error instanceof Error && typeof (error as { remedy?: unknown }).remedy === 'string';

const REASONS: Record<string, string> = {
  ENOENT: 'no such file or directory',
  EISDIR: 'is a directory',
  EACCES: 'permission denied',
};

/** A file that cannot be read, as the user's error. */
export function cannotRead(path: string, error: unknown): CliError {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const reason = REASONS[code] ?? (error instanceof Error ? error.message : String(error));
  return new CliError(`${path}: ${reason}`, 'check the path and its permissions');
}
