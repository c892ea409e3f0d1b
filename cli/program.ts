// The scenario that a command works on: a scenario file, or assembly that the options make a scenario of.
import { extname } from 'node:path';
import { type Code, parseScenario, type Scenario } from '../testbed/scenario.ts';
import { ScenarioError } from '../testbed/scenario-error.ts';
import { CliError } from './errors.ts';
import { shellWord } from './execute.ts';
import { readBytes, readText } from './files.ts';
import { isScenarioFile, loadScenario, withSeries } from './host.ts';
import type { Io } from './io.ts';

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
  if (isScenarioFile(file)) {
    const [, option, key] = OWN_OPTIONS.find(([name]) => options[name] !== undefined) ?? [];
    if (option !== undefined) {
      throw new CliError(
        `${option} is for assembly, and ${file} is a scenario`,
        `write \`${key}:\` into the scenario`,
      );
    }
    return withSeries(loadScenario(file, io), options.series);
  }
  if (['.S', '.s'].includes(extname(file))) return scenarioOfAssembly(file, options, io);
  // A file that is not there, or no file, is told first.
  readBytes(file, io);
  if (extname(file) === '.o') {
    throw new CliError(
      `${file}: compiled objects cannot be run yet`,
      'give the function as assembly (.S), or its bytes in a scenario',
    );
  }
  throw new CliError(
    `${file}: neither a scenario (.yaml, .json) nor assembly (.S, .s)`,
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
  ];
  return given
    .flatMap(([name, value]) => (value === undefined ? [] : ` ${name} ${shellWord(String(value))}`))
    .join('');
}

function scenarioOfAssembly(file: string, options: ProgramOptions, io: Io): Scenario {
  const text = readText(file, io);
  const arch = options.arch ?? 'x86_64';
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
  return withCode(scenario, { kind: 'text', text, line: 1, symbol: options.symbol ?? null });
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
function withCode(scenario: Scenario, code: Code): Scenario {
  const worlds = Object.fromEntries(
    Object.entries(scenario.worlds).map(([arch, world]) => [
      arch,
      {
        ...world,
        cpus: world.cpus.map((steps) =>
          steps.map((step) => (step.kind === 'call' ? { ...step, code } : step)),
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
