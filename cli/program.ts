// Assembly given on the command line as a scenario of its own: the options say what a file would.

import { type Code, parseScenario, type Scenario } from '../testbed/scenario.ts';
import { CliError } from './errors.ts';
import { readText } from './host.ts';
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

/** @throws CliError for options that say nothing, ScenarioError for values out of range */
export function scenarioOfAssembly(file: string, options: ProgramOptions, io: Io): Scenario {
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
    args: (options.args ?? '')
      .split(',')
      .filter((word) => word !== '')
      .map(argument),
    limits: { instructions: options.maxInsns === 0 ? 'none' : (options.maxInsns ?? 10_000_000) },
  };
  const scenario = parseScenario(JSON.stringify(document), file, () => {
    throw new Error('no file is named');
  });
  const code: Code = { kind: 'text', text, line: 1, symbol: options.symbol ?? null };
  return withCode(scenario, code);
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

function argument(word: string): string | { arena: string } | { user: string } {
  const [, kind, value] = /^(?:(arena|user):)?(.+)$/.exec(word) ?? [];
  if (value === undefined || !NUMBER.test(value)) {
    throw new CliError(
      `--args: ${word} is no argument`,
      'give integers (42, 0x2a), arena:OFFSET or user:OFFSET, separated by commas',
    );
  }
  if (kind === 'arena') return { arena: value };
  return kind === 'user' ? { user: value } : value;
}

function pageRange(text: string): [number, number] {
  const match = /^(-?\d+):(\d+)$/.exec(text);
  if (match === null) {
    throw new CliError(`--alloc: ${text} is no page range`, 'give first page and count: 0:1');
  }
  return [Number(match[1]), Number(match[2])];
}
