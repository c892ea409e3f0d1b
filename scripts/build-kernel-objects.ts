// Compiles parts of a kernel that recovers arena faults from Debian's source package, for both architectures: the objects by
// which the tests compare the model with the kernel itself. What is there already stays. Run it as root once: it installs
// what a kernel is built with. About 170 MB are downloaded, and 2 GB of disk are in use until it ends.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { CACHE, FetchError, fetchPackage, run } from './debian-packages.ts';

/** The first Debian release cycle whose kernels have the patch; its backports are what older releases can install. */
const SUITE = 'trixie-backports';
const VERSION = '7.3';
const SOURCE = `linux-source-${VERSION}`;

/** What a kernel is built with, beside compilers. */
const TOOLS = ['make', 'flex', 'bison', 'bc', 'libelf-dev', 'libssl-dev', 'xz-utils', 'python3'];

const COMMON = [
  ...['kernel/bpf/arena.o', 'kernel/bpf/range_tree.o', 'kernel/bpf/stream.o', 'kernel/bpf/core.o'],
  ...['kernel/extable.o', 'lib/extable.o', 'lib/rbtree.o', 'mm/memory.o', 'mm/vmalloc.o'],
  ...['mm/kfence/core.o', 'mm/kfence/report.o'],
];

interface Target {
  readonly name: 'x86_64' | 'arm64';
  readonly config: string;
  readonly make: readonly string[];
  readonly objects: readonly string[];
  /** Options beside {@link OPTIONS}. */
  readonly options: readonly string[];
}

const TARGETS: readonly Target[] = [
  {
    name: 'x86_64',
    config: 'x86_64_defconfig',
    make: ['ARCH=x86_64', 'CROSS_COMPILE=x86_64-linux-gnu-'],
    objects: [
      ...['arch/x86/mm/fault.o', 'arch/x86/mm/extable.o', 'arch/x86/net/bpf_jit_comp.o'],
      ...['arch/x86/kernel/dumpstack.o', 'arch/x86/kernel/unwind_orc.o'],
    ],
    options: [],
  },
  {
    name: 'arm64',
    config: 'defconfig',
    make: ['ARCH=arm64', 'CROSS_COMPILE=aarch64-linux-gnu-'],
    objects: [
      ...['arch/arm64/mm/fault.o', 'arch/arm64/mm/extable.o', 'arch/arm64/net/bpf_jit_comp.o'],
      ...['arch/arm64/kernel/traps.o', 'arch/arm64/kernel/stacktrace.o'],
    ],
    // The modelled kernel has 48-bit addresses.
    options: ['-d', 'ARM64_VA_BITS_52', '-e', 'ARM64_VA_BITS_48'],
  },
];

/** What the model has, debugging data for layouts, and no layouts by chance. */
const OPTIONS = [
  ...[
    'BPF_SYSCALL',
    'BPF_JIT',
    'BPF_JIT_ALWAYS_ON',
    'KFENCE',
    'MEMCG',
    'DEBUG_INFO_DWARF5',
  ].flatMap((name) => ['-e', name]),
  ...['DEBUG_INFO_NONE', 'DEBUG_INFO_REDUCED', 'DEBUG_INFO_BTF', 'RANDSTRUCT'].flatMap((name) => [
    '-d',
    name,
  ]),
];

const objectsOf = ({ objects }: Target): readonly string[] => [...COMMON, ...objects];
const folderOf = ({ name }: Target): string => join(CACHE, `linux-${VERSION}-${name}`);
const isBuilt = (target: Target): boolean =>
  objectsOf(target).every((name) => existsSync(join(folderOf(target), name)));

/** A list of packages of the suite beside those of this machine. @returns what makes apt use it alone */
function suiteOptions(folder: string): string[] {
  const [site] = run('apt-get', ['indextargets', '--format', '$(SITE) $(RELEASE)'])
    .split('\n')
    .filter((line) => line !== '' && !line.includes('-security'));
  if (site === undefined) throw new FetchError('apt knows no place to fetch packages from');
  const [host] = site.split(' ');
  const list = join(folder, 'sources.list');
  for (const sub of ['lists/partial', 'cache/archives/partial']) {
    mkdirSync(join(folder, sub), { recursive: true });
  }
  run('sh', ['-c', `echo "deb ${host} ${SUITE} main" > ${list}`]);
  return [
    ...['-o', `Dir::Etc::sourcelist=${list}`, '-o', 'Dir::Etc::sourceparts=-'],
    ...['-o', `Dir::State::lists=${folder}/lists`, '-o', `Dir::Cache=${folder}/cache`],
  ];
}

/** Fetches and unpacks the source. @returns its folder */
function unpack(folder: string): string {
  const options = suiteOptions(join(folder, 'apt'));
  run('apt-get', [...options, 'update', '-q']);
  const [tarball] = fetchPackage(
    { package: SOURCE, files: [{ pattern: /\/linux-source-[^/]*\.tar\.xz$/, to: 'linux-source' }] },
    options,
  );
  if (tarball === undefined) throw new FetchError(`${SOURCE}: holds no source`);
  run('tar', ['xf', tarball, '-C', folder]);
  rmSync(dirname(tarball), { recursive: true });
  const source = readdirSync(folder).find((name) => name.startsWith('linux-source'));
  return join(folder, source!);
}

/** Configures and compiles. @throws FetchError with the last words of what failed */
function build(source: string, target: Target): void {
  const out = join(dirname(source), target.name);
  const make = (...args: string[]) =>
    run('make', [`O=${out}`, '-s', '-j', '4', ...target.make, ...args], source);
  make(target.config);
  const file = ['--file', join(out, '.config')];
  run('scripts/config', [...file, ...OPTIONS, ...target.options], source);
  make('olddefconfig');
  make(...objectsOf(target));
  for (const name of objectsOf(target)) {
    const to = join(folderOf(target), name);
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(join(out, name), to);
  }
}

const wanted = TARGETS.filter((target) => !isBuilt(target));
if (wanted.length > 0) {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-linux-'));
  try {
    run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...TOOLS]);
    const source = unpack(folder);
    for (const target of wanted) {
      build(source, target);
      process.stdout.write(`${folderOf(target)}: ${objectsOf(target).length} objects\n`);
    }
  } catch (error) {
    if (!(error instanceof FetchError)) throw error;
    process.exitCode = 1;
    process.stderr.write(`${SOURCE}: ${error.message}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
