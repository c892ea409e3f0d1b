// Debian packages, fetched through apt and unpacked below `.cache/debian`, which stays out of version control.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const CACHE = new URL('../.cache/debian/', import.meta.url).pathname;

export type DebianArch = 'amd64' | 'arm64';

/** A package that could not be had; the message says why. */
export class FetchError extends Error {}

/** What is wanted of a package. */
export interface Wanted {
  /** With its architecture where that is not this machine's: musl-dev:arm64. */
  readonly package: string;
  /** Files in the package, as a shell pattern, and the folder of the cache that they go to. */
  readonly files: readonly { readonly pattern: RegExp; readonly to: string }[];
}

/** @throws FetchError with the tool's own last words */
export function run(command: string, args: readonly string[], cwd?: string): string {
  const done = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (done.error) throw new FetchError(`${command}: ${done.error.message}`);
  if (done.status === 0) return done.stdout;
  const words = done.stderr.trim().split('\n').at(-1) ?? '';
  throw new FetchError(`${command} ${args.join(' ')}: ${words || `exit code ${done.status}`}`);
}

/** Lets apt know packages of arm64 too. Needs root, and does nothing where they are known. */
export function addArm64(): void {
  if (run('dpkg', ['--print-foreign-architectures']).split('\n').includes('arm64')) return;
  if (run('dpkg', ['--print-architecture']).trim() === 'arm64') return;
  run('dpkg', ['--add-architecture', 'arm64']);
  run('apt-get', ['update', '-q']);
}

/** Fetches a package and puts the wanted files into the cache. @param options of apt's. @throws FetchError */
export function fetchPackage(wanted: Wanted, options: readonly string[] = []): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-debian-'));
  try {
    run('apt-get', [...options, 'download', '-q', wanted.package], folder);
    const deb = readdirSync(folder).find((name) => name.endsWith('.deb'));
    if (deb === undefined) throw new FetchError(`${wanted.package}: apt-get fetched nothing`);
    run('dpkg-deb', ['-x', deb, 'x'], folder);
    const names = readdirSync(join(folder, 'x'), { recursive: true, encoding: 'utf8' });
    return wanted.files.flatMap(({ pattern, to }) =>
      names
        .filter((name) => pattern.test(name))
        .map((name) => {
          mkdirSync(join(CACHE, to), { recursive: true });
          const target = join(CACHE, to, name.split('/').at(-1)!);
          copyFileSync(join(folder, 'x', name), target);
          return target;
        }),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** True if a folder of the cache holds something. */
export const isCached = (folder: string): boolean =>
  existsSync(join(CACHE, folder)) && readdirSync(join(CACHE, folder)).length > 0;
