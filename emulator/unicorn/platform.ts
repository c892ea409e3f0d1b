// Which file of the Unicorn 2.1.4 release belongs to which host, with the SHA-256 of the wheel and of the library in
// it. Only Linux x86-64 with glibc was ever run by us; the others are the release's own files, untried.
import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs';
import { arch, execPath, platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { EngineError } from './error.ts';

/** The one release whose behaviour this project knows. Later ones change what a refused translation reports. */
export const UNICORN_VERSION = '2.1.4';

/** One host's file of the release. */
export interface WheelFile {
  /** `linux-x64-glibc` and so on: the key of {@link WHEELS}. */
  readonly host: string;
  /** pip's platform tag, the last part of the wheel's name. */
  readonly tag: string;
  readonly wheelSha256: string;
  /** Path of the library inside the wheel. */
  readonly member: string;
  /** Of the library. null where the release's own value is not recorded: the wheel's hash covers it. */
  readonly librarySha256: string | null;
  /** True if the project was run there. */
  readonly tried: boolean;
}

const SO = 'unicorn/lib/libunicorn.so.2';
const DYLIB = 'unicorn/lib/libunicorn.2.dylib';

export const WHEELS: readonly WheelFile[] = [
  {
    host: 'linux-x64-glibc',
    tag: 'manylinux_2_17_x86_64.manylinux2014_x86_64',
    wheelSha256: '9d6e6dea140560de4ebd8446661f7ef84a357d428c14a3ef09dacd306ec8c239',
    member: SO,
    librarySha256: 'ddb196ec82b52e502c18e4a34478bf7b9f61c83c2ebaa95c74d8ded45a95da9c',
    tried: true,
  },
  {
    host: 'linux-arm64-glibc',
    tag: 'manylinux_2_17_aarch64.manylinux2014_aarch64',
    wheelSha256: 'bd1fb0c9af5f57e356d8a96928b4fe045b2e18f308ef23b481d5f970008aa722',
    member: SO,
    librarySha256: 'a0b99458a82e268aee258205a40590411c3a9f28e42abf2942ce4e87b7d9ac65',
    tried: false,
  },
  {
    host: 'linux-x64-musl',
    tag: 'musllinux_1_2_x86_64',
    wheelSha256: 'd348a90ee90219d141cb115ef8ed7e3fd1af42afaee105f7580761d775b25e32',
    member: SO,
    librarySha256: 'cc1a208c69b151fdd23439736b0fac9ac6e14409dae77deee900369e6daab302',
    tried: false,
  },
  {
    host: 'linux-arm64-musl',
    tag: 'musllinux_1_2_aarch64',
    wheelSha256: '01d744ba01c5cc68f1d7afe3d183f1868720fd440ec4eaedc4d1d5d9bf54b84c',
    member: SO,
    librarySha256: '52179305928b32c937d2d527ad6fef9d500c6fa7cdb14bf32abf7021d67271a2',
    tried: false,
  },
  {
    host: 'darwin-x64',
    tag: 'macosx_10_9_x86_64',
    wheelSha256: '2a6f738fab5fabffa56af1e7bbf16ea1e91466c342f8dc64f125bd70f36c6b80',
    member: DYLIB,
    librarySha256: '51c4a6f3ce22628ecd3acd1c49b921a818ffb989ca2c473134cc7eb06094f256',
    tried: false,
  },
  {
    host: 'darwin-arm64',
    tag: 'macosx_11_0_arm64',
    wheelSha256: 'd6c93e0f60328d8f4a1792af3f834137a28050fcc2305f2ec01efe8558a9844e',
    member: DYLIB,
    librarySha256: '7207c8e3d7a63118fb0bca73e01816797fd51b1d8a39a4cbc7abfd562ee59c85',
    tried: false,
  },
  {
    host: 'win32-x64',
    tag: 'win_amd64',
    wheelSha256: 'd7107500c64ce5c168fbff6bef9485b5db1350050036f4cea568650cf8bdbdf5',
    member: 'unicorn/lib/unicorn.dll',
    librarySha256: null,
    tried: false,
  },
];

/** The wheel's file name as the package index has it. */
export const wheelName = (file: WheelFile): string =>
  `unicorn-${UNICORN_VERSION}-cp37-abi3-${file.tag}.whl`;

/** This host in the words of {@link WHEELS}, whether or not there is a wheel for it. */
export function hostName(): string {
  if (platform !== 'linux') return `${platform}-${arch}`;
  return `linux-${arch}-${usesMusl() ? 'musl' : 'glibc'}`;
}

/** Node's own ELF header names its loader: ld-musl-x86_64.so.1 or ld-linux-x86-64.so.2. */
function usesMusl(): boolean {
  const head = Buffer.alloc(4096);
  const file = openSync(execPath, 'r');
  readSync(file, head, 0, head.length, 0);
  closeSync(file);
  return head.includes('/ld-musl-');
}

/** @returns the release's file for this host, or null where there is none */
export function wheelForHost(host = hostName()): WheelFile | null {
  return WHEELS.find((file) => file.host === host) ?? null;
}

/**
 * The folder of the project: of its package.json, above this file or above the bundle made of it.
 * @throws EngineError if there is none
 */
export function projectRoot(from = fileURLToPath(new URL('.', import.meta.url))): string {
  for (let folder = from.replace(/[\\/]+$/, ''); ; ) {
    const manifest = `${folder}/package.json`;
    if (existsSync(manifest) && nameIn(manifest) === 'faultline') return folder;
    const parent = folder.replace(/[\\/][^\\/]*$/, '');
    if (parent === folder || parent === '') break;
    folder = parent;
  }
  throw new EngineError(
    `no package.json of faultline above ${from}`,
    'install the package as a whole, or set FAULTLINE_UNICORN to the path of a Unicorn 2.1.4 library',
  );
}

function nameIn(manifest: string): string | undefined {
  try {
    return JSON.parse(readFileSync(manifest, 'utf8')).name;
  } catch {
    return undefined;
  }
}

export const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
