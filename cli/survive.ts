// Commands that run code in this process, which the code may take down by way of the engine. The process then turns into
// a new one of the same command (emulator/unicorn/last-will.ts): that finds out with care which encodings did it
// (guard.ts), keeps them from the engine, does everything again and goes on where its predecessor broke off. So the
// result is outcome `engine` at the very instruction, and the good case pays nothing. Where a process cannot leave a
// will, a second one runs the command, and this one takes over from it.
import { spawnSync } from 'node:child_process';
import { env } from 'node:process';
import type { Condemned } from '../emulator/condemn.ts';
import { makeLastWill } from '../emulator/unicorn/last-will.ts';
import { CliError } from './errors.ts';
import { condemnHere } from './host.ts';
import type { Io } from './io.ts';
import type { Job } from './worker-protocol.ts';

/** What a process inherits from the one before it, see {@link Will}. */
const INHERITED = 'FAULTLINE_INHERITED';
/** Set in the second process, where there is one. */
const WATCHED = 'FAULTLINE_WATCHED';
/** Signals of a process that its own code takes down; any other was somebody's wish. */
const DEADLY = ['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP'];
const SIGNAL_EXIT = 128;
/** Processes of one command, one after another. */
const MOST_LIVES = 3;
/** Seconds that the search may take for one world. */
const PATIENCE = 120;
/** Bytes of typed commands that are handed on. */
const TYPED_SIZE = 1 << 16;
const DIGITS = 12;

/** What one process leaves to the next. */
interface Inheritance {
  /** Which life of the command this is, from 1. */
  readonly life: number;
  /** Characters that were told already, and errors. */
  readonly out: number;
  readonly err: number;
  /** Lines that were typed. */
  readonly typed: readonly string[];
}

const NOTHING: Inheritance = { life: 1, out: 0, err: 0, typed: [] };

/**
 * Runs a command that runs code.
 * @param job what it runs
 * @param command is given the streams to use
 * @returns the exit code
 * @throws Error if the engine died of what running the file with care does not show
 */
export async function survivably(
  job: Job,
  io: Io,
  command: (io: Io) => Promise<number>,
): Promise<number> {
  // Whoever calls us as a function watches over himself.
  if (io.command === null) return command(io);
  const past = takeInheritance();
  if (past.life >= MOST_LIVES) {
    throw new Error('the engine died, and once more when what had killed it was kept from it');
  }
  const will = leaveWill(io.command, past.life + 1);
  if (past.life > 1) condemnHere(await culprits(job));
  else if (will === null && env[WATCHED] === undefined) {
    const ended = runSecondProcess(io);
    if (ended !== null) return ended;
    condemnHere(await culprits(job));
  }
  return command(heir(io, past, will));
}

/** Encodings that take the engine down in a run of the file. */
async function culprits({ file, options }: Job): Promise<Condemned[]> {
  const { Guard } = await import('./guard.ts');
  const guard = new Guard(PATIENCE);
  try {
    const { archs } = await guard.read({ file, options });
    const found: Condemned[] = [];
    for (const arch of archs.filter((one) => one === (options.arch ?? one))) {
      const verdict = await guard.run({ file, options }, arch);
      if (verdict.kind === 'ran') found.push(...verdict.condemned);
      else if (verdict.kind !== 'refused') {
        const { place } = verdict;
        const at = place === null ? '' : ` at 0x${place.ip.toString(16)}`;
        throw new CliError(
          `${file}: the engine died or stood still${at}, and again when that was kept from it`,
          'give a smaller piece of the code',
        );
      }
    }
    if (found.length > 0) return found;
  } finally {
    guard.close();
  }
  throw new Error('the engine died, but not in a plain run of the file');
}

/** What this process inherited. Its children do not. */
function takeInheritance(): Inheritance {
  const text = env[INHERITED];
  delete env[INHERITED];
  if (text === undefined) return NOTHING;
  const [head, ...typed] = text.split('\n');
  const [life, out, err] = head.split(' ').map(Number);
  return { life, out, err, typed: typed.slice(0, -1) };
}

/** The will as it stands, which changes with everything told and typed. */
class Will {
  private readonly bytes: Uint8Array;
  private readonly first: number;
  private end: number;
  private out = 0;
  private err = 0;

  /** @param bytes of the variable: name, life, two numbers, then lines */
  constructor(bytes: Uint8Array, life: number) {
    this.bytes = bytes;
    this.first = `${INHERITED}=${life} `.length;
    this.end = this.first + 2 * DIGITS + 2;
  }

  /** Room for the variable. */
  static text = (life: number): string => {
    const zero = '0'.repeat(DIGITS);
    return `${INHERITED}=${life} ${zero} ${zero}\n${' '.repeat(TYPED_SIZE)}`;
  };

  told(out: number, err: number): void {
    this.out += out;
    this.err += err;
    const numbers = [this.out, this.err].map((n) => String(n).padStart(DIGITS, '0'));
    this.write(numbers.join(' '), this.first);
  }

  typed(line: string): void {
    const text = Buffer.from(`${line}\n\0`);
    if (this.end + text.length > this.bytes.length) return;
    this.bytes.set(text, this.end);
    this.end += text.length - 1;
  }

  /** Nothing typed yet. */
  begin(): void {
    this.bytes[this.end] = 0;
  }

  private write(text: string, at: number): void {
    for (let i = 0; i < text.length; i++) this.bytes[at + i] = text.charCodeAt(i);
  }
}

function leaveWill(command: readonly string[], life: number): Will | null {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const bytes = makeLastWill(command, [Will.text(life), ...variables]);
  if (bytes === null) return null;
  const will = new Will(bytes[0], life);
  will.begin();
  return will;
}

/** The streams of one that goes on where another broke off. */
function heir(io: Io, past: Inheritance, will: Will | null): Io {
  let { out, err } = past;
  return {
    ...io,
    out(text) {
      will?.told(text.length, 0);
      const untold = text.slice(out);
      out -= text.length - untold.length;
      if (untold !== '') io.out(untold);
    },
    err(text) {
      will?.told(0, text.length);
      const untold = text.slice(err);
      err -= text.length - untold.length;
      if (untold !== '') io.err(untold);
    },
    async *lines(prompt) {
      for (const line of past.typed) {
        will?.typed(line);
        yield line;
      }
      yield* io.lines(prompt, (line) => will?.typed(line));
    },
  };
}

/** @returns the exit code; null if the process died of its code */
function runSecondProcess(io: Io): number | null {
  const [program, ...argv] = io.command!;
  const child = spawnSync(program, argv, {
    env: { ...env, [WATCHED]: '1' },
    stdio: ['inherit', 'inherit', 'pipe'],
  });
  if (child.error) throw child.error;
  if (child.signal !== null && DEADLY.includes(child.signal)) return null;
  io.err(child.stderr.toString());
  return child.status ?? SIGNAL_EXIT;
}
