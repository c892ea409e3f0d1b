// Makes cli/standings.ts: npx tsx scripts/gen-standings.ts
// from the `@kernel` tags of the source (trust/tags.ts): what `run --explain` says of the functions that print reports.
// With --check it writes nothing and exits with 1 if the file is stale.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, read, sourceFiles } from './trust/files.ts';
import { readSource } from './trust/tags.ts';

export const TABLE = 'cli/standings.ts';

const HEAD = `// Made by: npx tsx scripts/gen-standings.ts. Do not edit by hand.
// The kernel functions that the model follows: where each stands in the kernel tree, and how well its text is known.
// docs/trust.md says the same with the tests that hold it.

/** read: its text was read; derived: reasoned from text that was read; unverified: from general knowledge. */
export type Standing = 'read' | 'derived' | 'unverified';

/** By function; of one that both architectures have, the model's folder stands in front. */
export const STANDINGS: Readonly<Record<string, readonly [source: string, standing: Standing]>> = {
`;

/** The key of a function: its name, and before it the folder of an architecture that models it. */
function keyOf(file: string, name: string): string {
  const [, arch] = /^arch\/(x86|arm64)\//.exec(file) ?? [];
  return arch === undefined ? name : `${arch} ${name}`;
}

/** The file's text. */
export function makeStandings(): string {
  const rows = new Map<string, string>();
  for (const file of sourceFiles()) {
    for (const { name, source, standing } of readSource(file, read(file)).tags) {
      const key = keyOf(file, name);
      const quoted = /^[a-z_]\w*$/i.test(key) ? key : `'${key}'`;
      // Of a function modelled in several pieces the first is its own.
      if (!rows.has(key)) rows.set(key, `  ${quoted}: ['${source}', '${standing}'],\n`);
    }
  }
  const sorted = [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
  return `${HEAD}${sorted.join('')}};\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const text = makeStandings();
  if (!process.argv.includes('--check')) writeFileSync(join(ROOT, TABLE), text);
  else if (read(TABLE) !== text) {
    process.stderr.write(`${TABLE} is stale: npx tsx scripts/gen-standings.ts\n`);
    process.exitCode = 1;
  }
}
