// Machine code to text, by Capstone: Intel syntax on x86-64, GNU syntax on AArch64. Bytes that are no instruction come
// out as data and never as an error. Capstone's own `address` field loses its upper half and is not used.
import type { Capstone } from 'capstone-wasm';
import { u64 } from './bits.ts';

export interface Insn {
  readonly address: bigint;
  readonly bytes: Uint8Array;
  /** `mov`, `lock cmpxchg`, `b.eq`; `.byte` or `.word` for what cannot be decoded. */
  readonly mnemonic: string;
  /** As printed, `rax, qword ptr [rdi + 8]`; empty if there are none. */
  readonly operands: string;
  readonly text: string;
}

export interface DisassembleOptions {
  readonly arch: 'x86_64' | 'arm64';
  /** Address of the first byte; branch targets are printed absolute. */
  readonly address: bigint;
}

export interface Disassembler {
  /** Every byte of the input is in exactly one of the results, in order. */
  disassemble(bytes: Uint8Array, options: DisassembleOptions): Insn[];
}

const CS_ARCH_ARM64 = 1;
const CS_ARCH_X86 = 3;
const CS_MODE_64 = 8;
const CS_OPT_SKIPDATA = 5;
const CS_OPT_ON = 3;

let loading: Promise<Disassembler> | null = null;

/** Loads Capstone on first use (about 15 ms) and gives the same object ever after. */
export function loadDisassembler(): Promise<Disassembler> {
  loading ??= load();
  return loading;
}

async function load(): Promise<Disassembler> {
  const { Capstone, loadCapstone } = await import('capstone-wasm');
  await loadCapstone();
  const handles = new Map<string, Capstone>();
  const handleOf = (arch: 'x86_64' | 'arm64') => {
    let handle = handles.get(arch);
    if (handle === undefined) {
      handle =
        arch === 'x86_64' ? new Capstone(CS_ARCH_X86, CS_MODE_64) : new Capstone(CS_ARCH_ARM64, 0);
      // Without it decoding ends at the first bad byte.
      handle.setOption(CS_OPT_SKIPDATA, CS_OPT_ON);
      handles.set(arch, handle);
    }
    return handle;
  };
  return {
    disassemble(bytes, { arch, address }) {
      if (bytes.length === 0) return [];
      const found: Insn[] = [];
      let at = 0;
      for (const raw of decode(handleOf(arch), bytes, u64(address))) {
        const own = bytes.slice(at, at + raw.size);
        const where = u64(address + BigInt(at));
        const [mnemonic, operands] =
          raw.mnemonic === '.byte' ? asData(own, arch) : [raw.mnemonic, raw.opStr];
        const text = operands === '' ? mnemonic : `${mnemonic} ${operands}`;
        found.push({ address: where, bytes: own, mnemonic, operands, text });
        at += raw.size;
      }
      // Capstone leaves a tail that is shorter than its skip unit.
      if (at < bytes.length) found.push(...tail(bytes.slice(at), u64(address + BigInt(at))));
      return found;
    },
  };
}

interface Raw {
  readonly size: number;
  readonly mnemonic: string;
  readonly opStr: string;
}

/** Bytes for one call: they go over Capstone's stack, and 40,000 overrun it. */
const CHUNK = 4096;
/** No instruction is longer. */
const LONGEST = 15;

/** Everything but a last piece that is shorter than Capstone's skip unit. */
function* decode(capstone: Capstone, bytes: Uint8Array, address: bigint): Generator<Raw> {
  for (let at = 0; at < bytes.length; ) {
    // A little more than a chunk, so that its last instruction is whole.
    const piece = bytes.subarray(at, at + CHUNK + LONGEST);
    const end = at + CHUNK;
    const found = decodePiece(capstone, piece, u64(address + BigInt(at)));
    if (found.length === 0) return;
    for (const raw of found) {
      if (at >= end) break;
      yield raw;
      at += raw.size;
    }
  }
}

function decodePiece(capstone: Capstone, bytes: Uint8Array, address: bigint): Raw[] {
  try {
    return capstone.disasm(bytes, { address });
  } catch {
    // Nothing at all was decoded.
    return [];
  }
}

const hexByte = (byte: number) => `0x${byte.toString(16).padStart(2, '0')}`;

/** Bytes that Capstone takes for data; two kinds of AArch64 instructions are among them. */
function asData(bytes: Uint8Array, arch: 'x86_64' | 'arm64'): [string, string] {
  if (arch === 'x86_64' || bytes.length !== 4) return ['.byte', [...bytes].map(hexByte).join(', ')];
  const word = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  // Arm ARM C6.2 UDF: bits 31 to 16 are zero.
  if (word <= 0xffff) return ['udf', `#${word}`];
  const unprivileged = asUnprivileged(word);
  if (unprivileged !== null) return unprivileged;
  return ['.word', `0x${word.toString(16).padStart(8, '0')}`];
}

/** By size (bits 31 and 30) and opc (bits 23 and 22); the letter is the register's. */
const UNPRIVILEGED = [
  ['sttrb w', 'ldtrb w', 'ldtrsb x', 'ldtrsb w'],
  ['sttrh w', 'ldtrh w', 'ldtrsh x', 'ldtrsh w'],
  ['sttr w', 'ldtr w', 'ldtrsw x'],
  ['sttr x', 'ldtr x'],
];

/**
 * LDTR and STTR with equal registers, as in get_user(): Capstone refuses them as if they wrote the base back (Arm ARM
 * C4.1.88, Load/store register (unprivileged)).
 */
function asUnprivileged(word: number): [string, string] | null {
  if ((word & 0x3f20_0c00) >>> 0 !== 0x3800_0800) return null;
  const form = UNPRIVILEGED[word >>> 30][(word >>> 22) & 3];
  if (form === undefined) return null;
  const [mnemonic, file] = form.split(' ');
  const [rt, rn] = [word & 31, (word >>> 5) & 31];
  const offset = ((word >>> 12) << 23) >> 23;
  const target = rt === 31 ? `${file}zr` : file + rt;
  const base = rn === 31 ? 'sp' : `x${rn}`;
  const magnitude = Math.abs(offset);
  const shown = magnitude > 9 ? `0x${magnitude.toString(16)}` : `${magnitude}`;
  const address = offset === 0 ? `[${base}]` : `[${base}, #${offset < 0 ? '-' : ''}${shown}]`;
  return [mnemonic, `${target}, ${address}`];
}

const tail = (bytes: Uint8Array, address: bigint): Insn[] => [
  {
    address,
    bytes,
    mnemonic: '.byte',
    operands: [...bytes].map(hexByte).join(', '),
    text: `.byte ${[...bytes].map(hexByte).join(', ')}`,
  },
];
