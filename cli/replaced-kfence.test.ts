// KFENCE in compiled code: the events and the objects must be the model's, in a scenario and where objects are in use, and code
// that is wrong must show or end the step.
import { beforeAll, describe, expect, it } from 'vitest';
import { virtAddr } from '../emulator/address.ts';
import { describeWith, GCC } from '../emulator/test-tools.ts';
import { finish } from '../mm/context.ts';
import type { Kfence } from '../mm/kfence.ts';
import { compiler } from '../testbed/replace/test-compile.ts';
import { type RunHost, type StepRun, WorldRun } from '../testbed/run.ts';
import type { ArchName, World } from '../testbed/scenario.ts';
import { runYaml } from '../testbed/test-run.ts';
import { loadHost } from './host.ts';
import { difference, GROUPS, load, replacing, see } from './test-replaced.ts';

const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];
const NAMES = GROUPS.KFENCE.names;
const compile = compiler();
const scenario = load('t38-kfence-first.yaml');
let host: RunHost;
beforeAll(async () => {
  host = await loadHost();
});

/** Objects allocated, overrun, freed and used again, and what that comes to. */
function use({ kernel }: WorldRun): unknown {
  const kfence = kernel.kfence as Kfence;
  const { pageSize } = kernel;
  const seen: unknown[] = [];
  const page = (n: number) => kfence.pool + BigInt(n * pageSize);
  const regs = { ip: virtAddr(0xffff_8000_0000_1234n) };
  const fault = (addr: bigint, isWrite: boolean) =>
    seen.push(finish(kfence.handlePageFault(virtAddr(addr), isWrite, regs)));
  const free = (addr: bigint) => kfence.free(virtAddr(addr), regs.ip);
  const alloc = (...args: Parameters<Kfence['alloc']>) => {
    const at = kfence.alloc(...args);
    seen.push(at);
    return at!;
  };
  const first = alloc(32, 'kmalloc-32', true);
  const second = alloc(30, 'odd', true, 8);
  fault(first + 32n, true);
  fault(page(3) + BigInt(pageSize) - 2n, false);
  fault(page(1) + 7n, false);
  kernel.memory.write(virtAddr(page(3)), Uint8Array.of(1, 2, 3));
  free(first);
  free(first);
  fault(first, false);
  free(second + 1n);
  free(page(9));
  alloc(4096, 'page');
  const again = alloc(64, 'kmalloc-64');
  alloc(8, 'none is left');
  free(again);
  fault(page(20), true);
  kfence.enabled = false;
  fault(page(0), true);
  seen.push(kfence.metadata);
  seen.push(kfence.freelist.map(({ index }) => index));
  for (let n = 0; n < 8; n++) {
    const ptep = kernel.mm.ptepOffset(virtAddr(page(n)))!;
    seen.push(kernel.ram.read64(ptep), kernel.memory.read(virtAddr(page(n)), 4));
  }
  return { seen, log: kernel.context.log };
}

function used(world: World): unknown {
  const run = new WorldRun(host, world);
  try {
    return structuredClone(use(run));
  } finally {
    run.close();
  }
}

const told = ({ seen }: StepRun): string =>
  JSON.stringify(seen, (_, value) => (typeof value === 'bigint' ? `${value}` : value));

describe.each(ARCHS)('KFENCE in compiled code (%s)', (arch) => {
  const world = scenario.worlds[arch]!;

  it.each(['O0', 'O2'])('gives the events of the model, -%s', (level) => {
    const compiled = see(host, replacing(world, NAMES, level), NAMES);
    expect(difference(see(host, world, NAMES), compiled)).toBeNull();
    expect(compiled.compiled).toBeGreaterThan(0);
  });

  it.each(NAMES)('%s alone keeps objects as the model does, and all together', (name) => {
    const model = used(world);
    expect(used(replacing(world, [name], 'O2'))).toEqual(model);
    for (const level of ['O0', 'O2']) expect(used(replacing(world, NAMES, level))).toEqual(model);
  });
});

for (const arch of ARCHS) {
  describeWith(GCC[arch], `KFENCE in compiled code that is wrong (${arch})`, () => {
    const withObject = (path: string): string => `arch: ${arch}
kernel:
  kfence: {pool: {arena: 0x100000}, objects: 3}
  replace: {kfence_handle_page_fault: ${path}}
limits: {instructions: 200000}
code: {x86_64: "mov [rdi], rsi\\nret", arm64: "str x1, [x0]\\nret"}
args: [{arena: 0x100008}, 42]
expect: {faults: [{page: 256, access: write, resolution: kfence}]}`;

    it('the wrong neighbour is blamed', () => {
      const world = scenario.worlds[arch]!;
      const path = compile(arch, 'kfence.c', '-O2', '-DBROKEN=1');
      const { readFileSync } = process.getBuiltinModule('node:fs');
      const object = { path, bytes: new Uint8Array(readFileSync(path)), library: null };
      const replace = new Map([['kfence_handle_page_fault', object]] as const);
      const broken = { ...world, kernel: { ...world.kernel, replace } };
      expect(used(broken)).not.toEqual(used(world));
    });

    it('a page that stays away faults for ever', () => {
      const path = compile(arch, 'kfence.c', '-O2', '-DBROKEN=2');
      const [step] = runYaml(host, withObject(path), arch).steps;
      expect(step.seen).toMatchObject({ outcome: 'budget' });
    });

    it.each([
      [1, /leaves kfence_metadata\[1\].state 0x4d/],
      [2, /leaves kfence_freelist with 0x/],
      [3, /hands on 0x\w+, which is none of the 3 objects’ struct kfence_metadata/],
      [4, /spins on the spinlock at 0x\w+, which its CPU holds/],
    ])('%i ends the call with a reason', (which, why) => {
      const path = compile(arch, 'odd-kfence.c', '-O2', `-DODD=${which}`);
      const [step] = runYaml(host, withObject(path), arch).steps;
      expect(JSON.stringify(step.seen, (_, v) => (typeof v === 'bigint' ? `${v}` : v))).toMatch(
        why,
      );
    });

    if (arch === 'arm64') {
      it('5: set_memory_valid outside of the pool', () => {
        const path = compile(arch, 'odd-kfence.c', '-O2', '-DODD=5');
        const [step] = runYaml(host, withObject(path), arch).steps;
        expect(told(step)).toMatch(/set_memory_valid of 0x\w+, which is not in KFENCE/);
      });
    }
  });
}
