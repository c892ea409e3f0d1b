// Objects that tests compile for themselves out of fixtures/replace, with mistakes that are not committed as objects.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { GCC } from '../../emulator/test-tools.ts';
import type { ArchName } from '../scenario.ts';

const SOURCES = new URL('../../fixtures/replace/', import.meta.url).pathname;
const FLAGS = {
  x86_64: ['-mcmodel=kernel', '-mno-red-zone', '-mno-sse', '-mno-mmx'],
  arm64: ['-mgeneral-regs-only', '-mno-outline-atomics', '-march=armv8.1-a'],
};
const COMMON = ['-c', '-g', '-std=gnu11', '-ffreestanding', '-fno-stack-protector', '-fno-pic'];

/**
 * A compiler of sources in fixtures/replace, whose objects go when the file's tests are over.
 * @returns what compiles one, with flags such as -O2 and -DBROKEN=1, and says where the object is
 */
export function compiler(): (arch: ArchName, source: string, ...flags: string[]) => string {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-replace-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const made = new Map<string, string>();
  return (arch, source, ...flags) => {
    const key = [arch, source, ...flags].join(' ');
    const known = made.get(key);
    if (known !== undefined) return known;
    const object = join(folder, `${made.size}.o`);
    const all = [...COMMON, ...FLAGS[arch], '-w', ...flags, join(SOURCES, source), '-o', object];
    const { status, stderr } = spawnSync(GCC[arch], all, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${key}: ${stderr}`);
    made.set(key, object);
    return object;
  };
}
