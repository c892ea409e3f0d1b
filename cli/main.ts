// The command line: one table of commands, each in its own file and loaded when it is called, and the one place that
// turns an error into an exit code.
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { EXIT, isUserError } from './errors.ts';
import type { Io } from './io.ts';
import type * as Survive from './survive.ts';
import { usageError } from './usage.ts';

export { processIo } from './io.ts';

/** Loads what watches over commands that run code only for those. */
async function survivably(...args: Parameters<typeof Survive.survivably>): Promise<number> {
  return (await import('./survive.ts')).survivably(...args);
}

/** A whole number of an option, decimal or 0x hex. */
function wholeNumber(text: string): number {
  const value = Number(text);
  if (text === '' || !Number.isSafeInteger(value) || value < 0) {
    throw new InvalidArgumentError('give a whole number, decimal or 0x hex');
  }
  return value;
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

const archOption = () =>
  new Option('--arch <name>', 'architecture').choices(['x86_64', 'arm64'] as const);
const seriesOption = () =>
  new Option('--series <name>', 'revision of the patch').choices(['v2', 'mainline'] as const);
const jsonOption = () => new Option('--json', 'print one JSON document');
const replaceOption = () =>
  new Option(
    '--replace <function=object>',
    'compiled code in the place of a kernel function of the model (may be repeated)',
  ).argParser(collect);
const explainOption = () =>
  new Option('--explain', 'say of every printed line which kernel function prints it');
const assemblerOption = () =>
  new Option('--assembler <name>', 'who assembles text: ours, or GNU as where it is installed')
    .choices(['keystone', 'gnu'] as const)
    .default('keystone');

const costOption = () =>
  new Option('--cost <grain>', 'cycle model: blocks and page events, every access too, or none')
    .choices(['fast', 'exact', 'off'] as const)
    .default('fast');
const costPresetOption = () =>
  new Option('--cost-preset <name>', 'golden-cove, neoverse-n1, virtual, or a file of knobs');

/**
 * Runs one command line.
 * @param argv arguments after the program's name
 * @returns the exit code: 0 as expected, 1 differs, 2 wrong usage or bad input, 3 a fault of ours
 */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  let exitCode: number = EXIT.ok;
  const json = argv.includes('--json');
  const program = new Command('faultline')
    .description("Runs kernel machine code against a model of Linux's page-fault path")
    .version('0.1.0')
    .exitOverride()
    .showSuggestionAfterError()
    // What is wrong with a command line is told below, as every other error is.
    .configureOutput({ writeOut: io.out, writeErr: io.err, outputError: () => {} });
  const command = (name: string, about: string) =>
    program.command(name).description(about).exitOverride().addOption(jsonOption());

  // What says how a scenario is set up, and what makes one of assembly or an object.
  const fileCommand = (name: string, about: string) =>
    command(name, about)
      .addOption(archOption())
      .addOption(seriesOption())
      .addOption(assemblerOption())
      .option('--symbol <name>', 'function to call in assembly or an object')
      .option(
        '--args <list>',
        'arguments: integers, arena:OFFSET, user:OFFSET, separated by commas',
      )
      .option('--alloc <page:count>', 'pages to allocate first (may be repeated)', collect)
      .option('--arena-pages <n>', 'max_entries of the arena', wholeNumber)
      .option('--max-insns <n>', 'instruction limit; 0 for none', wholeNumber)
      .addOption(replaceOption());

  fileCommand('run <file>', 'run a scenario, assembly or object and tell the story of its faults')
    .addOption(costOption())
    .addOption(costPresetOption())
    .option('--profile', 'say what the cycles were spent on, as perf report and annotate do')
    .option('--folded <file>', 'write folded stacks of the cycles, for flame graphs')
    .option('--report <file>', 'write an HTML page: faults, flame graph, walks, arena map')
    .option('--schedule <text>', 'schedule of several CPUs, as "0:3 1:2 0:*"')
    .option('--mutant <file>', 'replace steps of the kernel model, with several CPUs')
    .option('--trace <list>', 'what else to print: faults, walks, insns, separated by commas')
    .addOption(explainOption())
    .option('--check-contract', 'report accesses beyond what a kfunc may access of arena pointers')
    .option('--list', 'only say what an object offers and needs')
    .action(async (file, options) => {
      const { runCommand } = await import('./run.ts');
      exitCode = await survivably({ file, options }, io, (own) => runCommand(file, options, own));
    });
  command('explore <file>', 'interleavings of a scenario with several CPUs')
    .addOption(archOption())
    .addOption(seriesOption())
    .addOption(assemblerOption())
    .option('--mutant <file>', 'replace steps of the kernel model')
    .addOption(replaceOption())
    .option('--preemptions <n>', 'preemptions in a schedule at most, or none', 'bound')
    .addOption(
      new Option('--mode <name>', 'all schedules, or some by chance')
        .choices(['exhaustive', 'random', 'pct'] as const)
        .default('exhaustive'),
    )
    .option('--runs <n>', 'random and pct: schedules to try', wholeNumber)
    .option('--depth <n>', 'pct: steps of two CPUs whose order makes the bug', wholeNumber)
    .option('--seed <n>', 'random and pct: where chance begins', wholeNumber)
    .option('--jobs <n>', 'processes to share the work', wholeNumber)
    .option('--shard <i/n>', 'explore the i-th of n parts')
    .option('--merge <file>', "put a shard's JSON together with others (may be repeated)", collect)
    .option('--stop-after <n>', 'stop after so many runs', wholeNumber)
    .option('--save <file>', 'where to keep what is left when it stops')
    .option('--resume <file>', 'go on with what --save kept')
    .action(async (file, options) => {
      const { exploreCommand } = await import('./explore.ts');
      const job = { file, options: { ...options, schedule: undefined } };
      exitCode = await survivably(job, io, (own) => exploreCommand(file, options, own));
    });
  command('test [paths...]', 'run every scenario below the paths, one line each')
    .addOption(archOption())
    .addOption(seriesOption())
    .addOption(assemblerOption())
    .addOption(
      new Option('--reporter <name>', 'how to report')
        .choices(['default', 'json', 'junit', 'ktap'] as const)
        .default('default'),
    )
    .addOption(costOption())
    .addOption(costPresetOption())
    .addOption(replaceOption())
    .option('--shard <i/n>', 'run the i-th of n parts')
    .option('--filter <text>', 'only scenarios whose path or name contains this text')
    .option('--timeout <seconds>', 'time for one scenario on one architecture', wholeNumber)
    .action(async (paths, options) => {
      exitCode = await (await import('./test.ts')).testCommand(paths, options, io);
    });
  fileCommand('debug <file>', 'step through a scenario and its faults')
    .option('--batch', 'end after the commands given with -ex')
    .option(
      '--ex <command>',
      'execute a debugger command first (-ex too; may be repeated)',
      collect,
    )
    .addOption(explainOption())
    .action(async (file, options) => {
      const { debugCommand } = await import('./debug.ts');
      exitCode = await survivably({ file, options }, io, (own) => debugCommand(file, options, own));
    });
  fileCommand('walk <file> <address>', 'the page-table walk of an address after a scenario')
    .addOption(
      new Option('--access <kind>', 'kind of access')
        .choices(['read', 'write', 'fetch'] as const)
        .default('read'),
    )
    .option('--schedule <text>', 'several CPUs: look where this schedule ends, as "0:3 1:2"')
    .action(async (file, address, options) => {
      const { walkCommand } = await import('./walk.ts');
      exitCode = await survivably({ file, options }, io, (own) =>
        walkCommand(file, address, options, own),
      );
    });
  command(
    'decode <what> [value]',
    'decode a fault code (pf, esr), an entry (pte-x86, pte-arm64), or the oopses of a kernel log (oops [FILE])',
  )
    .option('--level <name>', 'level of a page-table entry')
    .option('--granule <size>', 'arm64 granule: 4K, 16K, 64K')
    .option('--kbase <hex>', 'kern_vm_start of the arena that an oops may have to do with')
    .addOption(explainOption())
    .action(async (what, value, options) => {
      exitCode = await (await import('./decode.ts')).decodeCommand(what, value, options, io);
    });
  command('asm [text...]', 'assemble instructions, or a file with --file')
    .addOption(archOption().default('x86_64'))
    .addOption(assemblerOption())
    .option('--file <path>', 'assembly file; - for standard input')
    .option('--address <hex>', 'address of the first byte', '0')
    .action(async (text, options) => {
      exitCode = await (await import('./asm.ts')).asmCommand(text, options, io);
    });
  command('disasm [hex...]', 'disassemble bytes given as hex, or a file with --file')
    .addOption(archOption().default('x86_64'))
    .option('--file <path>', 'file of raw bytes; - for standard input')
    .option('--address <hex>', 'address of the first byte', '0')
    .action(async (hex, options) => {
      exitCode = await (await import('./disasm.ts')).disasmCommand(hex, options, io);
    });
  command('bench', "the project's speed beside the bare engine's, as ratios")
    .option('--pairs <n>', 'pairs of each loop', wholeNumber)
    .addOption(
      new Option('--claim <name>', "a claim of the patch's, in modelled cycles").choices([
        'no-flush',
      ] as const),
    )
    .addOption(archOption())
    .addOption(costPresetOption())
    .option('--plot <file>', 'write the plot of the claim as SVG')
    .action(async (options) => {
      if (options.claim !== undefined) {
        exitCode = await (await import('./bench-claim.ts')).benchClaimCommand(options, io);
        return;
      }
      exitCode = await (await import('./bench.ts')).benchCommand(options, io);
    });
  command('schema', 'print the scenario format as JSON Schema').action(async () => {
    exitCode = await (await import('./schema.ts')).schemaCommand(io);
  });
  command('setup', 'find, fetch and check the engine library')
    .option('--wheel <file>', 'use this wheel instead of fetching one')
    .action(async (options) => {
      exitCode = await (await import('./setup.ts')).setupCommand(options, io);
    });
  command('doctor', 'say what was found and what to do')
    .option('--engine', 'the encodings that do not reach the core, and why')
    .action(async (options) => {
      exitCode = await (await import('./doctor.ts')).doctorCommand(options, io);
    });

  try {
    await program.parseAsync(spelled(argv, program), { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError && /^commander\.(help|version)/.test(error.code)) {
      return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    }
    const known = program.commands.find((candidate) => candidate.name() === argv[0])?.name();
    return tellError(error instanceof CommanderError ? usageError(error, known) : error, json, io);
  }
  return exitCode;
}

/** The arguments as commander wants them: gdb's `-ex`, and `help` of a command that does not exist as that command. */
function spelled(argv: readonly string[], program: Command): string[] {
  const words = argv.map((word) => (word === '-ex' ? '--ex' : word));
  const [first, name] = words;
  if (first !== 'help') return words;
  if (name === undefined) return ['--help'];
  return program.commands.some((known) => known.name() === name) ? [name, '--help'] : [name];
}

/** @returns the exit code */
function tellError(error: unknown, json: boolean, io: Io): number {
  const ours = !isUserError(error);
  const message = ours
    ? `a fault of ours, please report it: ${(error as Error)?.stack ?? error}`
    : error.message;
  const remedy = ours ? null : error.remedy;
  io.err(`faultline: ${message}\n${remedy === null ? '' : `  ${remedy}\n`}`);
  if (json) io.out(`${JSON.stringify({ error: { message, remedy } }, null, 2)}\n`);
  return ours ? EXIT.internal : EXIT.usage;
}
