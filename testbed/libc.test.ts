// Routines of three C libraries, unpatched out of their archives, over allocated and unallocated arena pages: what they
// return and leave must be what a plain model with one shared scratch page says, and every page that is not allocated
// faults once.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Archive } from '../emulator/elf/archive.ts';
import { readElf, STT_GNU_IFUNC } from '../emulator/elf/read.ts';
import type { CallSeen } from './call.ts';
import type { ArchName } from './scenario.ts';
import {
  type LibcArgument,
  type LibcResult,
  ModelArena,
  type Placement,
  ROUTINES,
  type Routine,
} from './test-libc.ts';
import { loadTestHost, runYaml } from './test-run.ts';

const CACHE = new URL('../.cache/debian/', import.meta.url);
const DEBIAN = { x86_64: 'amd64', arm64: 'arm64' };
const pathOf = (library: string, arch: ArchName) =>
  new URL(`${library}-${DEBIAN[arch]}/libc.a`, CACHE).pathname;

const LIBRARIES = ['musl', 'dietlibc', 'glibc'];
const ARCHS: readonly ArchName[] = ['x86_64', 'arm64'];

/** glibc's choices for any CPU, where the name itself is an indirect function. */
const PLAIN: Record<ArchName, readonly string[]> = {
  x86_64: ['_erms', '_sse2', '_sse2_unaligned', '_generic'],
  arm64: ['_generic', '_asimd', '_simd'],
};

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

const fetched = (library: string, arch: ArchName) => existsSync(pathOf(library, arch));
const host = await loadTestHost();

/** The object and the name under which a library has a routine that can run here; null if it has none. */
function find(
  library: string,
  arch: ArchName,
  name: string,
): { object: string; symbol: string } | null {
  const archive = archiveOf(library, arch);
  for (const symbol of [name, `__${name}`, ...PLAIN[arch].map((end) => `__${name}${end}`)]) {
    const member = archive.definer(symbol);
    if (member === null) continue;
    const elf = readElf(member.bytes);
    const isIndirect = elf.symbols.some((s) => s.name === symbol && s.type === STT_GNU_IFUNC);
    if (!isIndirect) return { object: `${pathOf(library, arch)}(${member.name})`, symbol };
  }
  return null;
}

const archives = new Map<string, Archive>();
function archiveOf(library: string, arch: ArchName): Archive {
  const path = pathOf(library, arch);
  const archive = archives.get(path) ?? new Archive(readFileSync(path));
  archives.set(path, archive);
  return archive;
}

const yamlArgument = (arg: LibcArgument, rename: (symbol: string) => string): string => {
  if (typeof arg === 'number') return String(arg);
  return 'symbol' in arg ? `{symbol: ${rename(arg.symbol)}}` : `{arena: ${arg.at}}`;
};

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Runs every case of a routine in one world; each placement has pages of its own. */
function runRoutine(library: string, arch: ArchName, routine: Routine): void {
  const { object, symbol } = find(library, arch, routine.name)!;
  const places = PLACEMENTS.map(({ name, a, b }, i) => {
    return { name, a: a + i * STRIDE, b: b + i * STRIDE, base: KBASE[arch] };
  });
  const allocated = places.flatMap((_, i) => ALLOCATED.map((page) => page + (i * STRIDE) / 0x1000));
  const model = new ModelArena(allocated);
  const steps: string[] = [];
  const expected: { result: LibcResult; label: string }[] = [];
  const compare = find(library, arch, 'strcmp')!;
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
symbols: {${bindings(library, arch, routine)}}
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

/** Names that routines of glibc use and that are indirect functions there are bound to the choice for any CPU. */
function bindings(library: string, arch: ArchName, { name }: Routine): string {
  const names = library === 'glibc' ? USED : [];
  const compare = name === 'qsort' || name === 'bsearch' ? ['strcmp'] : [];
  return [...compare, ...names]
    .flatMap((used) => {
      const found = find(library, arch, used.replace(/^__/, ''));
      if (found === null) return [];
      const key = compare.includes(used) ? found.symbol : used;
      return [`${key}: {object: "${found.object}", symbol: ${found.symbol}}`];
    })
    .join(', ');
}
const USED = [
  ...['strlen', 'strnlen', '__strnlen', 'strcspn', 'strspn', 'strchr', 'strchrnul', '__strchrnul'],
  ...['memset', 'memcpy', 'memcmp', 'memchr', 'mempcpy', '__mempcpy', 'memmove', '__stpcpy'],
];

/**
 * What wants thread-local storage (errno, the locale); dietlibc's strncpy and stpncpy, which do not fill up with zeros;
 * and its qsort on x86-64, which asks for rand(), compiled for addresses below 2 GiB.
 */
const NOT_HERE: Record<string, readonly string[]> = {
  'dietlibc x86_64': ['strtol', 'strtoul', 'strncpy', 'stpncpy', 'qsort'],
  'dietlibc arm64': ['strtol', 'strtoul', 'strncpy', 'stpncpy'],
  'glibc x86_64': ['strtol', 'strtoul', 'atoi', 'qsort', 'strcasecmp'],
  'glibc arm64': ['strtol', 'strtoul', 'atoi', 'qsort', 'strcasecmp'],
};

/** kern_vm_start of a scenario's arena. */
const KBASE = { x86_64: 0xffff_c900_01e6_9000n, arm64: 0xffff_8000_8100_8000n };

/** A plain copy of rdx or x2 bytes: mov rcx, rdx; rep movsb; ret, and a loop of ldrb and strb. */
const COPY = {
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

/** Of each library the routines that it has and that can run here; the names that are left out, and why. */
describe.each(ARCHS)('routines of C libraries on %s', (arch) => {
  describe.each(LIBRARIES)('%s', (library) => {
    if (!fetched(library, arch)) {
      it.skip(`not fetched: run npx tsx scripts/fetch-libc.ts as root on Debian`, () => {});
      return;
    }
    const left = NOT_HERE[`${library} ${arch}`] ?? [];
    const here = ROUTINES.filter(
      ({ name }) => !left.includes(name) && find(library, arch, name) !== null,
    );
    it.each(here.map((routine) => [routine.name, routine] as const))('%s', (_, routine) => {
      runRoutine(library, arch, routine);
    });
    it('are at least 25', () => {
      expect(here.length).toBeGreaterThanOrEqual(25);
    });
  });
});
