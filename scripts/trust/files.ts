// Which files docs/trust.md is made from: the floors that model the kernel, and their tests.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const FLOORS = ['mm', 'arch', 'bpf', 'testbed'];

/** Paths from the root, sorted. */
const files = (): string[] =>
  FLOORS.flatMap((floor) =>
    readdirSync(join(ROOT, floor), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `${floor}/${name}`),
  ).sort();

const isTest = (file: string): boolean => file.endsWith('.test.ts');
/** What tests share. */
const isHelper = (file: string): boolean => /\/(test-|testing)[\w-]*\.ts$/.test(file);

export const sourceFiles = (): string[] =>
  files().filter((file) => !isTest(file) && !isHelper(file));

export const testFiles = (): string[] => files().filter(isTest);

export const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
