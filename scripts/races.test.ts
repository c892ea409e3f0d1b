import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('every race and every mutant comes out as recorded', { timeout: 600_000 }, async () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const { stdout } = await promisify(execFile)('npm', ['run', '--silent', 'races'], { cwd: root });
  expect(stdout).not.toContain('NOT AS RECORDED');
  expect(stdout).toMatch(/^\d+ explorations, /m);
  expect(stdout).toMatch(/^21 mutants, /m);
});
