// Mutated ELF files, archives, compressed objects and kernel images, run as a user would: each must be run, or refused with its name,
// what is wrong and what to do. None may take this process down, hang, or take more than 256 MB.
//
//   npx tsx scripts/fuzz-elf.ts [--count 1000] [--seed 1] [--keep FOLDER]
//
// File number i is made from seed + i alone: `--seed N --count 1` makes it again.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { CliError } from '../cli/errors.ts';
import { Guard, type Verdict } from '../cli/guard.ts';
import { readElf } from '../emulator/elf/read.ts';
import { openObject } from '../testbed/object-file.ts';
import { listObject } from '../testbed/object-list.ts';
import { arm64Image, bzImage, x86Kernel, zboot } from '../testbed/vmlinux/test-images.ts';
import { mutate, Random } from './mutate-bytes.ts';

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    keep: { type: 'string' },
  },
});
const count = Number(values.count);
const firstSeed = Number(values.seed);

/** What is mutated: every object, archive and compressed file of the fixtures, and small kernels in every form. */
const FOLDERS = ['fixtures/objects', 'fixtures/elf'].map(
  (name) => new URL(`../${name}/`, import.meta.url).pathname,
);
const kernels: [string, Uint8Array][] = [
  ['vmlinux', x86Kernel('to 6.3', false)],
  ['vmlinux', x86Kernel('to 6.3', true)],
  ['vmlinux', x86Kernel('from 6.4', true)],
  ['bzImage', bzImage(gzipSync(x86Kernel('from 6.4', true)), 0)],
  ['Image', arm64Image('to 6.3')],
  ['Image', arm64Image('from 6.4')],
  ['Image', zboot(arm64Image('from 6.4'))],
];
const originals = [
  ...FOLDERS.flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => /\.(?:o|a|xz|gz|zst)$/.test(name))
      .sort()
      .map((name): [string, Uint8Array] => [
        name,
        new Uint8Array(readFileSync(join(folder, name))),
      ]),
  ),
  ...kernels,
].map(([name, bytes]) => {
  // Of an archive a symbol that one of its members defines.
  const object = openObject(name, 'sum', () => bytes);
  const symbols = listObject(object).functions.map((one) => one.name);
  return { name, bytes, symbols, sections: sectionsOf(bytes) };
});
// Tables that objtool writes are small beside the rest of their object, and read at every fault.
originals.push(
  ...originals
    .filter(({ name }) => name.startsWith('orc-'))
    .map((one) => ({
      ...one,
      sections: one.sections.filter(({ name }) => name.includes('orc_unwind')),
    })),
);

/** Sections with contents in the file; none of what is no ELF file. */
function sectionsOf(bytes: Uint8Array): readonly { name: string; start: number; size: number }[] {
  try {
    return readElf(bytes)
      .sections.filter(({ data }) => data.length > 0)
      .map(({ name, data: { byteOffset, length } }) => ({
        name,
        start: byteOffset - bytes.byteOffset,
        size: length,
      }))
      .filter(({ start, size }) => start >= 0 && start + size <= bytes.length);
  } catch {
    return [];
  }
}

/** A damaged copy: of every other file one section alone is damaged, and keeps its length. */
function damaged(
  bytes: Uint8Array,
  sections: ReturnType<typeof sectionsOf>,
  random: Random,
): Uint8Array {
  if (sections.length === 0 || random.below(2) === 0) return mutate(bytes, random);
  const { start, size } = random.pick(sections);
  const copy = Uint8Array.from(bytes);
  copy.set(mutate(copy.subarray(start, start + size), random), start);
  return copy;
}

/** Seconds that one file may take; the instruction limit ends code that runs on long before. */
const PATIENCE = 10;
const LIMIT = 2000;
/** Bytes beyond what the worker has when it has run one good file. */
const MOST_MEMORY = 256e6;

const folder = values.keep ?? mkdtempSync(join(tmpdir(), 'faultline-fuzz-'));
mkdirSync(folder, { recursive: true });
const guard = new Guard(PATIENCE);
const tally = new Map<string, number>();
const bad: string[] = [];
let idle = 0;
let peak = 0;
let wasLarge = false;

for (let seed = firstSeed; seed < firstSeed + count; seed++) {
  const random = new Random(seed);
  const { name, bytes, symbols, sections } = random.pick(originals);
  const symbol = name.includes('.a') ? 'sum' : random.pick(symbols);
  // Images are known by how their names begin, objects by how they end.
  const file = join(folder, name.includes('.') ? `${seed}-${name}` : `${name}-${seed}`);
  writeFileSync(file, damaged(bytes, sections, random));
  const { kind, problem } = judge(file, await attempt(file, symbol));
  tally.set(kind, (tally.get(kind) ?? 0) + 1);
  if (problem !== null) {
    bad.push(`seed ${seed} (${name}): ${problem}`);
    process.stderr.write(`${bad.at(-1)}\n`);
  }
  const memory = workerMemory();
  if (idle === 0) idle = memory;
  peak = Math.max(peak, memory - idle);
  if (memory - idle > MOST_MEMORY && !wasLarge) {
    bad.push(`seed ${seed} (${name}): the worker grew by ${memory - idle} bytes`);
    process.stderr.write(`${bad.at(-1)}\n`);
  }
  // What one file took the next ones find taken.
  wasLarge = memory - idle > MOST_MEMORY;
  if (values.keep === undefined || problem === null) rmSync(file);
}
guard.close();
if (values.keep === undefined) rmSync(folder, { recursive: true });
const kinds = [...tally].sort().map(([kind, n]) => `${kind} ${n}`);
process.stdout.write(
  `seeds ${firstSeed} to ${firstSeed + count - 1}: ${kinds.join(', ')}; the worker grew by at most ${Math.round(peak / 1e6)} MB; ${bad.length} bad\n`,
);
process.exitCode = bad.length > 0 ? 1 : 0;

/** Reads the file and runs its one world, as `faultline test` would. */
async function attempt(
  file: string,
  symbol: string,
): Promise<Verdict | { kind: 'fault'; message: string }> {
  const job = { file, options: { symbol, maxInsns: LIMIT, args: 'arena:0x1000,4' } };
  try {
    const { archs } = await guard.read(job);
    return await guard.run(job, archs[0]);
  } catch (error) {
    if (error instanceof CliError) {
      return { kind: 'refused', message: error.message, remedy: error.remedy };
    }
    return { kind: 'fault', message: error instanceof Error ? error.message : String(error) };
  }
}

function judge(
  file: string,
  verdict: Awaited<ReturnType<typeof attempt>>,
): { kind: string; problem: string | null } {
  switch (verdict.kind) {
    case 'ran':
      return { kind: `ran: ${verdict.ran.document.outcome}`, problem: null };
    case 'refused': {
      const { message, remedy } = verdict;
      const isNamed = message.includes(file) && remedy !== '';
      return {
        kind: 'refused',
        problem: isNamed ? null : `refused without file or remedy: ${message} (${remedy})`,
      };
    }
    case 'late':
      return { kind: 'hang', problem: `still ran after ${PATIENCE} s` };
    case 'died':
      return { kind: 'died', problem: 'took the engine down twice in one place' };
    case 'fault':
      return { kind: 'fault', problem: `a fault of ours: ${verdict.message}` };
  }
}

/** Resident bytes of the worker, this process's youngest child; 0 where the system does not say. */
function workerMemory(): number {
  try {
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8');
    const pids = children
      .trim()
      .split(' ')
      .filter((pid) => pid !== '');
    const sizes = pids.map((pid) => {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      return status.includes('esbuild')
        ? 0
        : Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
    });
    return Math.max(0, ...sizes);
  } catch {
    return 0;
  }
}
