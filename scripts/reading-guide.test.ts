// Every file that docs/reading-guide.md sends its reader to exists, and every name it uses is in the source.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const guide = readFileSync(join(ROOT, 'docs/reading-guide.md'), 'utf8');
const quoted = [...new Set([...guide.matchAll(/`([^`]+)`/g)].map((match) => match[1]))];

const git = (...args: string[]): string =>
  execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' });
const tracked = git('ls-files').split('\n');
const FOLDERS = new Set(tracked.map((file) => file.split('/')[0]));

const paths = quoted.filter((text) => text.includes('/'));
const names = quoted.filter((text) => /^\w+$/.test(text) && !FOLDERS.has(text));

describe('the reading guide', () => {
  it.each(paths)('sends to %s', (path) => {
    const pattern = new RegExp(`^${path.replaceAll('.', '\\.').replace('*', '\\w+')}$`);
    expect(tracked.filter((file) => pattern.test(file))).not.toEqual([]);
  });

  it.each(names)('finds %s in the source', (name) => {
    const code = ['emulator', 'mm', 'arch', 'bpf', 'testbed', 'cli'];
    expect(git('grep', '-lwF', name, '--', ...code)).not.toBe('');
  });
});
