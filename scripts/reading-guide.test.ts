// Every file that docs/reading-guide.md sends its reader to exists, and every name it uses is in the source.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SOURCE = ['emulator', 'mm', 'arch', 'bpf', 'testbed', 'cli'];

const guide = readFileSync(join(ROOT, 'docs/reading-guide.md'), 'utf8');
const quoted = [...new Set([...guide.matchAll(/`([^`]+)`/g)].map((match) => match[1]))];
const paths = quoted.filter((text) => text.includes('/'));
const names = quoted.filter((text) => /^\w+$/.test(text) && !SOURCE.includes(text));

const files = [...SOURCE, 'fixtures', 'docs', 'scripts'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map(
    (name) => `${folder}/${name}`,
  ),
);
const code = files
  .filter((file) => file.endsWith('.ts') && !file.startsWith('scripts/'))
  .map((file) => readFileSync(join(ROOT, file), 'utf8'));

describe('the reading guide', () => {
  it.each(paths)('sends to %s', (path) => {
    const pattern = new RegExp(`^${path.replaceAll('.', '\\.').replace('*', '\\w+')}$`);
    expect(files.filter((file) => pattern.test(file))).not.toEqual([]);
  });

  it.each(names)('finds %s in the source', (name) => {
    const word = new RegExp(`\\b${name}\\b`);
    expect(code.some((text) => word.test(text))).toBe(true);
  });
});
