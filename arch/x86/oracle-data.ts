// The data memory of the golden cases on a vCPU: every byte tells its place, so that what was loaded, stored or executed
// proves the physical address without a word of the walk that found it. FORMAT.md: data lie from 2 to 6 MiB, and 1 GiB
// above that.
import { FRAME_SIZE } from '../../emulator/address.ts';
import type { Ram } from '../../emulator/ram.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const WINDOWS = [2 * MIB, GIB + 2 * MIB];
const FRAMES_EACH = (4 * MIB) / FRAME_SIZE;
const FRAMES = WINDOWS.length * FRAMES_EACH;

/** Memory that the cases need: data and, below, tables. */
export const RAM_SIZE = GIB + 8 * MIB;

const frameAddr = (frame: number): number =>
  WINDOWS[Math.floor(frame / FRAMES_EACH)] + (frame % FRAMES_EACH) * FRAME_SIZE;

/** What lies at `pa`: never a byte with equal digits, which every byte of a `write` has. */
function patternByte(pa: number): number {
  let mixed = Math.imul(pa ^ (pa >>> 15), 0x2c1b3c6d);
  mixed = Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39);
  const byte = (mixed >>> 24) & 0xff;
  return byte % 17 === 0 ? byte ^ 1 : byte;
}

/** mov r8, imm8 with one of the eight byte registers al cl dl bl ah ch dh bh. */
const MOV_R8_IMM8 = 0xb0;
const NAMES = ['rax', 'rcx', 'rdx', 'rbx'];

/** The instruction of two bytes at an offset lies on two pages. */
const crosses = (offset: number): boolean => offset + 1 === FRAME_SIZE;

export class OracleData {
  private readonly ram: Ram;

  constructor(ram: Ram) {
    this.ram = ram;
    for (const start of WINDOWS) {
      const at = start - ram.base;
      for (let i = 0; i < 4 * MIB; i++) ram.bytes[at + i] = patternByte(start + i);
    }
  }

  /** Addresses, frame by frame, at which memory from `offset` of a frame on holds `bytes`. */
  find(offset: number, bytes: Uint8Array): number[] {
    const found: number[] = [];
    for (let frame = 0; frame < FRAMES; frame++) {
      const pa = frameAddr(frame) + offset;
      if (bytes.every((byte, i) => this.ram.bytes[pa + i] === byte)) found.push(pa);
    }
    return found;
  }

  /** Addresses at which `length` bytes are not as they were; they are then. */
  changed(offset: number, length: number): number[] {
    const found: number[] = [];
    for (let frame = 0; frame < FRAMES; frame++) {
      const pa = frameAddr(frame) + offset;
      let changed = false;
      for (let i = 0; i < length; i++) changed ||= this.ram.bytes[pa + i] !== patternByte(pa + i);
      if (!changed) continue;
      found.push(pa);
      this.restore(pa, length);
    }
    return found;
  }

  private restore(pa: number, length: number): void {
    for (let i = 0; i < length; i++) this.ram.bytes[pa + i] = patternByte(pa + i);
  }

  /**
   * Puts an instruction of two bytes at `offset` of every frame, which tells the frame when it is executed; at the end of
   * a frame its second byte goes to the start of every frame.
   */
  placeCode(offset: number): void {
    const second = (offset + 1) % FRAME_SIZE;
    const odd = crosses(offset) ? 1 : 0;
    for (let frame = 0; frame < FRAMES; frame++) {
      const pa = frameAddr(frame);
      this.ram.bytes[pa + offset] = MOV_R8_IMM8 | (frame & 7);
      this.ram.bytes[pa + second] = (frame >> 3) | odd;
    }
  }

  removeCode(offset: number): void {
    for (let frame = 0; frame < FRAMES; frame++) {
      this.restore(frameAddr(frame) + offset, 1);
      this.restore(frameAddr(frame) + ((offset + 1) % FRAME_SIZE), 1);
    }
  }

  /**
   * What the registers must hold before the instruction of the frame at `pa` is executed, or of any other frame if it
   * crosses into the next: no byte is what it writes.
   */
  canary(offset: number, pa: number | null): bigint {
    if (crosses(offset)) return 0n;
    const frame = pa === null ? 0 : this.frameOf(pa);
    return BigInt(~(frame >> 3) & 0xff) * 0x0101_0101_0101_0101n;
  }

  /**
   * The address whose instruction was executed, from what it left in the registers.
   * @param read reads a register. @param canary what they held
   * @returns of the first byte; null if none was
   */
  executed(
    offset: number,
    read: (name: string) => bigint,
    canary: bigint,
    hint: number | null,
  ): number | null {
    for (let number = 0; number < 8; number++) {
      const value = (read(NAMES[number & 3]) >> (number & 4 ? 8n : 0n)) & 0xffn;
      if (value === (canary & 0xffn)) continue;
      if (crosses(offset)) {
        // The first byte tells the low bits of its own frame, the second belongs to another one.
        return hint !== null && (this.frameOf(hint) & 7) === number ? hint : null;
      }
      return frameAddr((Number(value) << 3) | number) + offset;
    }
    return null;
  }

  private frameOf(pa: number): number {
    const window = pa >= WINDOWS[1] ? 1 : 0;
    return window * FRAMES_EACH + Math.floor((pa - WINDOWS[window]) / FRAME_SIZE);
  }
}
