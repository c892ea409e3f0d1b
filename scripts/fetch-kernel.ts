// Fetches Debian's kernels for both architectures, and some of their modules, which the tests call functions of. What is there already
// stays. Run it as root once: packages of arm64 must be made known. About 130 MB are downloaded.
import {
  addArm64,
  type DebianArch,
  FetchError,
  fetchPackage,
  isCached,
  run,
} from './debian-packages.ts';

/** Modules whose functions need little of the kernel around them. */
const MODULES =
  /\/kernel\/lib\/(?:crc7|crc16|crc-itu-t|crc64|crypto\/libarc4|crypto\/libdes|lz4\/lz4_compress)\.ko(?:\.(?:xz|gz|zst))?$/;

/** The boot image. */
const IMAGE = /^boot\/vmlinuz-[^/]*$/;

/** The package that the meta package of an architecture stands for. */
function imagePackage(arch: DebianArch): string {
  const depends = run('apt-cache', ['depends', `linux-image-${arch}:${arch}`]);
  const name = /Depends: (linux-image-[0-9][^\s:]*)/.exec(depends)?.[1];
  if (name === undefined) throw new FetchError(`linux-image-${arch}: depends on no image`);
  return `${name}:${arch}`;
}

let failed = 0;
for (const arch of ['amd64', 'arm64'] as const) {
  const wanted = [
    { pattern: MODULES, to: `modules-${arch}` },
    { pattern: IMAGE, to: `boot-${arch}` },
  ].filter(({ to }) => !isCached(to));
  if (wanted.length === 0) continue;
  try {
    addArm64();
    const name = imagePackage(arch);
    const files = fetchPackage({ package: name, files: wanted });
    process.stdout.write(`${name}: ${files.length} files\n`);
  } catch (error) {
    if (!(error instanceof FetchError)) throw error;
    failed++;
    process.stderr.write(`linux-image-${arch}: ${error.message}\n`);
  }
}
process.exitCode = failed > 0 ? 1 : 0;
