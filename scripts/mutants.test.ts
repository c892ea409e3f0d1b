// A mutant whose text the sources no longer have, or have twice, breaks nothing that was meant.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { MUTANTS as ARM64 } from './mutants-arm64.ts';
import { MUTANTS as TLB } from './mutants-tlb.ts';
import { MUTANTS as X86 } from './mutants-x86.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

it.each([
  ['x86', X86],
  ['arm64', ARM64],
  ['tlb', TLB],
])('each mutant of %s finds its text once', (_set, { mutants }) => {
  const astray = mutants.filter(
    ([, file, search]) => readFileSync(ROOT + file, 'utf8').split(search).length !== 2,
  );
  expect(astray.map(([name]) => name)).toEqual([]);
});
