// The transcripts in README.md are what `npm start` prints.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { faultline } from '../cli/test-cli.ts';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');

it.each(['x86_64', 'arm64'])('shows the first fault on %s as it is told', async (arch) => {
  const run = await faultline(['run', 'fixtures/first-fault.yaml', '--arch', arch]);
  const [, shown] = new RegExp(`<!-- transcript ${arch} -->\n\`\`\`\n([^]*?)\`\`\``).exec(readme)!;
  expect(run.exitCode).toBe(0);
  expect(shown.trim()).toBe(run.stdout.trim());
});
