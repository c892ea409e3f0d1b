// Everything under fixtures/bad is wrong in some way; beside it lies what its writer is told. Read the diff before
// accepting it with `npx vitest run testbed/scenario-bad.test.ts -u`.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseScenario, ScenarioError } from './scenario.ts';

const BAD = fileURLToPath(new URL('../fixtures/bad', import.meta.url));
const files = readdirSync(BAD).filter((name) => /\.(yaml|json)$/.test(name));

function errorOf(name: string): ScenarioError {
  const path = join(BAD, name);
  const readFile = (file: string) => readFileSync(join(dirname(path), file));
  try {
    parseScenario(readFileSync(path, 'utf8'), name, readFile);
  } catch (error) {
    if (error instanceof ScenarioError) return error;
    throw error;
  }
  throw new Error(`${name} was accepted`);
}

describe('wrong scenario files', () => {
  it('come in more than twenty kinds', () => {
    expect(files.length).toBeGreaterThan(20);
  });

  it.each(files)('%s', async (name) => {
    const error = errorOf(name);
    const lines = readFileSync(join(BAD, name), 'utf8').split('\n').length;
    for (const problem of error.problems) {
      expect(problem.line).toBeLessThanOrEqual(lines);
      expect(problem.column).toBeGreaterThan(0);
      expect(problem.remedy).not.toBe('');
    }
    expect([error.line, error.column]).toEqual([error.problems[0].line, error.problems[0].column]);
    const told = `${error.message}\n-> ${error.remedy}\n`;
    await expect(told).toMatchFileSnapshot(join(BAD, name.replace(/\.\w+$/, '.txt')));
  });
});
