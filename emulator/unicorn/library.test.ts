// Finding and unpacking the library: each way, and what is said when one fails. Nothing is downloaded here.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { zipSync } from 'fflate';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EngineError } from './error.ts';
import { ensureLibrary, findLibrary, inspectPlatform, isReleaseLibrary, setUp } from './library.ts';
import { downloadWheel, findPip } from './pip.ts';
import { hostName, projectRoot, sha256, WHEELS, wheelForHost, wheelName } from './platform.ts';

const LIBRARY = ensureLibrary();
const variable = process.env.FAULTLINE_UNICORN;
const path = process.env.PATH;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(`${tmpdir()}/faultline-test-`);
});
afterEach(() => {
  if (variable === undefined) delete process.env.FAULTLINE_UNICORN;
  else process.env.FAULTLINE_UNICORN = variable;
  process.env.PATH = path;
  rmSync(folder, { recursive: true, force: true });
});

function errorOf(action: () => unknown): EngineError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(EngineError);
    return error as EngineError;
  }
  throw new Error('nothing was thrown');
}

/** A command in a folder that becomes the whole PATH. */
function command(name: string, script: string): void {
  writeFileSync(`${folder}/${name}`, `#!/bin/sh\n${script}\n`);
  chmodSync(`${folder}/${name}`, 0o755);
  process.env.PATH = folder;
}

describe('finding', () => {
  it('takes the library that FAULTLINE_UNICORN names', () => {
    const copy = `${folder}/libunicorn.so.2`;
    copyFileSync(LIBRARY.path, copy);
    process.env.FAULTLINE_UNICORN = copy;
    expect(findLibrary()).toEqual({ path: copy, source: 'FAULTLINE_UNICORN', version: '2.1.4' });
    expect(isReleaseLibrary(copy)).toBe(true);
  });

  it('says so when FAULTLINE_UNICORN names nothing, or something else', () => {
    process.env.FAULTLINE_UNICORN = `${folder}/nothing`;
    expect(errorOf(findLibrary).message).toMatch(/does not exist/);
    process.env.FAULTLINE_UNICORN = `${folder}/text`;
    writeFileSync(`${folder}/text`, 'no library');
    const error = errorOf(findLibrary);
    expect(error.message).toMatch(/cannot be loaded/);
    expect(error.remedy).toMatch(/faultline setup/);
    expect(isReleaseLibrary(`${folder}/text`)).toBe(false);
    process.env.PATH = folder;
    expect(inspectPlatform().places[0].result).toMatch(/cannot be loaded/);
  });

  it('reports the platform', () => {
    delete process.env.FAULTLINE_UNICORN;
    process.env.PATH = folder;
    const report = inspectPlatform();
    expect(report.host).toBe(hostName());
    expect(report.found?.version).toBe('2.1.4');
    expect(report.places.length).toBeGreaterThan(1);
  });

  it('finds the project above a bundle, and says so where there is none', () => {
    const inner = `${folder}/project/dist/chunks`;
    mkdirSync(inner, { recursive: true });
    expect(errorOf(() => projectRoot(inner)).remedy).toMatch(/FAULTLINE_UNICORN/);
    writeFileSync(`${folder}/package.json`, '{"name": "faultline"}');
    writeFileSync(`${folder}/project/package.json`, '{"name": "other"}');
    expect(projectRoot(inner)).toBe(folder);
    writeFileSync(`${folder}/project/package.json`, '{"name": "faultline"}');
    expect(projectRoot(`${inner}/`)).toBe(`${folder}/project`);
  });

  it('knows one wheel for each host', () => {
    expect(new Set(WHEELS.map((file) => file.host)).size).toBe(WHEELS.length);
    for (const file of WHEELS) {
      expect(file.wheelSha256).toMatch(/^[0-9a-f]{64}$/);
      expect(wheelName(file)).toMatch(/^unicorn-2\.1\.4-cp37-abi3-[\w.]+\.whl$/);
    }
    expect(wheelForHost('plan9-mips')).toBeNull();
  });
});

describe('a wheel on disk', () => {
  it('is refused if it is missing, no archive, or not the pinned one', () => {
    expect(errorOf(() => setUp({ wheel: `${folder}/none.whl` })).message).toMatch(/ENOENT/);
    writeFileSync(`${folder}/text.whl`, 'hello');
    const text = errorOf(() => setUp({ wheel: `${folder}/text.whl` }));
    expect(text.message).toMatch(/not a wheel/);
    expect(text.remedy).toContain(wheelName(wheelForHost()!));
    const zip = zipSync({ 'unicorn/lib/libunicorn.so.2': new Uint8Array([1, 2, 3]) });
    writeFileSync(`${folder}/other.whl`, zip);
    const other = errorOf(() => setUp({ wheel: `${folder}/other.whl` }));
    expect(other.message).toContain(`SHA-256 is ${sha256(zip)}, expected`);
    expect(other.remedy).toMatch(/download it again/);
  });
});

describe('pip', () => {
  const download = () => downloadWheel(wheelForHost()!, folder);

  it('is looked for in every form', () => {
    process.env.PATH = folder;
    expect(findPip()).toEqual([]);
    const missing = errorOf(download);
    expect(missing.message).toBe('neither Python nor pip nor uv was found');
    expect(missing.remedy).toMatch(/--wheel FILE/);
    command('uv', '[ "$1 $2 $3" = "tool run pip" ]');
    expect(findPip()).toEqual([['uv', 'tool', 'run', 'pip']]);
    command('python3', '[ "$1 $2" = "-m pip" ]');
    command('pip', 'exit 0');
    expect(findPip()).toEqual([['python3', '-m', 'pip']]);
  });

  it('is given the pinned hash, and no index', () => {
    command('pip', `echo "$@" > ${folder}/seen; exit 1`);
    errorOf(download);
    process.env.PATH = path;
    const seen = String(readFileSync(`${folder}/seen`));
    expect(seen).toMatch(/^download --no-deps --require-hashes --only-binary=:all: /);
    expect(seen).not.toMatch(/index|http/);
    const pinned = String(readFileSync(`${folder}/requirements.txt`));
    expect(pinned).toBe(`unicorn==2.1.4 --hash=sha256:${wheelForHost()!.wheelSha256}\n`);
  });

  it.each([
    ['echo "No module named pip" >&2; exit 1', /has no pip/],
    ['echo "THESE PACKAGES DO NOT MATCH THE HASHES" >&2; exit 1', /not the pinned one/],
    ['echo "NewConnectionError: name resolution" >&2; exit 1', /could not reach the package index/],
    ['echo "ERROR: No matching distribution found" >&2; exit 1', /no wheel of unicorn/],
    ['echo "OSError: No space left on device" >&2; exit 1', /could not write/],
    ['echo "something new" >&2; exit 7', /failed: something new/],
    ['exit 0', /'pip3 download' failed/],
  ])('has its failures explained: %s', (script, message) => {
    command('pip3', script);
    const error = errorOf(download);
    expect(error.message).toMatch(message);
    expect(error.remedy.length).toBeGreaterThan(10);
  });

  it('tries the next form where one has no pip', () => {
    const name = wheelName(wheelForHost()!);
    command('python3', 'echo "No module named pip" >&2; exit 1');
    command('pip3', `: > ${folder}/${name}`);
    expect(download()).toBe(`${folder}/${name}`);
    expect(existsSync(`${folder}/${name}`)).toBe(true);
  });
});
