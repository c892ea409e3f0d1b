// apply_alternatives() (arch/x86/kernel/alternative.c): instructions replaced by better ones where the CPU has a
// feature, as the kernel does once at boot and for every module. Left out: direct calls of paravirt operations, the
// shorter forms that the kernel makes of padding and near jumps, and features beyond those a scenario can switch.
import { fillWithNops } from '../../emulator/asm/x86/nops.ts';
import { bytesAt, type Stretch } from '../stretch.ts';
import { type Decoded, decode } from './decode.ts';

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
 * @kernel apply_alternatives arch/x86/kernel/alternative.c read
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
    relocate(patched.subarray(0, replLen), repl - instr);
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

/** Jcc rel8, JMP rel8, CALL, JMP and Jcc rel32. */
const isBranch = ({ map, opcode }: Decoded): boolean =>
  map === 0
    ? (opcode >= 0x70 && opcode <= 0x7f) || opcode === 0xeb || opcode === 0xe8 || opcode === 0xe9
    : map === 0x0f && opcode >= 0x80 && opcode <= 0x8f;

/**
 * __apply_relocation(): branches and RIP-relative operands that point out of the replacement keep their targets; those
 * within it move along.
 * @param by where the replacement lay, from where it goes
 * @throws RangeError for a short branch that no longer reaches
 * @kernel __apply_relocation arch/x86/kernel/alternative.c read
 */
function relocate(bytes: Uint8Array, by: bigint): void {
  for (let at = 0; at < bytes.length; ) {
    const insn = decode(bytes.subarray(at));
    if (insn.length === 0) return;
    const next = at + insn.length;
    const leaves = (distance: number) => next + distance < 0 || next + distance > bytes.length;
    const { displacement, immediate, immediateSize } = insn;
    if (isBranch(insn) && leaves(immediate)) {
      add(bytes, next - immediateSize, immediateSize, by);
    }
    if (insn.base === RIP && leaves(displacement)) add(bytes, next - immediateSize - 4, 4, by);
    at = next;
  }
}

/** {@link Decoded.base} of a RIP-relative operand. */
const RIP = -2;

function add(bytes: Uint8Array, at: number, size: number, by: bigint): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const sum = BigInt(size === 1 ? view.getInt8(at) : view.getInt32(at, true)) + by;
  if (sum !== BigInt.asIntN(size * 8, sum)) {
    throw new RangeError(
      '.altinstructions has a branch that does not reach out of its replacement',
    );
  }
  if (size === 1) view.setInt8(at, Number(sum));
  else view.setInt32(at, Number(sum), true);
}
