// faultline setup: finds or fetches the engine library.
import { setUp } from '../emulator/unicorn/library.ts';
import { EXIT } from './errors.ts';
import type { Io } from './io.ts';

/** @returns the exit code. @throws EngineError with what to do */
export function setupCommand(options: { wheel?: string; json?: boolean }, io: Io): Promise<number> {
  const found = setUp({ wheel: options.wheel });
  if (options.json) io.out(`${JSON.stringify(found, null, 2)}\n`);
  else io.out(`Unicorn ${found.version} at ${found.path} (${found.source})\n`);
  return Promise.resolve(EXIT.ok);
}
