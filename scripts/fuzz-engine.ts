// Runs code by chance on the engine, in processes that it may take down:
//   npx tsx scripts/fuzz-engine.ts [--arch x86_64,arm64] [--kind bytes,sequences] [--count 1000000] [--seed 1]
//     [--from 0] [--shard i/n]
// Case n of a seed is always the same. Exits 1 if a process died, or anything else was seen that must not be.
import { parseArgs } from 'node:util';
import type { ArchName } from '../testbed/scenario.ts';
import { runCampaign } from './fuzz/campaign.ts';
import type { FuzzKind } from './fuzz/code.ts';

const { values } = parseArgs({
  options: {
    arch: { type: 'string', default: 'x86_64,arm64' },
    kind: { type: 'string', default: 'bytes,sequences' },
    count: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    shard: { type: 'string', default: '1/1' },
  },
});
const [part, parts] = values.shard.split('/').map(Number);
const count = Number(values.count);
const first = Number(values.from);
const from = first + Math.floor((count * (part - 1)) / parts);
const to = first + Math.floor((count * part) / parts);

let bad = false;
for (const arch of values.arch.split(',') as ArchName[]) {
  for (const kind of values.kind.split(',') as FuzzKind[]) {
    const began = Date.now();
    const report = await runCampaign(
      { arch, kind, seed: Number(values.seed), from, to },
      (done) => {
        if (process.stderr.isTTY) process.stderr.write(`\r${arch} ${kind} ${done}/${to - from}`);
      },
    );
    const seconds = Math.round((Date.now() - began) / 1000);
    console.log(JSON.stringify({ arch, kind, seed: values.seed, from, to, seconds, ...report }));
    bad ||= report.deaths.length > 0 || report.wrong.length > 0;
  }
}
process.exitCode = bad ? 1 : 0;
