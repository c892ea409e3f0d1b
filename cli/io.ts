// What a command may touch of the world. Tests hand in their own.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { styleText } from 'node:util';

export interface Io {
  out(text: string): void;
  err(text: string): void;
  /** @throws the operating system's error, with its `code` */
  readFile(path: string): Uint8Array;
  readStdin(): Uint8Array;
  /**
   * Lines typed on standard input.
   * @param prompt shown before each on a terminal
   * @param heard is told of a line when it comes in, which may be long before it is taken
   */
  lines(prompt: string, heard?: (line: string) => void): AsyncIterable<string>;
  /** Colours are wanted on stdout: a terminal, and NO_COLOR is not set. */
  readonly colour: boolean;
  /** Standard error is a terminal: long work may show progress there. */
  readonly terminal: boolean;
  /** Program and arguments that start this very command once more; null where there is no such process. */
  readonly command: readonly string[] | null;
}

/** The process's own streams. */
export function processIo(): Io {
  // A reader that has seen enough (`| head`) closes the pipe: that is no fault of anybody's.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
    throw error;
  });
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    readFile: (path) => readFileSync(path),
    readStdin: () => readFileSync(0),
    lines: promptedLines,
    colour: (process.stdout.isTTY ?? false) && !process.env.NO_COLOR,
    terminal: process.stderr.isTTY ?? false,
    command: [process.execPath, ...process.execArgv, ...process.argv.slice(1)],
  };
}

async function* promptedLines(
  prompt: string,
  heard: (line: string) => void = () => {},
): AsyncGenerator<string> {
  const onTerminal = process.stdin.isTTY && process.stdout.isTTY;
  const input = createInterface({
    input: process.stdin,
    output: onTerminal ? process.stdout : undefined,
    prompt,
  });
  input.on('line', heard);
  try {
    if (onTerminal) input.prompt();
    for await (const line of input) {
      yield line;
      if (onTerminal) input.prompt();
    }
  } finally {
    input.close();
  }
}

/** `text` in a style of `node:util`, if colours are wanted. */
export const paint = (io: Io, style: Parameters<typeof styleText>[0], text: string): string =>
  io.colour ? styleText(style, text, { validateStream: false } as never) : text;
