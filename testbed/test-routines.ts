// Runs C string and memory routines of compiled code over allocated and unallocated arena pages: what they return and
// leave must be what a plain model with one shared scratch page says, and every page that is not allocated faults once.
import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import type { CallSeen } from './call.ts';
import type { RunHost } from './run.ts';
import type { ArchName } from './scenario.ts';
import {
  type LibcArgument,
  type LibcResult,
  ModelArena,
  type Placement,
  type Routine,
} from './test-libc.ts';
import { runYaml } from './test-run.ts';

/** Where a routine's code is, and what it is called there. */
export interface Code {
  readonly object: string;
  readonly symbol: string;
}

export interface Library {
  /** The code of a routine; null if the library has none that can run. */
  find(name: string): Code | null;
  /** `symbols:` of the scenario. */
  bindings(routine: Routine): string;
}

/** Kernel pages, counted from kern_vm_start: two allocated, two not, one allocated, one not. */
const ALLOCATED = [0, 1, 4];
const STRIDE = 0x8000;
const PLACEMENTS: readonly Omit<Placement, 'base'>[] = [
  { name: 'allocated', a: 0x123, b: 0x1811 },
  { name: 'unallocated', a: 0x2045, b: 0x3a00 },
  { name: 'into unallocated', a: 0x2101, b: 0x0207 },
  { name: 'out of unallocated', a: 0x0333, b: 0x5102 },
  { name: 'across both ways', a: 0x1fc1, b: 0x3fb3 },
];

const yamlArgument = (arg: LibcArgument, rename: (symbol: string) => string): string => {
  if (typeof arg === 'number') return String(arg);
  return 'symbol' in arg ? `{symbol: ${rename(arg.symbol)}}` : `{arena: ${arg.at}}`;
};

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Runs every case of a routine in one world; each placement has pages of its own. */
export function runRoutine(
  host: RunHost,
  arch: ArchName,
  routine: Routine,
  library: Library,
): void {
  const { object, symbol } = library.find(routine.name)!;
  const places = PLACEMENTS.map(({ name, a, b }, i) => {
    return { name, a: a + i * STRIDE, b: b + i * STRIDE, base: KBASE[arch] };
  });
  const allocated = places.flatMap((_, i) => ALLOCATED.map((page) => page + (i * STRIDE) / 0x1000));
  const model = new ModelArena(allocated);
  const steps: string[] = [];
  const expected: { result: LibcResult; label: string }[] = [];
  const compare = library.find('strcmp')!;
  const rename = (name: string) => (name === 'strcmp' ? compare.symbol : name);
  for (const place of places) {
    for (const [n, { args }] of routine.cases(place).entries()) {
      for (const { at, bytes } of routine.prepare(place)) {
        if (n > 0 && hexOf(model.read(at, bytes.length)) === hexOf(bytes)) continue;
        const buffer = `{buffer: "${hexOf(bytes)}"}`;
        steps.push(
          `{call: {bytes: {${arch}: "${COPY[arch]}"}, args: [{arena: ${at}}, ${buffer}, ${bytes.length}]}}`,
        );
        model.write(at, bytes);
        expected.push({ result: null, label: 'prepare' });
      }
      const words = args.map((arg) => yamlArgument(arg, rename)).join(', ');
      steps.push(`{call: {object: "${object}", symbol: ${symbol}, args: [${words}]}}`);
      const result = routine.cases(place)[n].model(model);
      expected.push({ result, label: `${routine.name} ${place.name} ${JSON.stringify(args)}` });
    }
  }
  const memory = [...model.written].map((page) => {
    const sha256 = createHash('sha256').update(model.page(page)).digest('hex');
    return `{offset: ${page * 0x1000}, length: 4096, sha256: "${sha256}"}`;
  });
  steps.push(
    `{call: {bytes: {${arch}: "${RETURN[arch]}"}}, expect: {memory: [${memory.join(', ')}]}}`,
  );
  expected.push({ result: null, label: 'compare' });
  const text = `
arch: ${arch}
arena: {pages: 64, alloc: [${allocated.map((page) => `[${page}, 1]`).join(', ')}]}
symbols: {${library.bindings(routine)}}
steps: [${steps.join(',\n  ')}]
`;
  const { steps: done, failures } = runYaml(host, text, arch);
  const faulted = new Set<number>();
  done.forEach(({ seen }, i) => {
    const call = seen as CallSeen;
    const { result, label } = expected[i];
    expect([label, call.outcome, call.end]).toEqual([label, 'returned', { outcome: 'returned' }]);
    check(label, result, call, arch);
    for (let n = 0; n < call.faults.length; n++) {
      const { addr, resolution } = call.faults.at(n);
      const page = Number((addr - KBASE[arch]) >> 12n);
      expect([label, resolution, allocated.includes(page)]).toEqual([label, 'scratch', false]);
      expect([label, page, faulted.has(page)]).toEqual([label, page, false]);
      faulted.add(page);
    }
  });
  expect(failures).toEqual([]);
}

/** kern_vm_start of a scenario's arena. */
export const KBASE = { x86_64: 0xffff_c900_01e6_9000n, arm64: 0xffff_8000_8100_8000n };

/** A plain copy of rdx or x2 bytes: mov rcx, rdx; rep movsb; ret, and a loop of ldrb and strb. */
export const COPY = {
  x86_64: '4889d1f3a4c3',
  arm64: 'a20000b42314403803140038420400d1fcffff17c0035fd6',
};

const RETURN = { x86_64: 'c3', arm64: 'c0035fd6' };

function check(label: string, result: LibcResult, { ret }: CallSeen, arch: ArchName): void {
  if (result === null) return;
  const value = ret ?? 0n;
  if ('at' in result) {
    expect([label, value - KBASE[arch]]).toEqual([label, BigInt(result.at)]);
  } else if ('sign' in result) {
    const got = BigInt.asIntN(32, value);
    expect([label, got < 0n ? -1 : got > 0n ? 1 : 0]).toEqual([label, result.sign]);
  } else {
    expect([label, BigInt.asIntN(result.bits, value)]).toEqual([label, result.value]);
  }
}
