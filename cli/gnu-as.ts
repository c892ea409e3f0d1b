// `--assembler gnu`: GNU as and ld do the work of emulator/assembler.ts, where they are installed. They know every
// instruction and directive; the price is two processes for each text. Only .text is taken.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { arch as hostArch, tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Assembled,
  type AssembleOptions,
  AssemblyError,
  type SourceLine,
} from '../emulator/assembler.ts';
import { type ElfFile, readElf, SHF_ALLOC } from '../emulator/elf/read.ts';
import { CliError } from './errors.ts';

type Arch = AssembleOptions['arch'];

const TARGETS: Readonly<Record<Arch, { triple: string; host: string; package: string }>> = {
  x86_64: { triple: 'x86_64-linux-gnu', host: 'x64', package: 'binutils-x86-64-linux-gnu' },
  arm64: { triple: 'aarch64-linux-gnu', host: 'arm64', package: 'binutils-aarch64-linux-gnu' },
};

export interface GnuTools {
  readonly as: string;
  readonly ld: string;
}

const found = new Map<Arch, GnuTools | null>();

/** @returns the tools for a target: cross tools, or the host's own where it is of that kind; null if there are none */
export function findGnuTools(arch: Arch): GnuTools | null {
  const known = found.get(arch);
  if (known !== undefined) return known;
  const { triple, host } = TARGETS[arch];
  const candidates = [
    { as: `${triple}-as`, ld: `${triple}-ld` },
    ...(hostArch() === host ? [{ as: 'as', ld: 'ld' }] : []),
  ];
  const tools = candidates.find(({ as, ld }) => isGnu(as) && isGnu(ld)) ?? null;
  found.set(arch, tools);
  return tools;
}

function isGnu(command: string): boolean {
  const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return status === 0 && /^GNU /.test(stdout);
}

/**
 * Assembles and links `text` at an address, as {@link Assembler.assemble} does.
 * @throws AssemblyError with the assembler's own words
 * @throws CliError if the tools are not installed
 */
export function assembleWithGnu(
  text: string,
  { arch, address, symbols = {} }: AssembleOptions,
): Assembled {
  const tools = findGnuTools(arch);
  if (tools === null) {
    throw new CliError(
      `no GNU assembler for ${arch} is installed`,
      `install ${TARGETS[arch].package}, or leave out --assembler gnu`,
    );
  }
  const folder = mkdtempSync(join(tmpdir(), 'faultline-as-'));
  try {
    const listing = runAssembler(tools, text, arch, folder);
    runLinker(tools, address, symbols, folder);
    return extract(readElf(readFileSync(join(folder, 'linked'))), listing, text, address);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function runAssembler(tools: GnuTools, text: string, arch: Arch, folder: string): string {
  // The directive shares the first line, so that the tool's line numbers are the user's.
  const source = arch === 'x86_64' ? `.intel_syntax noprefix; ${text}\n` : `${text}\n`;
  writeFileSync(join(folder, 'source.s'), source);
  const options = arch === 'x86_64' ? ['--64'] : ['-march=armv8.7-a+crypto+fp16+memtag+rng'];
  const { status, stdout, stderr, error } = spawnSync(
    tools.as,
    [...options, '-aln', '-o', 'object.o', 'source.s'],
    { cwd: folder, encoding: 'utf8' },
  );
  if (error !== undefined)
    throw new CliError(`${tools.as}: ${error.message}`, 'check its installation');
  if (status === 0) return stdout;
  const message = /^source\.s:(\d+): Error: (.*)$/m.exec(stderr);
  const line = message === null ? 1 : Number(message[1]);
  throw new AssemblyError(
    { line, column: 1 },
    message?.[2] ?? (stderr.trim() || `${tools.as} failed`),
    'correct the statement; the words are those of GNU as',
  );
}

function runLinker(
  tools: GnuTools,
  address: bigint,
  symbols: Readonly<Record<string, bigint>>,
  folder: string,
): void {
  const definitions = Object.entries(symbols).map(
    ([name, value]) => `--defsym=${name}=0x${BigInt.asUintN(64, value).toString(16)}`,
  );
  // A script, because -Ttext aligns what it places.
  const at = `0x${BigInt.asUintN(64, address).toString(16)}`;
  writeFileSync(
    join(folder, 'script.ld'),
    `SECTIONS { .text ${at} : SUBALIGN(1) { *(.text .text.*) } /DISCARD/ : { *(.note* .comment .debug* .eh_frame*) } }`,
  );
  const { status, stderr, error } = spawnSync(
    tools.ld,
    ['-o', 'linked', '-T', 'script.ld', '-e', '0', '--no-relax', ...definitions, 'object.o'],
    { cwd: folder, encoding: 'utf8' },
  );
  if (error !== undefined)
    throw new CliError(`${tools.ld}: ${error.message}`, 'check its installation');
  if (status === 0) return;
  const missing = /undefined reference to `([^']+)'/.exec(stderr);
  throw new AssemblyError(
    { line: 1, column: 1 },
    missing === null ? stderr.trim() : `undefined symbol "${missing[1]}"`,
    'define a label of that name, or bind the symbol to an address',
  );
}

function extract(elf: ElfFile, listing: string, text: string, address: bigint): Assembled {
  const section = elf.sections.find(({ name }) => name === '.text');
  const stray = elf.sections.find(
    (other) => other !== section && (other.flags & SHF_ALLOC) !== 0n && other.size > 0n,
  );
  if (stray !== undefined) {
    throw new AssemblyError(
      { line: 1, column: 1 },
      `section ${stray.name} has no place here: everything is one piece of code`,
      'keep code and its data in .text',
    );
  }
  const labels = new Map<string, bigint>();
  for (const symbol of elf.symbols) {
    const isLabel = symbol.section === section?.index && symbol.type !== 3 && symbol.name !== '';
    // `$x` and `$d` mark code and data in AArch64 objects.
    if (isLabel && !symbol.name.startsWith('$')) labels.set(symbol.name, symbol.value);
  }
  const bytes = Uint8Array.from(section?.data ?? []);
  return { bytes, labels, lines: readListing(listing, text, address, bytes.length) };
}

/** Lines of a listing: number, offset, bytes. Continuations repeat the number, lines without bytes have no offset. */
function readListing(listing: string, text: string, address: bigint, size: number): SourceLine[] {
  const rows = text.split('\n');
  const starts: { line: number; offset: number }[] = [];
  for (const [, number, digits] of listing.matchAll(/^ *(\d+) ([0-9a-f]{4,}) [0-9A-F]/gm)) {
    const line = Number(number);
    const offset = Number.parseInt(digits, 16);
    if (starts.at(-1)?.line !== line) starts.push({ line, offset });
  }
  return starts.map(({ line, offset }, i) => ({
    address: address + BigInt(offset),
    length: (starts[i + 1]?.offset ?? size) - offset,
    line,
    text: rows[line - 1]?.trim() ?? '',
    isCode: true,
  }));
}
