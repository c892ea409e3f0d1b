// ex_handler_zeropad() (arch/x86/mm/extable.c): load_unaligned_zeropad() reads a word that may run into an unmapped
// page; after the fault the missing bytes are zero. The one instruction it fixes up, `mov r64, m64`, is decoded here.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { u64 } from '../../emulator/bits.ts';
import type { ExtableEntry, FaultContext } from '../arch.ts';
import type { X86PtRegs } from './registers.ts';

const MAX_INSN_SIZE = 15n;
const OPCODE_MOV_R_RM = 0x8b;

/**
 * Loads what is there of the word and zeroes the rest.
 * @returns false where the instruction or the address is not the handler's; nothing has changed then
 */
export function loadZeropad(
  context: FaultContext,
  entry: ExtableEntry,
  regs: X86PtRegs,
  faultAddr: VirtAddr,
): boolean {
  const length = entry.fixup - regs.ip;
  if (length <= 0n || length > MAX_INSN_SIZE) return false;
  const bytes = context.readMemory(regs.ip, Number(length));
  const load = bytes === null ? null : decodeLoad(bytes, regs, entry.fixup);
  if (load === null) return false;
  const offset = load.addr & 7n;
  const word = virtAddr(load.addr - offset);
  // Only the word after the one that holds the first byte may be missing.
  if (faultAddr !== u64(word + 8n)) return false;
  const value = context.readWord(word);
  if (value === null) return false;
  regs.setByNumber(load.reg, value >> (offset * 8n));
  return true;
}

/** A 64-bit load: the destination's encoding, and the address. */
interface Load {
  readonly reg: number;
  readonly addr: bigint;
}

/** `REX.W 8B /r` with a memory operand that fills `bytes` exactly (SDM Vol. 2A, 2.1.5 and 2.2.1); else null. */
function decodeLoad(bytes: Uint8Array, regs: X86PtRegs, nextIp: bigint): Load | null {
  const [rex, opcode, modrm] = bytes;
  if ((rex & 0xf8) !== 0x48 || opcode !== OPCODE_MOV_R_RM || bytes.length < 3) return null;
  const reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
  const mod = modrm >> 6;
  const rm = modrm & 7;
  if (mod === 3) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (rm === 4) {
    if (bytes.length < 4) return null;
    const base = sibBase(bytes[3], rex, mod, regs);
    return withDisplacement(view, 4, base.register === null ? 4 : displacementSize(mod), {
      reg,
      addr: base.addr,
    });
  }
  if (mod === 0 && rm === 5) return withDisplacement(view, 3, 4, { reg, addr: nextIp });
  const addr = regs.byNumber(rm | ((rex & 1) << 3));
  return withDisplacement(view, 3, displacementSize(mod), { reg, addr });
}

const displacementSize = (mod: number): number => (mod === 0 ? 0 : mod === 1 ? 1 : 4);

/** Base and scaled index; `register` is null where a 32-bit displacement takes the base's place. */
function sibBase(
  sib: number,
  rex: number,
  mod: number,
  regs: X86PtRegs,
): { readonly register: number | null; readonly addr: bigint } {
  const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
  const scaled = index === 4 ? 0n : regs.byNumber(index) << BigInt(sib >> 6);
  if (mod === 0 && (sib & 7) === 5) return { register: null, addr: scaled };
  const register = (sib & 7) | ((rex & 1) << 3);
  return { register, addr: regs.byNumber(register) + scaled };
}

function withDisplacement(view: DataView, at: number, size: number, load: Load): Load | null {
  if (view.byteLength !== at + size) return null;
  const displacement = size === 0 ? 0 : size === 1 ? view.getInt8(at) : view.getInt32(at, true);
  return { reg: load.reg, addr: u64(load.addr + BigInt(displacement)) };
}
