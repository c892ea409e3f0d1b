// Finds the Unicorn library, or fetches, checks and unpacks it. Order: FAULTLINE_UNICORN, the copy unpacked into
// .engine/ of the project, the system's own library if it is the pinned release, then pip. Nothing is written by a
// search; set-up writes into .engine/ alone.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { env } from 'node:process';
import koffi from 'koffi';
import { EngineError } from './error.ts';
import { BY_HAND, downloadWheel, findPip } from './pip.ts';
import {
  hostName,
  projectRoot,
  sha256,
  UNICORN_VERSION,
  type WheelFile,
  wheelForHost,
  wheelName,
} from './platform.ts';
import { unzipMember } from './unzip.ts';

/** A library that can be loaded. */
export interface Found {
  /** Absolute path, or a bare name that the system's loader resolves. */
  readonly path: string;
  readonly source: 'FAULTLINE_UNICORN' | 'unpacked' | 'system';
  /** As uc_version gives it: `2.1.4`. */
  readonly version: string;
}

export interface SetUpOptions {
  /** A wheel on disk, instead of pip. */
  readonly wheel?: string;
  /** Unpack again even if a library is there. */
  readonly force?: boolean;
}

/** What `faultline doctor` shows. */
export interface PlatformReport {
  readonly host: string;
  /** null where the release has no wheel for this host. */
  readonly wheel: string | null;
  /** False: the wheel is the release's own but this project was never run on such a host. */
  readonly tried: boolean;
  readonly found: Found | null;
  /** Each place looked at, in order, and what was there. */
  readonly places: readonly { readonly place: string; readonly result: string }[];
  /** The command line of pip that set-up would use; empty if no form of it answers. */
  readonly pip: readonly string[];
}

const SYSTEM_NAMES: Record<string, string> = {
  linux: 'libunicorn.so.2',
  darwin: 'libunicorn.2.dylib',
  win32: 'unicorn.dll',
};

const engineFolder = (): string => `${projectRoot()}/.engine`;

const unpackedPath = (file: WheelFile): string =>
  `${engineFolder()}/unicorn-${UNICORN_VERSION}-${file.host}/${file.member.replace(/.*\//, '')}`;

/** uc_version of the library at `path`. @throws EngineError if it cannot be loaded */
export function libraryVersion(path: string): string {
  try {
    const version = koffi.load(path).func('uint32_t uc_version(void *major, void *minor)');
    const word: number = version(null, null);
    return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}`;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new EngineError(`${path}: cannot be loaded as a Unicorn library: ${reason}`, BY_HAND);
  }
}

function checked(path: string, source: Found['source']): Found {
  const version = libraryVersion(path);
  if (version !== UNICORN_VERSION) {
    throw new EngineError(
      `${path}: Unicorn ${version}, but this project needs ${UNICORN_VERSION} exactly`,
      source === 'FAULTLINE_UNICORN'
        ? 'unset FAULTLINE_UNICORN or point it at that release'
        : BY_HAND,
    );
  }
  return { path, source, version };
}

type Place = { readonly place: string; readonly look: () => Found | string };

/** The places a search visits. `look` gives the library, or says why there is none; it throws for a broken setting. */
function places(): Place[] {
  const list: Place[] = [];
  const set = env.FAULTLINE_UNICORN;
  if (set) {
    list.push({
      place: `FAULTLINE_UNICORN=${set}`,
      look: () => {
        if (!existsSync(set)) {
          throw new EngineError(
            `FAULTLINE_UNICORN names ${set}, which does not exist`,
            'correct or unset it',
          );
        }
        return checked(set, 'FAULTLINE_UNICORN');
      },
    });
  }
  const file = wheelForHost();
  if (file) {
    list.push({
      place: unpackedPath(file),
      look: () =>
        existsSync(unpackedPath(file)) ? checked(unpackedPath(file), 'unpacked') : 'not there',
    });
  }
  const name = SYSTEM_NAMES[process.platform];
  if (name) {
    list.push({
      place: `system ${name}`,
      look: () => {
        try {
          return checked(name, 'system');
        } catch (error) {
          const message = (error as Error).message;
          return message.includes('needs') ? message : 'not there';
        }
      },
    });
  }
  return list;
}

/**
 * Looks for the library without changing anything.
 * @returns null if there is none
 * @throws EngineError if FAULTLINE_UNICORN is set and of no use, or the unpacked copy is broken
 */
export function findLibrary(): Found | null {
  for (const { look } of places()) {
    const result = look();
    if (typeof result !== 'string') return result;
  }
  return null;
}

/**
 * Finds the library, or fetches and unpacks it. With `wheel` or `force` it unpacks in any case.
 * @throws EngineError
 */
export function setUp(options: SetUpOptions = {}): Found {
  if (options.wheel === undefined && !options.force) {
    const found = findLibrary();
    if (found) return found;
  }
  const file = wheelForHost();
  if (!file) {
    throw new EngineError(
      `Unicorn ${UNICORN_VERSION} has no wheel for ${hostName()}`,
      'build that release from source and set FAULTLINE_UNICORN to the path of the library',
    );
  }
  if (options.wheel !== undefined) return unpack(readWheel(options.wheel), options.wheel, file);
  const temporary = mkdtempSync(`${tmpdir()}/faultline-`);
  try {
    const wheel = downloadWheel(file, temporary);
    return unpack(readWheel(wheel), wheel, file);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** The library, set up on first use: install scripts may have been skipped. @throws EngineError */
export const ensureLibrary = (): Found => setUp();

function readWheel(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new EngineError(
      `${path}: cannot be read (${code})`,
      'check the path and its permissions',
    );
  }
}

function unpack(wheel: Uint8Array, name: string, file: WheelFile): Found {
  const wanted = `the wheel for ${file.host} is ${wheelName(file)}`;
  if (wheel[0] !== 0x50 || wheel[1] !== 0x4b) {
    throw new EngineError(`${name}: not a wheel (it is no zip archive)`, wanted);
  }
  const hash = sha256(wheel);
  if (hash !== file.wheelSha256) {
    const other = name.endsWith(wheelName(file)) ? 'the file is damaged or another' : wanted;
    throw new EngineError(
      `${name}: SHA-256 is ${hash}, expected ${file.wheelSha256}`,
      `${other}; download it again`,
    );
  }
  const library = unzipMember(wheel, file.member);
  if (!library) throw new EngineError(`${name}: has no ${file.member}`, wanted);
  if (file.librarySha256 !== null && sha256(library) !== file.librarySha256) {
    throw new EngineError(
      `${name}: ${file.member} is not the release's library`,
      'download it again',
    );
  }
  const path = unpackedPath(file);
  writeWhole(path, library);
  return checked(path, 'unpacked');
}

/** Another process may be setting up at the same time: the file appears whole or not at all. */
function writeWhole(path: string, data: Uint8Array): void {
  const part = `${path}.${process.pid}`;
  try {
    mkdirSync(path.replace(/\/[^/]*$/, ''), { recursive: true });
    writeFileSync(part, data);
    renameSync(part, path);
  } catch (error) {
    rmSync(part, { force: true });
    // Windows refuses to replace a library that is loaded; the one in place is the same file.
    if (existsSync(path) && statSync(path).size === data.length) return;
    const code = (error as NodeJS.ErrnoException).code;
    throw new EngineError(
      `${path}: cannot be written (${code})`,
      'make the folder writable, or set FAULTLINE_UNICORN to the path of a Unicorn 2.1.4 library',
    );
  }
}

/** True if the file is the release's library for this host, byte for byte: its inner offsets are then known. */
export function isReleaseLibrary(path: string): boolean {
  const file = wheelForHost();
  return (
    file !== null &&
    file.librarySha256 !== null &&
    existsSync(path) &&
    sha256(readFileSync(path)) === file.librarySha256
  );
}

/** Looks everywhere, for `faultline doctor`. Never throws for what it finds. */
export function inspectPlatform(): PlatformReport {
  const file = wheelForHost();
  let found: Found | null = null;
  const seen = places().map(({ place, look }) => {
    // The loader would answer a bare name with the library that is already loaded.
    if (found && place.startsWith('system')) return { place, result: 'not looked at' };
    try {
      const result = look();
      if (typeof result === 'string') return { place, result };
      found ??= result;
      const release = isReleaseLibrary(result.path) ? "the release's own file" : 'another build';
      return { place, result: `Unicorn ${result.version}, ${release}` };
    } catch (error) {
      return { place, result: (error as Error).message };
    }
  });
  return {
    host: hostName(),
    wheel: file && wheelName(file),
    tried: file?.tried ?? false,
    found,
    places: seen,
    pip: findPip().map((form) => form.join(' ')),
  };
}
