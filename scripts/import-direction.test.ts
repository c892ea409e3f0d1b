// Imports run downwards only: cli -> testbed -> bpf -> arch -> mm -> emulator, and only emulator/unicorn touches koffi.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FLOORS = ['emulator', 'mm', 'arch', 'bpf', 'testbed', 'cli'];
const PURE = ['emulator', 'mm', 'arch', 'bpf', 'testbed'];

const sources = FLOORS.flatMap((floor) =>
  readdirSync(join(ROOT, floor), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.ts$/.test(name) && !/\.test\.ts$|(^|\/)test-[^/]*$/.test(name))
    .map((name) => join(floor, name)),
);

function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]);
}

/** Comments may name what code may not use: kernel files are called process.c. */
const withoutComments = (text: string) => text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');

const floorOf = (file: string) => FLOORS.indexOf(file.split('/')[0]);

describe('the house', () => {
  it('imports downwards only', () => {
    const upward = sources.flatMap((file) =>
      importsOf(file)
        .filter((name) => name.startsWith('.'))
        .map((name) => relative(ROOT, join(ROOT, dirname(file), name)))
        .filter((target) => floorOf(target) > floorOf(file))
        .map((target) => `${file} imports ${target}`),
    );
    expect(upward).toEqual([]);
  });

  it('keeps the architectures apart', () => {
    const crossed = sources
      .filter((file) => file.startsWith('arch/x86/') || file.startsWith('arch/arm64/'))
      .flatMap((file) => {
        const other = file.startsWith('arch/x86/') ? '/arm64/' : '/x86/';
        return importsOf(file)
          .filter((name) => join(dirname(file), name).includes(other))
          .map((name) => `${file} imports ${name}`);
      });
    expect(crossed).toEqual([]);
  });

  it('touches the native library in emulator/unicorn only', () => {
    const users = sources.filter((file) => importsOf(file).includes('koffi'));
    expect(users.filter((file) => !file.startsWith('emulator/unicorn/'))).toEqual([]);
  });

  it('reads no file, clock or chance below the command line, the engine library aside', () => {
    const impure = sources
      .filter((file) => PURE.includes(file.split('/')[0]) && !file.startsWith('emulator/unicorn/'))
      .flatMap((file) => {
        const text = withoutComments(readFileSync(join(ROOT, file), 'utf8'));
        const hits = text.match(
          /node:(fs|child_process|net|http|os|process)'|\bconsole\.|\bprocess\.|Math\.random|Date\.now|performance\.now|new Date\(/g,
        );
        return (hits ?? []).map((hit) => `${file}: ${hit}`);
      });
    expect(impure).toEqual([]);
  });
});
