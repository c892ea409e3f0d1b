// --replace FUNCTION=OBJECT: compiled code in the place of functions of the kernel model.

import type { Mutant } from '../testbed/mutant.ts';
import {
  type ObjectFile,
  ObjectFileError,
  objectArch,
  openObject,
} from '../testbed/object-file.ts';
import { isReplaceable, type ReplaceableName } from '../testbed/replace/functions/index.ts';
import type { ArchName, Scenario } from '../testbed/scenario.ts';
import { notReplaceable } from '../testbed/scenario-load-kernel.ts';
import { CliError } from './errors.ts';
import { readBytes } from './files.ts';
import type { Io } from './io.ts';

interface Replacement {
  readonly name: ReplaceableName;
  readonly arch: ArchName;
  readonly file: ObjectFile;
}

/**
 * The scenario with these functions replaced, those that it replaces itself included.
 * @throws CliError for what cannot be replaced, or not by that
 */
export function withReplacements(
  scenario: Scenario,
  options: { readonly replace?: readonly string[]; readonly arch?: string },
  io: Io,
): Scenario {
  const given = (options.replace ?? []).map((text) => parse(text, io));
  if (given.length === 0) return scenario;
  const worlds = Object.fromEntries(
    Object.entries(scenario.worlds).map(([arch, world]) => {
      const own = given.filter((one) => one.arch === arch);
      const lacks = given.find(({ name }) => !own.some((one) => one.name === name));
      if (lacks !== undefined && (options.arch ?? arch) === arch) throw otherArch(lacks, arch);
      const files = own.map(({ name, file }): [ReplaceableName, ObjectFile] => [name, file]);
      const replace = new Map([...world.kernel.replace, ...files]);
      return [arch, { ...world, kernel: { ...world.kernel, replace } }];
    }),
  );
  return { ...scenario, worlds };
}

/** @throws CliError for a mutant beside compiled code: each stands in the place of the other's steps */
export function checkMutant(scenario: Scenario, mutant: Mutant | undefined): void {
  const replaces = Object.values(scenario.worlds).some(({ kernel }) => kernel.replace.size > 0);
  if (mutant === undefined || !replaces) return;
  throw new CliError(
    '--mutant changes steps of the model, in whose place compiled code stands',
    'leave out --mutant, or --replace and the scenario’s kernel.replace',
  );
}

const otherArch = ({ name, arch, file }: Replacement, wanted: string): CliError =>
  new CliError(
    `--replace ${name}: ${file.path} is for ${arch}, and the scenario runs on ${wanted}`,
    `say --arch ${arch}, or repeat --replace ${name}= with an object for ${wanted}`,
  );

function parse(text: string, io: Io): Replacement {
  const at = text.indexOf('=');
  const [name, path] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
  if (at < 1 || path === '') {
    const remedy = 'write it as bpf_arena_handle_page_fault=arena.o';
    throw new CliError(`--replace: ${text} is no FUNCTION=OBJECT`, remedy);
  }
  if (!isReplaceable(name)) {
    const [message, remedy] = notReplaceable(name);
    throw new CliError(`--replace: ${message}`, remedy);
  }
  const file = open(path, name, io);
  const arch = objectArch(file.bytes);
  if (arch === null) {
    throw new CliError(
      `--replace ${name}: ${path} is no ELF object for x86_64 or arm64`,
      'compile it with -c, little endian, for one of them',
    );
  }
  return { name, arch, file };
}

function open(path: string, name: string, io: Io): ObjectFile {
  try {
    return openObject(path, name, (file) => readBytes(file, io));
  } catch (error) {
    if (!(error instanceof ObjectFileError)) throw error;
    throw new CliError(error.message, error.remedy);
  }
}
