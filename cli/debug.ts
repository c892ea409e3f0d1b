// faultline debug: a step debugger with gdb's words, and `stepfault`. The commands are in debug-commands.ts.
import { createInterface } from 'node:readline/promises';
import { Debugger } from '../testbed/debugger.ts';
import { DebugCommands } from './debug-commands.ts';
import { CliError, EXIT, isUserError } from './errors.ts';
import { openRun, pickArchs, worldOf } from './execute.ts';
import { loadHost, loadScenario, withSeries } from './host.ts';
import type { Io } from './io.ts';

export interface DebugOptions {
  readonly arch?: string;
  readonly series?: string;
  readonly assembler?: string;
  readonly batch?: boolean;
  readonly ex?: readonly string[];
  readonly json?: boolean;
}

/**
 * @returns the exit code: in a batch 1 if a step that was done differs from what its scenario expects, 2 if a command
 * was wrong
 */
export async function debugCommand(file: string, options: DebugOptions, io: Io): Promise<number> {
  const scenario = withSeries(loadScenario(file, io), options.series);
  const archs = pickArchs(scenario, options.arch);
  if (archs.length > 1) {
    throw new CliError(
      `${file}: is for ${archs.join(' and ')}`,
      `say which: --arch ${archs.join(' or --arch ')}`,
    );
  }
  const host = await loadHost(options.assembler);
  const run = openRun(host, scenario, worldOf(scenario, archs[0]));
  try {
    const lines: string[] = [];
    const out = options.json
      ? (text: string) => void lines.push(...text.replace(/\n$/, '').split('\n'))
      : io.out;
    const commands = new DebugCommands(new Debugger(run), scenario, out);
    const wrong = await drive(commands, options, io);
    if (options.json) io.out(`${JSON.stringify({ file, arch: archs[0], lines }, null, 2)}\n`);
    return wrong ? EXIT.usage : commands.differs ? EXIT.differs : EXIT.ok;
  } finally {
    run.close();
  }
}

/** @returns true if a command of a batch was wrong */
async function drive(commands: DebugCommands, options: DebugOptions, io: Io): Promise<boolean> {
  commands.begin();
  for (const line of options.ex ?? []) {
    if (!one(commands, line, io)) return false;
    if (options.batch && commands.failed) return true;
  }
  if (options.batch) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  terminal.setPrompt('(faultline) ');
  terminal.prompt();
  let last = '';
  for await (const line of terminal) {
    // An empty line repeats the last command, as in gdb.
    const command = line.trim() === '' ? last : line.trim();
    last = command;
    if (command !== '' && !one(commands, command, io)) break;
    terminal.prompt();
  }
  terminal.close();
  return false;
}

/** @returns false to quit */
function one(commands: DebugCommands, line: string, io: Io): boolean {
  try {
    return commands.execute(line);
  } catch (error) {
    if (!isUserError(error)) throw error;
    commands.failed = true;
    io.err(`${error.message}\n  ${error.remedy}\n`);
    return true;
  }
}
