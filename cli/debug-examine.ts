// The debugger's x command: memory as gdb prints it.
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hex } from '../emulator/bits.ts';
import type { Kernel } from '../testbed/kernel.ts';
import { CliError } from './errors.ts';

/** x/NFU of gdb. */
export interface ExamineFormat {
  /** 1 to 4096. */
  readonly count: number;
  readonly format: 'x' | 'd' | 'u' | 'i' | 's';
  /** Bytes: 1, 2, 4 or 8. */
  readonly size: number;
}

const SIZES: Readonly<Record<string, number>> = { b: 1, h: 2, w: 4, g: 8 };
const PER_LINE: Readonly<Record<number, number>> = { 1: 8, 2: 8, 4: 4, 8: 2 };
const LONGEST_STRING = 200;

/** @param text what follows the `x`: "/8gx $rsp". @throws CliError */
export function parseExamine(text: string): { format: ExamineFormat; expression: string } {
  const match = /^(?:\/(\d*)([a-z]*))?\s*(.*)$/s.exec(text);
  const [, digits = '', letters = '', expression = ''] = match ?? [];
  const count = digits === '' ? 1 : Number(digits);
  const size = [...letters].map((c) => SIZES[c]).find((n) => n !== undefined) ?? 8;
  const format = [...letters].find((c) => 'xduis'.includes(c)) ?? 'x';
  const unknown = [...letters].find((c) => !('xduis'.includes(c) || c in SIZES));
  if (unknown !== undefined || count < 1 || count > 4096) {
    throw new CliError(
      `x${text}: no such format`,
      'give a count up to 4096, one of x d u i s, and one of b h w g: x/8gx $sp',
    );
  }
  return { format: { count, format: format as ExamineFormat['format'], size }, expression };
}

/** @throws CliError where nothing is mapped */
export function examine(kernel: Kernel, at: VirtAddr, format: ExamineFormat): string[] {
  if (format.format === 'i') return instructions(kernel, at, format.count);
  if (format.format === 's') return strings(kernel, at, format.count);
  return words(kernel, at, format);
}

function read(kernel: Kernel, at: VirtAddr, length: number): Uint8Array {
  const bytes = kernel.memory.read(at, length);
  if (bytes !== null) return bytes;
  throw new CliError(`Cannot access memory at address ${hex(at)}`, "'info walk' tells why");
}

function instructions(kernel: Kernel, start: VirtAddr, count: number): string[] {
  const lines: string[] = [];
  for (let at: bigint = start; lines.length < count; ) {
    const insn = kernel.instructionAt(virtAddr(at));
    if (insn === null) read(kernel, virtAddr(at), 1);
    lines.push(`${hex(at)}:\t${insn?.text ?? '?'}`);
    at += BigInt(insn?.bytes.length ?? 1);
  }
  return lines;
}

function strings(kernel: Kernel, start: VirtAddr, count: number): string[] {
  const lines: string[] = [];
  for (let at: bigint = start; lines.length < count; ) {
    const bytes: number[] = [];
    while (bytes.length < LONGEST_STRING) {
      const [byte] = read(kernel, virtAddr(at + BigInt(bytes.length)), 1);
      if (byte === 0) break;
      bytes.push(byte);
    }
    lines.push(`${hex(at)}:\t${JSON.stringify(String.fromCharCode(...bytes))}`);
    at += BigInt(bytes.length + 1);
  }
  return lines;
}

function words(kernel: Kernel, start: VirtAddr, { count, format, size }: ExamineFormat): string[] {
  const values = Array.from({ length: count }, (_, i) => {
    const bytes = read(kernel, virtAddr(start + BigInt(i * size)), size);
    return bytes.reduceRight((word, byte) => (word << 8n) | BigInt(byte), 0n);
  });
  const text = (value: bigint) => {
    if (format === 'x') return `0x${value.toString(16).padStart(size * 2, '0')}`;
    return String(format === 'd' ? BigInt.asIntN(size * 8, value) : value);
  };
  const perLine = PER_LINE[size];
  return Array.from({ length: Math.ceil(count / perLine) }, (_, row) => {
    const first = row * perLine;
    const at = virtAddr(start + BigInt(first * size));
    return `${hex(at)}:\t${values
      .slice(first, first + perLine)
      .map(text)
      .join('\t')}`;
  });
}
