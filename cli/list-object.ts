// faultline run FILE --list: what an object offers and needs, without running anything.
import { extname } from 'node:path';
import { demangleRust } from '../emulator/elf/demangle-rust.ts';
import { ObjectFileError } from '../testbed/object-file.ts';
import {
  listObject,
  type ObjectList,
  type OfferedSymbol,
  type Provider,
} from '../testbed/object-list.ts';
import { CliError } from './errors.ts';
import { isScenarioFile } from './files.ts';
import type { Io } from './io.ts';
import { openProgramFile, type ProgramOptions } from './program.ts';

const PROVIDED: Readonly<Record<Provider, string>> = {
  kernel: 'there without asking',
  archive: 'in the archive',
  stub: 'a built-in routine',
  weak: 'weak: 0 unless it is bound',
  nobody: 'nobody: bind it under `symbols:`',
};

/** Sections whose entries have no fixed size are told in bytes. */
const IN_BYTES = ['.altinstructions', '.debug_line'];

/** @throws CliError */
export function listCommand(
  file: string,
  options: ProgramOptions & { json?: boolean },
  io: Io,
): void {
  const list = listed(file, options, io);
  io.out(options.json ? `${JSON.stringify(list, null, 2)}\n` : `${linesOf(list).join('\n')}\n`);
}

function listed(file: string, options: ProgramOptions, io: Io): ObjectList {
  if (isScenarioFile(file) || ['.S', '.s'].includes(extname(file))) {
    throw new CliError(`--list is for objects, and ${file} is none`, 'give a .o, .ko or .a file');
  }
  try {
    return listObject(openProgramFile(file, options, io));
  } catch (error) {
    if (!(error instanceof ObjectFileError)) throw error;
    throw new CliError(error.message, error.remedy);
  }
}

function linesOf({ file, arch, kind, functions, variables, needs, tables }: ObjectList): string[] {
  const width = Math.max(12, ...needs.map(({ name }) => name.length + 2));
  return [
    `${file}: ${kind} for ${arch}`,
    ...block('functions', functions.map(symbolLine)),
    ...block('variables', variables.map(symbolLine)),
    ...block(
      'needs',
      needs.map(({ name, by }) => `${name.padEnd(width)}${PROVIDED[by]}`),
    ),
    ...block(
      'tables',
      tables.map(({ section, entries }) => {
        const unit = IN_BYTES.includes(section) ? 'bytes' : entries === 1 ? 'entry' : 'entries';
        return `${section.padEnd(20)}${entries} ${unit}`;
      }),
    ),
  ];
}

function symbolLine({ name, section, size, binding, indirect, exported }: OfferedSymbol): string {
  const notes = [
    binding === 'global' ? '' : binding,
    exported ? 'exported' : '',
    indirect ? 'IFUNC' : '',
  ].filter((note) => note !== '');
  const end = notes.length === 0 ? '' : `  (${notes.join(', ')})`;
  return `0x${size.toString(16).padEnd(7)} ${section.padEnd(19)} ${demangleRust(name)}${end}`;
}

const block = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ['', `${title}: ${lines.length}`, ...lines.map((line) => `  ${line}`)];
