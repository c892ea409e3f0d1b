// Routines of three C libraries, unpatched out of their archives, over allocated and unallocated arena pages: what they
// return and leave must be what a plain model with one shared scratch page says, and every page that is not allocated
// faults once.
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Archive } from '../emulator/elf/archive.ts';
import { readElf, STT_GNU_IFUNC } from '../emulator/elf/read.ts';
import type { ArchName } from './scenario.ts';
import { ROUTINES, type Routine } from './test-libc.ts';
import { type Code, runRoutine } from './test-routines.ts';
import { loadTestHost } from './test-run.ts';

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

const fetched = (library: string, arch: ArchName) => existsSync(pathOf(library, arch));
const host = await loadTestHost();

/** The object and the name under which a library has a routine that can run here; null if it has none. */
function find(library: string, arch: ArchName, name: string): Code | null {
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
      runRoutine(host, arch, routine, {
        find: (name) => find(library, arch, name),
        bindings: (one) => bindings(library, arch, one),
      });
    });
    it('are at least 25', () => {
      expect(here.length).toBeGreaterThanOrEqual(25);
    });
  });
});
