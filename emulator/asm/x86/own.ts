// Instructions with operands that the encoder gets wrong or encodes unlike GNU as. SDM Vol. 2, by name.
import type { ResolvedInsn, ResolvedMemory } from './resolve.ts';

const SEGMENT_PREFIXES: Readonly<Record<string, number>> = {
  cs: 0x2e,
  ds: 0x3e,
  es: 0x26,
  ss: 0x36,
  fs: 0x64,
  gs: 0x65,
};

/** @returns the encoding, or null if the encoder can be asked */
export function ownEncoding(insn: ResolvedInsn): Uint8Array | null {
  const [first, second] = insn.operands;
  if (insn.mnemonic === 'int' && first?.kind === 'value' && first.value === 3n) {
    return Uint8Array.of(0xcc);
  }
  if (insn.mnemonic !== 'mov' || insn.operands.length !== 2) return null;
  if (first.kind === 'register' && second.kind === 'memory') {
    return absoluteMove(first.name, second, 0x8a);
  }
  if (second.kind === 'register' && first.kind === 'memory') {
    return absoluteMove(second.name, first, 0x88);
  }
  return null;
}

/** MOV between the accumulator and a 32-bit absolute address, by ModRM and SIB; the encoder takes 64-bit addresses. */
function absoluteMove(name: string, memory: ResolvedMemory, opcode: number): Uint8Array | null {
  const size = { al: 1, ax: 2, eax: 4, rax: 8 }[name];
  const isAbsolute = memory.base === null && memory.index === null && memory.decoration === '';
  const { disp } = memory;
  if (size === undefined || !isAbsolute || BigInt.asIntN(32, disp) !== disp) return null;
  if (memory.size !== null && memory.size !== size) return null;
  const head = [
    ...(memory.segment === null || memory.segment === 'ds'
      ? []
      : [SEGMENT_PREFIXES[memory.segment]]),
    ...(size === 2 ? [0x66] : []),
    ...(size === 8 ? [0x48] : []),
    size === 1 ? opcode : opcode + 1,
    0x04,
    0x25,
  ];
  const bytes = new Uint8Array(head.length + 4);
  bytes.set(head);
  new DataView(bytes.buffer).setInt32(head.length, Number(disp), true);
  return bytes;
}

/**
 * A segment register is stored as 16 bits whatever the operand size; the encoder says so with a prefix.
 * @param bytes of a mov
 */
export function mendSegmentStore(bytes: Uint8Array): Uint8Array {
  const opcode = bytes[1] >> 4 === 4 ? bytes[2] : bytes[1];
  return bytes[0] === 0x66 && opcode === 0x8c ? bytes.slice(1) : bytes;
}

/**
 * NOP with an operand is 0F 1F /0; the encoder emits 0F 18 /4, another hint.
 * @param bytes a nop with its prefixes, changed in place
 */
export function mendNop(bytes: Uint8Array): Uint8Array {
  const at = bytes.findIndex((byte, i) => byte === 0x0f && bytes[i + 1] === 0x18);
  if (at < 0) return bytes;
  const mended = bytes.slice();
  mended[at + 1] = 0x1f;
  mended[at + 2] &= 0b1100_0111;
  return mended;
}
