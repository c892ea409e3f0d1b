// Fetches the static C libraries that the tests run routines of: musl, dietlibc and glibc from their Debian packages,
// for both architectures. What is there already stays. Run it as root once: packages of arm64 must be made known.
import { addArm64, FetchError, fetchPackage, isCached, type Wanted } from './debian-packages.ts';

/** Each library's archive goes to a folder of its own: musl-amd64/libc.a. */
const LIBRARIES: readonly Wanted[] = [
  library('musl-dev:amd64', 'musl-amd64'),
  library('musl-dev:arm64', 'musl-arm64'),
  library('dietlibc-dev:amd64', 'dietlibc-amd64'),
  library('dietlibc-dev:arm64', 'dietlibc-arm64'),
  library('libc6-dev:amd64', 'glibc-amd64'),
  library('libc6-dev-arm64-cross', 'glibc-arm64'),
];

function library(name: string, to: string): Wanted {
  return { package: name, files: [{ pattern: /\/libc\.a$/, to }] };
}

let failed = 0;
for (const wanted of LIBRARIES) {
  const [{ to }] = wanted.files;
  if (isCached(to)) continue;
  try {
    addArm64();
    const [file] = fetchPackage(wanted);
    if (file === undefined) throw new FetchError(`${wanted.package}: holds no libc.a`);
    process.stdout.write(`${wanted.package}: ${file}\n`);
  } catch (error) {
    if (!(error instanceof FetchError)) throw error;
    failed++;
    process.stderr.write(`${wanted.package}: ${error.message}\n`);
  }
}
process.exitCode = failed > 0 ? 1 : 0;
