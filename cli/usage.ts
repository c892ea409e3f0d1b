// Wrong command lines in our words: what is wrong, and what to write instead. commander finds them.
import type { CommanderError } from 'commander';
import { CliError } from './errors.ts';

/** What commander says of a command line, as the user's error. @param command the command that was meant, if known */
export function usageError(error: CommanderError, command: string | undefined): CliError {
  const [first, suggestion] = error.message.split('\n');
  const message = first.replace(/^error: /, '').replace(/\.$/, '');
  const help = `'faultline${command === undefined ? '' : ` ${command}`} --help' says what there is`;
  const guess = /^\(Did you mean (.*)\?\)$/.exec(suggestion ?? '')?.[1];
  if (guess !== undefined) return new CliError(message, `did you mean ${guess}?`);
  const [what, why] = message.split(' is invalid. ');
  if (why === undefined) return new CliError(message, help);
  return new CliError(
    `${what} is not possible`,
    why.replace(/^Allowed choices are (.*)$/, 'give one of $1'),
  );
}
