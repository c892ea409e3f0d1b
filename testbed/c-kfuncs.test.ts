// C functions of ours (fixtures/c/kfuncs.c), compiled by gcc and clang at three levels of optimisation, with and without
// vector instructions, with what kernels are compiled with, and run on allocated and unallocated arena pages: results
// and memory must be a plain model's.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { describeWith, GCC } from '../emulator/test-tools.ts';
import type { CallSeen } from './call.ts';
import type { ArchName } from './scenario.ts';
import { kfuncCases } from './test-c-kfuncs.ts';
import { ModelArena } from './test-libc.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const SOURCE = new URL('../fixtures/c/kfuncs.c', import.meta.url).pathname;
const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];

/** Compilers by architecture; clang is one for all. */
const COMPILERS: Record<ArchName, readonly (readonly string[])[]> = {
  x86_64: [[GCC.x86_64], ['clang', '--target=x86_64-linux-gnu']],
  arm64: [[GCC.arm64], ['clang', '--target=aarch64-linux-gnu']],
};
/** What a kernel's Makefile gives the compiler, as far as it bears on code. */
const KERNEL = {
  x86_64: ['-mcmodel=kernel', '-mno-red-zone', '-fno-pic'],
  arm64: ['-fno-pic', '-mbranch-protection=standard', '-mno-outline-atomics'],
};
const NO_VECTORS = { x86_64: ['-mno-sse', '-mno-mmx'], arm64: ['-mgeneral-regs-only'] };
/** Position-independent code with a GOT, profiling entries, guards on the stack, a section for every function. */
const MORE: Record<string, readonly string[]> = {
  '-O0': ['-fstack-protector-strong', '-g'],
  '-O2': ['-ffunction-sections', '-fdata-sections', '-g'],
  '-O3': [],
};
const RETPOLINES = {
  gcc: ['-mindirect-branch=thunk-extern', '-mfunction-return=thunk-extern', '-pg', '-mfentry'],
  clang: ['-mretpoline-external-thunk', '-pg', '-mfentry'],
};

const folder = mkdtempSync(join(tmpdir(), 'faultline-c-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const host = await loadTestHost();

function compile(command: readonly string[], flags: readonly string[], name: string): string {
  const [compiler, ...target] = command;
  const object = join(folder, `${name}.o`);
  const args = [...target, '-c', '-std=gnu11', '-ffreestanding', '-fno-asynchronous-unwind-tables'];
  const done = spawnSync(compiler, [...args, ...flags, SOURCE, '-o', object], { encoding: 'utf8' });
  expect([compiler, flags, done.stderr]).toEqual([compiler, flags, '']);
  return object;
}

/** Kernel pages: two allocated, two not, one allocated, one not, for each pair of places. */
const ALLOCATED = [0, 1, 4];
const STRIDE = 0x6000;
const PLACES = [
  { a: 0x100, b: 0x1800 },
  { a: 0x2040, b: 0x3800 },
  { a: 0x1f40, b: 0x3f10 },
];
const KBASE = { x86_64: 0xffff_c900_01e6_9000n, arm64: 0xffff_8000_8100_8000n };

function runAll(arch: ArchName, object: string): void {
  const allocated = PLACES.flatMap((_, i) => ALLOCATED.map((page) => page + (i * STRIDE) / 0x1000));
  const model = new ModelArena(allocated);
  const steps: string[] = [];
  const wanted: { name: string; ret: bigint }[] = [];
  PLACES.forEach((place, i) => {
    const [a, b] = [place.a + i * STRIDE, place.b + i * STRIDE];
    const seed = Uint8Array.from({ length: 512 }, (_, k) => (k * 73 + (k >> 2) * 29 + i) & 0xff);
    for (const to of [a, b]) {
      const hex = Buffer.from(seed).toString('hex');
      steps.push(
        `{call: {object: "${object}", symbol: copy8, args: [{arena: ${to}}, {buffer: "${hex}"}, 512]}}`,
      );
      wanted.push({ name: 'seed', ret: 512n });
      model.write(to, seed);
    }
    for (const { name, args, model: act } of kfuncCases(a, b, i)) {
      const list = args.map((arg) =>
        typeof arg === 'object' ? `{arena: ${arg.at}}` : String(arg),
      );
      steps.push(`{call: {object: "${object}", symbol: ${name}, args: [${list.join(', ')}]}}`);
      wanted.push({ name: `${name} at ${a.toString(16)}`, ret: act(model) });
    }
  });
  const memory = [...model.written].map((page) => {
    const sha256 = createHash('sha256').update(model.page(page)).digest('hex');
    return `{offset: ${page * 0x1000}, length: 4096, sha256: "${sha256}"}`;
  });
  steps.push(
    `{call: {object: "${object}", symbol: sum8, args: [0, 0]}, expect: {memory: [${memory.join(', ')}]}}`,
  );
  const { steps: done, failures } = runYaml(
    host,
    `arch: ${arch}
arena: {pages: 64, alloc: [${allocated.map((page) => `[${page}, 1]`).join(', ')}]}
symbols: {memcpy: memcpy, memset: memset}
steps: [${steps.join(',\n  ')}]
`,
    arch,
  );
  const high = arch === 'x86_64' ? 'rdx' : 'x1';
  const faulted = new Set<bigint>();
  wanted.forEach(({ name, ret }, i) => {
    const seen = done[i].seen as CallSeen;
    const wide = name.startsWith('multiply_wide') ? seen.readRegister(high) << 64n : 0n;
    expect([name, seen.end, wide | (seen.ret ?? 0n)]).toEqual([name, { outcome: 'returned' }, ret]);
    for (let n = 0; n < seen.faults.length; n++) {
      const page = (seen.faults.at(n).addr - KBASE[arch]) >> 12n;
      expect([name, page, allocated.includes(Number(page)), faulted.has(page)]).toEqual([
        name,
        page,
        false,
        false,
      ]);
      faulted.add(page);
    }
  });
  expect(failures).toEqual([]);
  expect(faulted.size).toBe(4);
}

describe.each(ARCHS)('compiled kfuncs of %s', (arch) => {
  for (const command of COMPILERS[arch]) {
    const [name] = command;
    describeWith(name, `by ${name}`, () => {
      const kind = name.endsWith('gcc') ? 'gcc' : 'clang';
      for (const level of ['-O0', '-O2', '-O3']) {
        for (const vectors of [true, false]) {
          it(`${level} ${vectors ? 'with' : 'without'} vectors`, () => {
            const flags = [
              level,
              ...KERNEL[arch],
              ...MORE[level],
              ...(vectors ? [] : NO_VECTORS[arch]),
            ];
            runAll(arch, compile(command, flags, `${kind}-${arch}${level}-${vectors}`));
          });
        }
      }
      it('with the entries and thunks of kernels, and as position-independent code', () => {
        const entries = arch === 'x86_64' ? RETPOLINES[kind] : ['-pg'];
        runAll(
          arch,
          compile(command, ['-O2', ...KERNEL[arch], ...entries], `${kind}-${arch}-entries`),
        );
        const atomics = arch === 'arm64' ? ['-mno-outline-atomics'] : [];
        const pic = ['-O2', '-fPIC', '-fno-plt', ...atomics];
        runAll(arch, compile(command, pic, `${kind}-${arch}-pic`));
      });
    });
  }
});
