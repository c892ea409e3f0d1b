// The transcripts in README.md are what `npm start` prints.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { main } from '../cli/main.ts';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');

it.each(['x86_64', 'arm64'])('shows the first fault on %s as it is told', async (arch) => {
  let told = '';
  const io = {
    out: (text: string) => {
      told += text;
    },
    err: () => {},
    readFile: (path: string) => readFileSync(path),
    readStdin: () => new Uint8Array(),
    colour: false,
    terminal: false,
  };
  const exitCode = await main(['run', 'fixtures/first-fault.yaml', '--arch', arch], io);
  const [, shown] = new RegExp(`<!-- transcript ${arch} -->\n\`\`\`\n([^]*?)\`\`\``).exec(readme)!;
  expect(exitCode).toBe(0);
  expect(shown.trim()).toBe(told.trim());
});
