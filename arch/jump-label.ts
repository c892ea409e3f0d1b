// Static keys (kernel/jump_label.c, arch/*/kernel/jump_label.c): branches that a kernel writes into its code as no-operations
// or jumps, by the state of a variable, when it loads the code. Objects that objtool has not been over have jumps where
// x86 kernels have no-operations. Left out: keys that change later, and keys of modules (linked lists).
import { NOPS } from '../emulator/asm/x86/nops.ts';
import type { CpuDescription } from '../emulator/engine.ts';
import type { Stretch } from './stretch.ts';

/** struct jump_entry with relative places: code, target, and the key with two bits in it. */
const ENTRY = 16;
/** The branch is taken where the key is off. */
const BRANCH = 1n;
/** x86: the compiler wrote a jump for what is to be a no-operation; objtool changes it (HAVE_JUMP_LABEL_HACK). */
const HACK = 2n;

const NOP2 = NOPS[1];
const NOP5 = NOPS[4];
const A64_NOP = 0xd503_201f;
const A64_B = 0x1400_0000;

/**
 * Writes each site of one `__jump_table` as its key says.
 * @param table the section, relocated. @param code where the sites lie; changed
 * @param enabled what a key says; null for a key that lies elsewhere, whose sites keep the state that they were built for
 * @throws RangeError for a table or a site that is of no known form
 */
export function applyJumpTable(
  arch: CpuDescription['name'],
  table: Stretch,
  code: readonly Stretch[],
  enabled: (key: bigint) => boolean | null,
): void {
  const { address, bytes } = table;
  if (bytes.length % ENTRY !== 0) throw new RangeError('__jump_table is of no known form');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += ENTRY) {
    const field = address + BigInt(at);
    const site = field + BigInt(view.getInt32(at, true));
    const target = field + 4n + BigInt(view.getInt32(at + 4, true));
    const word = field + 8n + view.getBigInt64(at + 8, true);
    const state = enabled(word & ~3n);
    const jumps = state === null ? null : state !== ((word & BRANCH) !== 0n);
    const home = code.find((one) => site >= one.address && site < end(one));
    const write = arch === 'arm64' ? writeA64 : writeX86;
    const place = home?.bytes.subarray(Number(site - home.address));
    const wanted = jumps ?? ((word & HACK) === 0n ? null : false);
    if (place === undefined || !write(place, target - site, wanted)) {
      throw new RangeError(
        `__jump_table names 0x${BigInt.asUintN(64, site).toString(16)}, where neither a jump nor a no-operation is`,
      );
    }
  }
}

const end = ({ address, bytes }: Stretch): bigint => address + BigInt(bytes.length);

const startsWith = (place: Uint8Array, bytes: readonly number[]): boolean =>
  bytes.every((byte, i) => place[i] === byte);

/** @param jumps null: it stays as it is. @returns false for what is no site */
function writeX86(place: Uint8Array, distance: bigint, jumps: boolean | null): boolean {
  const isShort = place[0] === 0xeb || startsWith(place, NOP2);
  const length = isShort ? 2 : 5;
  if (place.length < length) return false;
  if (!isShort && place[0] !== 0xe9 && !startsWith(place, NOP5)) return false;
  if (jumps === null) return true;
  if (!jumps) {
    place.set(isShort ? NOP2 : NOP5);
    return true;
  }
  const by = distance - BigInt(length);
  if (BigInt.asIntN(isShort ? 8 : 32, by) !== by) return false;
  const view = new DataView(place.buffer, place.byteOffset);
  view.setUint8(0, isShort ? 0xeb : 0xe9);
  if (isShort) view.setInt8(1, Number(by));
  else view.setInt32(1, Number(by), true);
  return true;
}

function writeA64(place: Uint8Array, distance: bigint, jumps: boolean | null): boolean {
  if (place.length < 4) return false;
  const view = new DataView(place.buffer, place.byteOffset);
  const word = view.getUint32(0, true);
  if (word !== A64_NOP && (word & 0xfc00_0000) >>> 0 !== A64_B) return false;
  if (jumps === null) return true;
  const words = distance >> 2n;
  if (distance % 4n !== 0n || BigInt.asIntN(26, words) !== words) return false;
  view.setUint32(0, jumps ? A64_B | Number(BigInt.asUintN(26, words)) : A64_NOP, true);
  return true;
}
