// The encodings that do not reach the core, from the tables that keep them from it.
import { ARM64_REFUSALS } from '../arch/arm64/refusals.ts';
import { insteadOf, type Refusal } from '../arch/refusals.ts';
import { X86_REFUSALS } from '../arch/x86/refusals.ts';
import type { ArchName } from '../testbed/scenario-model.ts';

type Row = Omit<Refusal<never>, 'matches'>;

const TABLES: Readonly<Record<ArchName, readonly Row[]>> = {
  x86_64: X86_REFUSALS,
  arm64: ARM64_REFUSALS,
};

export function refusedDocument(): object {
  const rows = (table: readonly Row[]) =>
    table.map(({ name, encoding, trap, why, example }) => ({
      ...{ name, encoding, instead: insteadOf(trap), why, example },
    }));
  return Object.fromEntries(Object.entries(TABLES).map(([arch, table]) => [arch, rows(table)]));
}

export function refusedLines(): string[] {
  return Object.entries(TABLES).flatMap(([arch, table], i) => [
    ...(i > 0 ? [''] : []),
    `${arch}: instructions that do not reach the core`,
    ...table.flatMap(({ name, encoding, trap, why, example }) => [
      '',
      name,
      `  encoding  ${encoding}`,
      `  instead   ${insteadOf(trap)}`,
      `  why       ${why}`,
      `  example   ${example}`,
    ]),
  ]);
}
