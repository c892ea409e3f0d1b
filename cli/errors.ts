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

const REASONS: Record<string, [reason: string, remedy: string]> = {
  ENOENT: ['no such file or directory', 'check the path'],
  ENOTDIR: ['no such file or directory', 'check the path'],
  EISDIR: ['is a directory', "give a file; 'faultline test' takes directories"],
  EACCES: ['permission denied', 'check its permissions'],
};

/** A file that cannot be read, as the user's error. */
export function cannotRead(path: string, error: unknown): CliError {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const text = error instanceof Error ? error.message : String(error);
  const [reason, remedy] = REASONS[code] ?? [text, 'check the path and its permissions'];
  return new CliError(`${path}: ${reason}`, remedy);
}
