// apply_alternatives() (arch/x86/kernel/alternative.c): instructions replaced by better ones where the CPU has a
// feature, as the kernel does once at boot and for every module. Left out: direct calls of paravirt operations, padding
// that the kernel optimises further, and features beyond those a scenario can switch.
import { fillWithNops } from '../../emulator/asm/x86/nops.ts';
import { bytesAt, type Stretch } from '../stretch.ts';

/** X86_FEATURE_ numbers (asm/cpufeatures.h): word * 32 + bit. */
const FEATURE = {
  REP_GOOD: 3 * 32 + 16,
  ALWAYS: 3 * 32 + 21,
  ERMS: 9 * 32 + 9,
  SMAP: 9 * 32 + 20,
  FSRM: 18 * 32 + 4,
} as const;

/** ALT_FLAG_NOT: replaced where the CPU has not got the feature. */
const ALT_FLAG_NOT = 1;
const ALT_FLAG_DIRECT_CALL = 2;

/** struct alt_instr, with its places resolved. */
interface AltInstr {
  readonly instr: bigint;
  readonly repl: bigint;
  readonly feature: number;
  readonly flags: number;
  readonly instrLen: number;
  readonly replLen: number;
}

/** The features of the modelled CPU. @param erms ERMS and FSRM: fast rep movsb and stosb */
const featuresOf = (erms: boolean): ReadonlySet<number> =>
  new Set([
    FEATURE.REP_GOOD,
    FEATURE.ALWAYS,
    FEATURE.SMAP,
    ...(erms ? [FEATURE.ERMS, FEATURE.FSRM] : []),
  ]);

/**
 * apply_alternatives(): patches code by one `.altinstructions` section.
 * @param table the section, relocated. @param code where the instructions and their replacements lie; changed
 * @param erms the CPU has ERMS and FSRM
 * @throws RangeError for a table that cannot be read
 * @kernel apply_alternatives arch/x86/kernel/alternative.c unverified
 */
export function applyAlternatives(table: Stretch, code: readonly Stretch[], erms: boolean): void {
  const entries = readTable(table, code);
  if (entries === null) throw new RangeError('.altinstructions is of no known form');
  const features = featuresOf(erms);
  for (const entry of entries) {
    const { feature, flags, instr, repl, instrLen, replLen } = entry;
    const wanted = (flags & ALT_FLAG_NOT) === 0;
    if (features.has(feature) !== wanted || flags & ALT_FLAG_DIRECT_CALL) continue;
    const patched = new Uint8Array(instrLen);
    patched.set(bytesAt(code, repl, replLen)!);
    moveBranch(patched.subarray(0, replLen), repl - instr);
    fillWithNops(patched.subarray(replLen));
    bytesAt(code, instr, instrLen)!.set(patched);
  }
}

/** Entries of 14 bytes since 6.3, of 12 before: the form in which every place lies in the code is the right one. */
function readTable({ address, bytes }: Stretch, code: readonly Stretch[]): AltInstr[] | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const size of [14, 12]) {
    if (bytes.length % size !== 0) continue;
    const entries = Array.from({ length: bytes.length / size }, (_, i): AltInstr => {
      const at = i * size;
      const field = address + BigInt(at);
      return {
        instr: BigInt.asUintN(64, field + BigInt(view.getInt32(at, true))),
        repl: BigInt.asUintN(64, field + 4n + BigInt(view.getInt32(at + 4, true))),
        feature: view.getUint16(at + 8, true) & 0x7fff,
        // Before 6.3 the highest bit of the feature's number was the flag.
        flags: size === 14 ? view.getUint16(at + 10, true) : view.getUint16(at + 8, true) >> 15,
        instrLen: view.getUint8(at + size - 2),
        replLen: view.getUint8(at + size - 1),
      };
    });
    const fits = ({ instr, repl, instrLen, replLen }: AltInstr) =>
      replLen <= instrLen &&
      bytesAt(code, instr, instrLen) !== null &&
      bytesAt(code, repl, replLen) !== null;
    if (entries.every(fits)) return entries;
  }
  return null;
}

/** A call or jump that begins the replacement keeps its target. */
function moveBranch(bytes: Uint8Array, by: bigint): void {
  const [first, second] = bytes;
  const isLong = first === 0x0f && (second & 0xf0) === 0x80;
  const at = first === 0xe8 || first === 0xe9 ? 1 : isLong ? 2 : 0;
  if (at === 0 || bytes.length < at + 4) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setInt32(at, Number(BigInt.asIntN(32, BigInt(view.getInt32(at, true)) + by)), true);
}
