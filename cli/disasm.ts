// faultline disasm: bytes to instructions.
import { hex } from '../emulator/bits.ts';
import { loadDisassembler } from '../emulator/disassembler.ts';
import { parseWord } from './decode.ts';
import { CliError, EXIT } from './errors.ts';
import { readBytes } from './files.ts';
import type { Io } from './io.ts';

export interface DisasmOptions {
  readonly arch: 'x86_64' | 'arm64';
  readonly address: string;
  readonly file?: string;
  readonly json?: boolean;
}

/** @returns the exit code */
export async function disasmCommand(words: readonly string[], options: DisasmOptions, io: Io) {
  const bytes = source(words, options, io);
  const disassembler = await loadDisassembler();
  const address = parseWord(options.address, '--address');
  const insns = disassembler.disassemble(bytes, { arch: options.arch, address });
  if (options.json) {
    const document = insns.map((insn) => ({
      address: hex(insn.address),
      bytes: Buffer.from(insn.bytes).toString('hex'),
      text: insn.text,
    }));
    io.out(`${JSON.stringify(document, null, 2)}\n`);
    return EXIT.ok;
  }
  for (const insn of insns) {
    const code = Buffer.from(insn.bytes).toString('hex');
    io.out(`${hex(insn.address).padEnd(20)} ${code.padEnd(24)} ${insn.text}\n`);
  }
  return EXIT.ok;
}

function source(words: readonly string[], options: DisasmOptions, io: Io): Uint8Array {
  if (options.file !== undefined) {
    if (words.length > 0) throw new CliError('disasm: bytes and --file are both given', 'give one');
    return readBytes(options.file, io);
  }
  const digits = words.join('').replaceAll(/\s|0x|,|:/g, '');
  if (digits === '' || digits.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(digits)) {
    throw new CliError(
      `disasm: ${words.length === 0 ? 'no bytes are given' : `${words.join(' ')} is no row of bytes`}`,
      'give pairs of hex digits, as 48 89 e5, or --file',
    );
  }
  return Uint8Array.from(Buffer.from(digits, 'hex'));
}
