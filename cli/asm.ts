// faultline asm: instructions to bytes.
import { AssemblyError } from '../emulator/assembler.ts';
import { hex } from '../emulator/bits.ts';
import { parseWord } from './decode.ts';
import { CliError, EXIT } from './errors.ts';
import { nameOf, readText } from './files.ts';
import { loadNamedAssembler } from './host.ts';
import type { Io } from './io.ts';

export interface AsmOptions {
  readonly arch: 'x86_64' | 'arm64';
  readonly address: string;
  readonly assembler?: string;
  readonly file?: string;
  readonly json?: boolean;
}

/** @returns the exit code */
export async function asmCommand(words: readonly string[], options: AsmOptions, io: Io) {
  const { arch } = options;
  const [name, text] = source(words, options, io);
  const assembler = await loadNamedAssembler(options.assembler);
  const address = parseWord(options.address, '--address');
  const { bytes, lines, labels } = assembled(name, () =>
    assembler.assemble(text, { arch, address }),
  );
  if (options.json) {
    const document = {
      arch,
      address: hex(address),
      bytes: toHex(bytes),
      labels: Object.fromEntries([...labels].map(([label, at]) => [label, hex(at)])),
      lines: lines.map((line) => ({
        address: hex(line.address),
        line: line.line,
        text: line.text,
        bytes: toHex(slice(bytes, address, line)),
      })),
    };
    io.out(`${JSON.stringify(document, null, 2)}\n`);
    return EXIT.ok;
  }
  for (const line of lines) {
    io.out(
      `${hex(line.address).padEnd(20)} ${toHex(slice(bytes, address, line)).padEnd(24)} ${line.text}\n`,
    );
  }
  return EXIT.ok;
}

function source(words: readonly string[], options: AsmOptions, io: Io): [string, string] {
  if (options.file !== undefined && words.length > 0) {
    throw new CliError('asm: text and --file are both given', 'give one of them');
  }
  if (options.file !== undefined) return [nameOf(options.file), readText(options.file, io)];
  if (words.length === 0) {
    throw new CliError(
      'asm: nothing to assemble',
      "give instructions ('mov rax, 1; ret') or --file",
    );
  }
  return ['argument', words.join(' ')];
}

function assembled<T>(name: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof AssemblyError)) throw error;
    throw new CliError(`${name}:${error.message}`, error.remedy);
  }
}

const slice = (bytes: Uint8Array, base: bigint, at: { address: bigint; length: number }) =>
  bytes.subarray(Number(at.address - base), Number(at.address - base) + at.length);

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
