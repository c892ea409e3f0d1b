// Text that compiled code formats with the model's printing functions: vsnprintf() of lib/vsprintf.c, for integers,
// strings, characters and %p, %px, %ps, %pS, %pB, %*ph. Left out: every other extension of %p, which is named.
import { formatBacktrace } from '../../arch/oops.ts';
import { virtAddr } from '../../emulator/address.ts';
import { KernelStuck } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';

/** Bytes of a string that are looked at. */
const LONGEST = 4096;
const CONVERSION = /%([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+))?(hh|h|ll|l|z|t|j)?(p[a-zA-Z]*|[a-zA-Z%])/g;
const WIDTH = { hh: 8, h: 16, l: 64, ll: 64, z: 64, t: 64, j: 64 } as const;

/** A C string in kernel memory, as Latin 1. @throws KernelStuck where none is mapped */
export function readText(kernel: Kernel, address: bigint, longest = LONGEST): string {
  let text = '';
  for (let at = address; text.length < longest; at++) {
    const byte = readByte(kernel, at);
    if (byte === null) throw new KernelStuck(`prints a string at 0x${address.toString(16)}`);
    if (byte[0] === 0) break;
    text += String.fromCharCode(byte[0]);
  }
  return text;
}

/** A byte of kernel memory; of the direct map also where it is not mapped yet. */
function readByte({ memory, layout, ram }: Kernel, at: bigint): Uint8Array | null {
  const mapped = memory.read(virtAddr(at), 1);
  const pa = at - layout.directMap;
  if (mapped !== null || pa < 0n || pa >= BigInt(ram.size)) return mapped;
  return Uint8Array.of(Number(ram.readUint(Number(pa), 1)));
}

/**
 * Formats as vsnprintf().
 * @param next the arguments one by one, 64 bits each
 * @throws KernelStuck for a conversion that is left out, or a string that is not there
 */
export function formatText(kernel: Kernel, format: string, next: () => bigint): string {
  return format.replace(CONVERSION, (whole, flags, width, precision, length, conversion) => {
    if (conversion === '%') return '%';
    const count = (given: string | undefined): number | null =>
      given === undefined ? null : given === '*' ? Number(BigInt.asIntN(32, next())) : +given;
    const [wide, precise] = [count(width), count(precision)];
    const bits = WIDTH[length as keyof typeof WIDTH] ?? 32;
    const value = next();
    // %*ph: the width is the number of bytes.
    if (conversion === 'ph') return bytesText(kernel, value, wide ?? 1);
    const text = convert(kernel, { whole, flags, conversion, precise, bits }, value);
    return pad(text, wide ?? 0, flags, precise);
  });
}

/** Bytes of %ph at most. */
const MOST_BYTES = 64;

function bytesText(kernel: Kernel, address: bigint, count: number): string {
  const bytes = kernel.memory.read(virtAddr(address), Math.min(count, MOST_BYTES));
  if (bytes === null) throw new KernelStuck(`prints bytes at 0x${address.toString(16)}`);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

interface Conversion {
  readonly whole: string;
  readonly flags: string;
  readonly conversion: string;
  readonly precise: number | null;
  readonly bits: number;
}

function convert(kernel: Kernel, asked: Conversion, value: bigint): string {
  const { whole, flags, conversion, precise, bits } = asked;
  const digits = (n: bigint, base: number) => n.toString(base).padStart(precise ?? 1, '0');
  const unsigned = BigInt.asUintN(bits, value);
  switch (conversion) {
    case 'd':
    case 'i': {
      const signed = BigInt.asIntN(bits, value);
      const sign = signed < 0n ? '-' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
      return sign + digits(signed < 0n ? -signed : signed, 10);
    }
    case 'u':
      return digits(unsigned, 10);
    case 'o':
      return digits(unsigned, 8);
    case 'x':
    case 'X': {
      const text = (flags.includes('#') ? '0x' : '') + digits(unsigned, 16);
      return conversion === 'X' ? text.toUpperCase() : text;
    }
    case 'c':
      return String.fromCharCode(Number(value & 0xffn));
    case 's':
      return value === 0n ? '(null)' : readText(kernel, value, precise ?? LONGEST);
    case 'ps':
    case 'pS': {
      const text = kernel.symbols.format(virtAddr(value));
      return conversion === 'pS' ? text : text.replace(/\+0x.*/, '');
    }
    case 'pB':
      return formatBacktrace(kernel.cpus[kernel.context.cpu].faultContext, virtAddr(value));
    case 'p':
    case 'px':
      return value.toString(16).padStart(16, '0');
    default:
      throw new KernelStuck(`prints with ${whole}, which the model does not format`);
  }
}

function pad(text: string, width: number, flags: string, precise: number | null): string {
  if (width < 0 || flags.includes('-')) return text.padEnd(Math.abs(width));
  if (!flags.includes('0') || precise !== null) return text.padStart(width);
  const sign = /^[-+ ]?(?:0[xX])?/.exec(text)![0];
  return sign + text.slice(sign.length).padStart(width - sign.length, '0');
}
