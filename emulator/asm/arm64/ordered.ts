// More loads and stores that the encoder is too old for: limited ordering (FEAT_LOR), release consistency with an offset
// (FEAT_LRCPC2), authenticated loads (FEAT_PAuth). Encodings: Arm ARM C4.1.88 and the instruction's page in C6.2.
import { general, sized } from './extensions.ts';
import type { Resolved } from './resolve.ts';

type Operands = readonly Resolved[];

/** @returns the instruction's word, or null if it is none of these or the operands are not its own */
export function encodeOrdered(mnemonic: string, operands: Operands): number | null {
  if (operands.length !== 2) return null;
  return (
    encodeLimited(mnemonic, operands) ??
    encodeOffset(mnemonic, operands) ??
    encodeAuthenticated(mnemonic, operands)
  );
}

interface Address {
  readonly base: number;
  readonly offset: number;
  readonly writeback: boolean;
}

/** `[x0]`, `[sp, #8]`, `[x0, #8]!`. */
function addressOf(operand: Resolved): Address | null {
  if (operand.kind !== 'memory') return null;
  const [base, offset, ...more] = operand.parts;
  const number = general(base, 'x', true);
  if (number === null || more.length > 0) return null;
  if (offset !== undefined && offset.kind !== 'value') return null;
  const { writeback } = operand;
  return { base: number, offset: offset === undefined ? 0 : Number(offset.value), writeback };
}

const word = (value: number) => value >>> 0;

/** LDLAR, STLLR and their bytes and halfwords: as LDAR and STLR, without bit 15. */
function encodeLimited(mnemonic: string, [value, place]: Operands): number | null {
  const found = /^(ldla|stll)r([bh]?)$/.exec(mnemonic);
  const address = addressOf(place);
  if (found === null || address === null || address.offset !== 0 || address.writeback) return null;
  const size = sized(found[2], value);
  const rt = size === null ? null : general(value, size[0]);
  if (size === null || rt === null) return null;
  const base = found[1] === 'ldla' ? 0x08df_7c00 : 0x089f_7c00;
  return word(base + size[1] * 0x4000_0000 + (address.base << 5) + rt);
}

/** STLUR, LDAPUR and LDAPURS with an offset of nine bits. */
function encodeOffset(mnemonic: string, [value, place]: Operands): number | null {
  const found = /^(stlur|ldapur)(s?)([bhw]?)$/.exec(mnemonic);
  const address = addressOf(place);
  if (found === null || address === null || address.writeback) return null;
  if (!Number.isInteger(address.offset) || address.offset < -256 || address.offset > 255)
    return null;
  const [, kind, sign, suffix] = found;
  const rt = general(value, 'x') ?? general(value, 'w');
  if (rt === null) return null;
  const isWide = general(value, 'x') !== null;
  let size: number;
  let opc: number;
  if (sign === '') {
    if (suffix === 'w' || (suffix !== '' && isWide)) return null;
    size = suffix === 'b' ? 0 : suffix === 'h' ? 1 : isWide ? 3 : 2;
    opc = kind === 'stlur' ? 0 : 1;
  } else {
    if (kind === 'stlur' || suffix === '' || (suffix === 'w' && !isWide)) return null;
    size = 'bhw'.indexOf(suffix);
    opc = isWide ? 2 : 3;
  }
  const offset = (address.offset & 0x1ff) << 12;
  return word(
    0x1900_0000 + size * 0x4000_0000 + opc * 0x40_0000 + offset + (address.base << 5) + rt,
  );
}

/** LDRAA and LDRAB, whose offset counts in eight bytes. */
function encodeAuthenticated(mnemonic: string, [value, place]: Operands): number | null {
  const address = addressOf(place);
  const rt = general(value, 'x');
  if (!/^ldra[ab]$/.test(mnemonic) || address === null || rt === null) return null;
  const { base, offset, writeback } = address;
  if (offset % 8 !== 0 || offset < -4096 || offset > 4088) return null;
  const units = (offset / 8) & 0x3ff;
  return word(
    0xf820_0400 +
      (mnemonic === 'ldrab' ? 1 << 23 : 0) +
      (units >> 9) * (1 << 22) +
      (units & 0x1ff) * 0x1000 +
      (writeback ? 0x800 : 0) +
      (base << 5) +
      rt,
  );
}
