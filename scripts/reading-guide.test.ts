// Every file that docs/reading-guide.md, docs/mmu.md and docs/kernel-tests.md send their readers to exists, and every
// name they use is in the source.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SOURCE = ['emulator', 'mm', 'arch', 'bpf', 'testbed', 'cli'];

const DOCUMENTS = ['docs/reading-guide.md', 'docs/mmu.md', 'docs/kernel-tests.md'];

const files = [...SOURCE, 'fixtures', 'docs', 'scripts'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map(
    (name) => `${folder}/${name}`,
  ),
);
const code = files
  .filter((file) => file.endsWith('.ts') && !file.startsWith('scripts/'))
  .map((file) => readFileSync(join(ROOT, file), 'utf8'));

describe.each(DOCUMENTS)('%s', (document) => {
  const text = readFileSync(join(ROOT, document), 'utf8');
  const quoted = [...new Set([...text.matchAll(/`([^`]+)`/g)].map((match) => match[1]))];
  const paths = quoted.filter((one) => one.includes('/'));
  const names = quoted.filter((one) => /^\w+$/.test(one) && !SOURCE.includes(one));

  it.each(paths)('sends to %s', (path) => {
    const pattern = new RegExp(`^${path.replaceAll('.', '\\.').replace('*', '\\w+')}$`);
    expect(files.filter((file) => pattern.test(file))).not.toEqual([]);
  });

  it.each(names)('finds %s in the source', (name) => {
    const word = new RegExp(`\\b${name}\\b`);
    expect(code.some((source) => word.test(source))).toBe(true);
  });
});
