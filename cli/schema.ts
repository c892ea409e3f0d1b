// faultline schema: the scenario format as JSON Schema, so that an editor can complete and check.
import { jsonSchema } from '../testbed/scenario.ts';
import { EXIT } from './errors.ts';
import type { Io } from './io.ts';

/** @returns the exit code */
export function schemaCommand(io: Io): Promise<number> {
  io.out(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
  return Promise.resolve(EXIT.ok);
}
