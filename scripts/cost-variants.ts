// How far the cost model's cycles move when a block is changed in a way that hardware does not notice: registers renamed,
// displacements moved by a cache line, independent neighbours swapped.
//   npx tsx scripts/cost-variants.ts [--limit PERCENT] FILE.jsonl...
import { readFileSync } from 'node:fs';
import { cycleOracle } from '../arch/cycles-oracle.ts';
import { type BlockPair, type VariedBlock, variantsOf } from '../arch/test-variants.ts';
import { loadAssembler } from '../emulator/assembler.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import { unicornEngine } from '../emulator/unicorn/engine.ts';

const args = process.argv.slice(2);
const at = args.indexOf('--limit');
const limit = at < 0 ? 2 : Number(args.splice(at, 2)[1]);
if (args.length === 0 || !(limit > 0)) {
  console.error('usage: npx tsx scripts/cost-variants.ts [--limit PERCENT] FILE.jsonl...');
  process.exit(2);
}

async function main(): Promise<void> {
  const [assembler, disassembler] = await Promise.all([loadAssembler(), loadDisassembler()]);
  const blocks = args
    .flatMap((file) => readFileSync(file, 'utf8').trim().split('\n'))
    .map((line) => JSON.parse(line) as VariedBlock)
    .filter(({ arch, bytes }) => arch === 'x86_64' && bytes !== undefined);
  const pairs = blocks.flatMap((block) => variantsOf(block, assembler, disassembler));
  const lines = pairs.flatMap(({ mode, before, after }, n) => [
    { id: `${n} before`, arch: 'x86_64', mode, bytes: before },
    { id: `${n} after`, arch: 'x86_64', mode, bytes: after },
  ]);
  const { answers } = cycleOracle(lines, { disassembler, engine: unicornEngine() });
  const cycles = new Map(answers.map((answer) => [answer.id, answer.cycles]));
  const moved = (n: number) => {
    const before = cycles.get(`${n} before`) ?? 0;
    return (100 * ((cycles.get(`${n} after`) ?? 0) - before)) / before;
  };
  const kinds = ['registers', 'displacements', 'order'] as const satisfies BlockPair['kind'][];
  for (const kind of kinds) {
    const all = pairs
      .map((pair, n) => ({ pair, by: moved(n) }))
      .filter(({ pair }) => pair.kind === kind);
    const far = all.filter(({ by }) => Math.abs(by) >= limit);
    console.log(`${kind}: ${all.length} variants, ${far.length} moved by ${limit} % or more`);
    for (const { pair, by } of far) {
      console.log(`  ${by.toFixed(1)} %  ${pair.id}  ${pair.before} -> ${pair.after}`);
    }
  }
}

await main();
