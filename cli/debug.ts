// faultline debug: a step debugger with gdb's words, and `stepfault`. The commands are in debug-commands.ts.
import { Debugger } from '../testbed/debugger.ts';
import { policiesOf } from '../testbed/policies.ts';
import { DebugCommands } from './debug-commands.ts';
import { EXIT, isUserError } from './errors.ts';
import { openRun, refuseCpus } from './execute.ts';
import { Explainer } from './explain.ts';
import { loadHost } from './host.ts';
import type { Io } from './io.ts';
import { type ProgramOptions, scenarioFrom } from './program.ts';
import { pickArch, worldOf } from './scenario-file.ts';

export interface DebugOptions extends ProgramOptions {
  readonly batch?: boolean;
  readonly ex?: readonly string[];
  readonly json?: boolean;
  /** Say of every printed line which kernel function prints it. */
  readonly explain?: boolean;
}

interface WrongCommand {
  readonly message: string;
  readonly remedy: string;
}

/**
 * @returns the exit code: 1 if a step that was done differs from what its scenario expects, 2 if a command of a batch
 * was wrong
 */
export async function debugCommand(file: string, options: DebugOptions, io: Io): Promise<number> {
  const scenario = scenarioFrom(file, options, io);
  refuseCpus(scenario, 'debug');
  const arch = pickArch(scenario, options.arch);
  const host = await loadHost(options.assembler);
  const world = worldOf(scenario, arch);
  // The way back counts instructions, whether or not they are limited.
  const instructions = world.limits.instructions ?? Number.MAX_SAFE_INTEGER;
  const policies = policiesOf(world);
  const run = openRun(host, scenario, { ...world, limits: { ...world.limits, instructions } });
  try {
    const lines: string[] = [];
    const out = options.json
      ? (text: string) => void lines.push(...text.replace(/\n$/, '').split('\n'))
      : io.out;
    const explainer = options.explain ? new Explainer(arch) : null;
    if (explainer !== null) run.kernel.events.read((event) => explainer.read(event));
    const commands = new DebugCommands(new Debugger(run), scenario, out, explainer);
    for (const policy of policies) out(`policy ${policy}\n`);
    const error = await drive(commands, options, io);
    const pass = !commands.differs;
    if (options.json) {
      io.out(
        `${JSON.stringify({ scenario: file, arch, policies, pass, lines, error }, null, 2)}\n`,
      );
    }
    return error !== null ? EXIT.usage : pass ? EXIT.ok : EXIT.differs;
  } finally {
    run.close();
  }
}

/** @returns the wrong command that ended a batch, or null */
async function drive(
  commands: DebugCommands,
  options: DebugOptions,
  io: Io,
): Promise<WrongCommand | null> {
  commands.begin();
  for (const line of options.ex ?? []) {
    const done = one(commands, line, io);
    if (done === 'quit') return null;
    if (options.batch && done !== null) return done;
  }
  if (options.batch) return null;
  let last = '';
  for await (const line of io.lines('(faultline) ')) {
    // An empty line repeats the last command, as in gdb.
    const command = line.trim() === '' ? last : line.trim();
    last = command;
    if (command !== '' && one(commands, command, io) === 'quit') break;
  }
  return null;
}

function one(commands: DebugCommands, line: string, io: Io): 'quit' | WrongCommand | null {
  try {
    return commands.execute(line) ? null : 'quit';
  } catch (error) {
    if (!isUserError(error)) throw error;
    const { message, remedy } = error;
    io.err(`${message}\n  ${remedy}\n`);
    return { message, remedy };
  }
}
