// For tests: the command line run in this process, with what it printed.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { chdir } from 'node:process';
import { fileURLToPath } from 'node:url';
import { main } from './main.ts';

// Golden files name fixtures as a user in the checkout does.
chdir(fileURLToPath(new URL('..', import.meta.url)));

export interface CliRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliWorld {
  /** Files that exist beside those on the disk, by path. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** What standard input holds. */
  readonly stdin?: string;
  readonly colour?: boolean;
  readonly terminal?: boolean;
  readonly command?: readonly string[];
}

/** Runs `faultline` with `argv`; relative paths count from the checkout. */
export async function faultline(argv: readonly string[], world: CliWorld = {}): Promise<CliRun> {
  const printed = { stdout: '', stderr: '' };
  const { stdin = '', colour = false, terminal = false } = world;
  const encode = (text: string | Uint8Array) =>
    typeof text === 'string' ? new TextEncoder().encode(text) : text;
  const files = new Map(
    Object.entries(world.files ?? {}).map(([path, text]) => [resolve(path), encode(text)]),
  );
  const exitCode = await main(argv, {
    out: (text) => {
      printed.stdout += text;
    },
    err: (text) => {
      printed.stderr += text;
    },
    readFile: (path) => files.get(resolve(path)) ?? readFileSync(path),
    readStdin: () => encode(stdin),
    async *lines() {
      if (stdin !== '') yield* stdin.replace(/\n$/, '').split('\n');
    },
    colour,
    terminal,
    command: world.command ?? null,
  });
  return { exitCode, ...printed };
}

/** A command and what it printed, as the golden files hold it; lines of standard error begin with `! `. */
export function transcript(argv: readonly string[], run: CliRun): string {
  const words = argv.map((word) => (/^[\w./:,=@%+-]+$/.test(word) ? word : `'${word}'`));
  const errors = run.stderr.replaceAll(/^(?=.)/gm, '! ');
  return `$ faultline ${words.join(' ')}\n${run.stdout}${errors}[exit ${run.exitCode}]\n`;
}

/** Path of a golden file under fixtures/golden. */
export const golden = (name: string): string => resolve('fixtures/golden', name);
