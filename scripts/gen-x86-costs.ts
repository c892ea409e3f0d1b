// Makes arch/x86/cost-table.ts from a file of measured instruction forms, one JSON object a line:
//   npx tsx scripts/gen-x86-costs.ts instr-table-x86.jsonl > arch/x86/cost-table.ts
import { readFileSync } from 'node:fs';
import { ticks } from '../emulator/cost/units.ts';

interface Row {
  readonly form: string;
  readonly insns_per_unit: number;
  readonly lat: number | null;
  readonly rtp: number;
  readonly slots: number;
}

const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: npx tsx scripts/gen-x86-costs.ts TABLE.jsonl > arch/x86/cost-table.ts');
  process.exit(2);
}

const rows = readFileSync(file, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Row);

const entries = rows.map((row) => {
  const latency = row.lat === null ? -1 : ticks(row.lat);
  const numbers = [latency, ticks(row.rtp), ticks(row.slots), row.insns_per_unit];
  return `  ['${row.form}', ${numbers.join(', ')}],`;
});

console.log(`// Made by: npx tsx scripts/gen-x86-costs.ts TABLE.jsonl > arch/x86/cost-table.ts
// Costs of instruction forms as measured on one core of the Golden Cove family, a server part in a virtual machine,
// by time alone (no counters): approximate, and of that core only. Do not edit by hand.

/** Form; latency of a chain through its destination, reciprocal throughput and issue slots in ticks (latency -1: no
 * chain was measured); instructions in the measured unit. */
type Row = readonly [
  form: string,
  latency: number,
  throughput: number,
  slots: number,
  instructions: number,
];

// biome-ignore format: a table
export const X86_MEASURED: readonly Row[] = [
${entries.join('\n')}
];`);
