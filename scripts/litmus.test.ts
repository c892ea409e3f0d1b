import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('every litmus test reaches what is published as allowed, and nothing that is forbidden', {
  timeout: 300_000,
}, async () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const { stdout } = await promisify(execFile)('npm', ['run', '--silent', 'litmus'], { cwd: root });
  expect(stdout).not.toContain('DIFFERS');
  expect(stdout).toMatch(/^90 verdicts: 0 differ, 2 not modelled, /m);
});
