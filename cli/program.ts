// The scenario that a command works on: a scenario file, or assembly or an object that the options make one of.
import { extname } from 'node:path';
import { builtinBindings } from '../testbed/link-objects.ts';
import {
  isObjectPath,
  type ObjectFile,
  ObjectFileError,
  objectArch,
  openObject,
  splitObjectPath,
} from '../testbed/object-file.ts';
import {
  type ArchName,
  type Code,
  parseScenario,
  type Scenario,
  type SymbolBinding,
} from '../testbed/scenario.ts';
import { ScenarioError } from '../testbed/scenario-error.ts';
import { CliError } from './errors.ts';
import { shellWord } from './execute.ts';
import { isScenarioFile, readBytes, readText } from './files.ts';
import type { Io } from './io.ts';
import { withReplacements } from './replace.ts';
import { loadScenario, withSeries } from './scenario-file.ts';

export interface ProgramOptions {
  readonly arch?: string;
  readonly series?: string;
  readonly symbol?: string;
  /** arena:0x1000,42 */
  readonly args?: string;
  /** 0:1, each */
  readonly alloc?: readonly string[];
  readonly arenaPages?: number;
  readonly maxInsns?: number;
  readonly assembler?: string;
  /** FUNCTION=OBJECT, each */
  readonly replace?: readonly string[];
}

/** Options that say what a scenario file says itself, and the key there. */
const OWN_OPTIONS: readonly [keyof ProgramOptions, option: string, key: string][] = [
  ['symbol', '--symbol', 'symbol'],
  ['args', '--args', 'args'],
  ['alloc', '--alloc', 'arena.alloc'],
  ['arenaPages', '--arena-pages', 'arena.pages'],
  ['maxInsns', '--max-insns', 'limits.instructions'],
];

/** @throws CliError for a file or options that cannot be used, ScenarioError for what is wrong in a scenario file */
export function scenarioFrom(file: string, options: ProgramOptions, io: Io): Scenario {
  return withReplacements(scenarioOf(file, options, io), options, io);
}

function scenarioOf(file: string, options: ProgramOptions, io: Io): Scenario {
  if (isScenarioFile(file)) {
    const [, option, key] = OWN_OPTIONS.find(([name]) => options[name] !== undefined) ?? [];
    if (option !== undefined) {
      throw new CliError(
        `${option} is for assembly and objects, and ${file} is a scenario`,
        `write \`${key}:\` into the scenario`,
      );
    }
    return withSeries(loadScenario(file, io), options.series);
  }
  if (['.S', '.s'].includes(extname(file))) {
    const text = readText(file, io);
    const code: Code = { kind: 'text', text, line: 1, symbol: options.symbol ?? null };
    return scenarioOfCode(file, (options.arch ?? 'x86_64') as ArchName, code, new Map(), options);
  }
  // A file that is not there, or no file, is told first.
  const { file: onDisk } = splitObjectPath(file);
  readBytes(onDisk, io);
  if (isObjectPath(file)) return scenarioOfObject(openProgramFile(file, options, io), options);
  throw new CliError(
    `${file}: neither a scenario (.yaml, .json), assembly (.S, .s), an object (.o, .ko, .a) nor a kernel (vmlinux)`,
    'give the file the ending of what it is',
  );
}

/** The options that a replay of the same file needs beside --arch and --series. */
export function replayOptions(options: ProgramOptions): string {
  const given = [
    ['--assembler', options.assembler === 'keystone' ? undefined : options.assembler],
    ['--symbol', options.symbol],
    ['--args', options.args],
    ...(options.alloc ?? []).map((range) => ['--alloc', range]),
    ['--arena-pages', options.arenaPages],
    ['--max-insns', options.maxInsns],
    ...(options.replace ?? []).map((one) => ['--replace', one]),
  ];
  return given
    .flatMap(([name, value]) => (value === undefined ? [] : ` ${name} ${shellWord(String(value))}`))
    .join('');
}

/** The object that a command line names. @throws CliError */
export function openProgramFile(file: string, { symbol }: ProgramOptions, io: Io): ObjectFile {
  try {
    return openObject(file, symbol ?? null, (path) => readBytes(path, io));
  } catch (error) {
    if (!(error instanceof ObjectFileError)) throw error;
    throw new CliError(error.message, error.remedy);
  }
}

/** What the object leaves undefined is bound to the built-in routines of those names. */
function scenarioOfObject(object: ObjectFile, options: ProgramOptions): Scenario {
  const file = object.path;
  const arch = objectArch(object.bytes);
  if (arch === null) {
    throw new CliError(
      `${file}: is no ELF object for x86_64 or arm64`,
      'compile it with -c, little endian, for one of them',
    );
  }
  if (options.arch !== undefined && options.arch !== arch) {
    throw new CliError(`${file}: is for ${arch}, not for ${options.arch}`, 'leave --arch out');
  }
  const code: Code = { kind: 'object', file: object, symbol: options.symbol ?? null };
  return scenarioOfCode(file, arch, code, builtinBindings(arch, object), options);
}

function scenarioOfCode(
  file: string,
  arch: ArchName,
  code: Code,
  symbols: ReadonlyMap<string, SymbolBinding>,
  options: ProgramOptions,
): Scenario {
  const document = {
    name: file,
    arch: [arch],
    series: options.series ?? 'mainline',
    arena: {
      ...(options.arenaPages === undefined ? {} : { pages: options.arenaPages }),
      alloc: (options.alloc ?? []).map(pageRange),
    },
    code: { [arch]: 'ret' },
    args: parseArguments(options.args),
    limits: { instructions: options.maxInsns === 0 ? 'none' : (options.maxInsns ?? 10_000_000) },
  };
  const scenario = parseOptions(document, file);
  return withCode(scenario, code, symbols);
}

/** The loader judges what the options say; its complaints are given the options' names. */
function parseOptions(document: object, file: string): Scenario {
  try {
    return parseScenario(JSON.stringify(document), file, () => {
      throw new Error('no file is named');
    });
  } catch (error) {
    if (!(error instanceof ScenarioError)) throw error;
    const [{ path, message, remedy }] = error.problems;
    const [, option = path] = OWN_OPTIONS.find(([, , key]) => path.startsWith(key)) ?? [];
    throw new CliError(`${option}: ${message}`, remedy);
  }
}

/** The scenario with other code in its one call. */
function withCode(
  scenario: Scenario,
  code: Code,
  symbols: ReadonlyMap<string, SymbolBinding>,
): Scenario {
  const worlds = Object.fromEntries(
    Object.entries(scenario.worlds).map(([arch, world]) => [
      arch,
      {
        ...world,
        cpus: world.cpus.map((steps) =>
          steps.map((step) => (step.kind === 'call' ? { ...step, code, symbols } : step)),
        ),
      },
    ]),
  );
  return { ...scenario, worlds };
}

const NUMBER = /^-?(0x[0-9a-f]+|[0-9]+)$/i;

const parseArguments = (list: string | undefined) =>
  list === undefined || list === '' ? [] : list.split(',').map((word) => argument(word.trim()));

function argument(word: string): string | { arena: string } | { user: string } {
  const [, kind, value] = /^(?:(arena|user):)?(.+)$/.exec(word) ?? [];
  if (value === undefined || !NUMBER.test(value)) {
    throw new CliError(
      `--args: ${word === '' ? 'one is empty' : `${word} is no argument`}`,
      'give integers (42, 0x2a), arena:OFFSET or user:OFFSET, separated by commas',
    );
  }
  if (kind === 'arena') return { arena: value };
  return kind === 'user' ? { user: value } : value;
}

function pageRange(text: string): [number, number] {
  const match = /^(-?\d+):([1-9]\d*)$/.exec(text);
  if (match === null) {
    throw new CliError(
      `--alloc: ${text} is no page range`,
      'give the first page, and how many from 1: 0:1',
    );
  }
  return [Number(match[1]), Number(match[2])];
}
