// The world that code by chance runs in: an arena with pages that are there and pages that are not, and arguments that
// point into both, at their ends, and nowhere.
import { type ArchName, type CallStep, parseScenario, type World } from '../../testbed/scenario.ts';
import type { ArenaOffset, Argument } from '../../testbed/scenario-model.ts';
import type { Random } from './random.ts';

/** Low enough that an endless loop is over at once. */
const LIMIT = 1000;
const PAGE = 4096;
const NEAR_END = [0, -1, -2, -4, -8, -12, -16, -31, -64, -511, 0x10, 0x800];

/** As a scenario file has it. */
const WORLD = {
  arena: {
    pages: 1024,
    alloc: [
      [1, 2],
      [5, 1],
    ],
  },
  limits: { instructions: LIMIT },
};

const templates = new Map<ArchName, World>();

/** The world that calls of {@link callOf} are made in, one after another. */
export function worldFor(arch: ArchName): World {
  let world = templates.get(arch);
  if (world === undefined) {
    const document = { ...WORLD, arch: [arch], code: { [arch]: 'ret' } };
    world = parseScenario(JSON.stringify(document), 'fuzz.json', () => {
      throw new RangeError('no file is named');
    }).worlds[arch]!;
    templates.set(arch, world);
  }
  return world;
}

/** A call of `bytes` in the world of its architecture. */
export function callOf(arch: ArchName, bytes: Uint8Array, random: Random): CallStep {
  const step = worldFor(arch).cpus[0][0] as CallStep;
  const args = Array.from({ length: arch === 'arm64' ? 8 : 6 }, () => argument(random));
  return { ...step, code: { kind: 'bytes', bytes }, args };
}

/** The same call as a scenario file. */
export function scenarioText(arch: ArchName, { code, args }: CallStep): string {
  const hex = code.kind === 'bytes' ? Buffer.from(code.bytes).toString('hex') : '';
  const written = args.map((arg) => {
    if (arg.kind === 'arena') return { arena: `${arg.offset}` };
    return arg.kind === 'integer' ? `${arg.value}` : 0;
  });
  const document = { ...WORLD, arch: [arch], code: { bytes: { [arch]: hex } }, args: written };
  return JSON.stringify(document);
}

function argument(random: Random): Argument {
  if (random.chance(0.8)) {
    const offset = BigInt(random.below(8) * PAGE + random.pick(NEAR_END)) as ArenaOffset;
    return { kind: 'arena', arena: 'arena', offset };
  }
  if (random.chance(0.7)) return { kind: 'integer', value: BigInt(random.below(256)) };
  const high = BigInt(random.next()) << 32n;
  return { kind: 'integer', value: high | BigInt(random.next()) };
}
