// Branches to a place, encoded here because their length depends on the distance. SDM Vol. 2: JMP, Jcc, CALL, LOOPcc,
// JrCXZ, XBEGIN. Left out: far branches and the 16-bit operand size.
import { hex, s64 } from '../../bits.ts';
import { AssemblyError } from '../error.ts';

/** Low four bits of the opcodes of Jcc, SETcc and CMOVcc (SDM Vol. 1 Appendix B). */
export const CONDITIONS: Readonly<Record<string, number>> = {
  o: 0,
  no: 1,
  b: 2,
  c: 2,
  nae: 2,
  ae: 3,
  nb: 3,
  nc: 3,
  e: 4,
  z: 4,
  ne: 5,
  nz: 5,
  be: 6,
  na: 6,
  a: 7,
  nbe: 7,
  s: 8,
  ns: 9,
  p: 10,
  pe: 10,
  np: 11,
  po: 11,
  l: 12,
  nge: 12,
  ge: 13,
  nl: 13,
  le: 14,
  ng: 14,
  g: 15,
  nle: 15,
};

interface BranchForm {
  readonly short: readonly number[] | null;
  readonly near: readonly number[] | null;
}

/** @returns null if the mnemonic is no branch */
export function branchForm(mnemonic: string): BranchForm | null {
  switch (mnemonic) {
    case 'jmp':
      return { short: [0xeb], near: [0xe9] };
    case 'call':
      return { short: null, near: [0xe8] };
    case 'xbegin':
      return { short: null, near: [0xc7, 0xf8] };
    case 'loopne':
    case 'loopnz':
      return { short: [0xe0], near: null };
    case 'loope':
    case 'loopz':
      return { short: [0xe1], near: null };
    case 'loop':
      return { short: [0xe2], near: null };
    case 'jecxz':
      return { short: [0x67, 0xe3], near: null };
    case 'jrcxz':
      return { short: [0xe3], near: null };
  }
  const condition = mnemonic.startsWith('j') ? CONDITIONS[mnemonic.slice(1)] : undefined;
  if (condition === undefined) return null;
  return { short: [0x70 + condition], near: [0x0f, 0x80 + condition] };
}

/** Chooses between the two lengths. Once long it stays long, so that layout comes to an end. */
export class Branch {
  private long = false;
  private readonly form: BranchForm;
  private readonly onlyShort: boolean;
  private readonly place: { line: number; column: number };

  /** @param place of the target, for complaints */
  constructor(form: BranchForm, onlyShort: boolean, place: { line: number; column: number }) {
    this.form = form;
    this.onlyShort = onlyShort || form.near === null;
    this.place = place;
  }

  /** @throws AssemblyError if the target is out of reach */
  encode(here: bigint, target: bigint): Uint8Array {
    const { short, near } = this.form;
    if (short !== null && !this.long) {
      const distance = s64(target - here - BigInt(short.length + 1));
      if (distance >= -128n && distance < 128n) {
        return Uint8Array.from([...short, Number(distance) & 0xff]);
      }
      if (this.onlyShort) {
        throw new AssemblyError(
          this.place,
          `the target ${hex(target)} is ${distance} bytes away, a short branch reaches 127`,
          'jump over a jmp to the target instead',
        );
      }
      this.long = true;
    }
    if (near === null) {
      throw new AssemblyError(this.place, 'this branch has no short form', 'remove `short`');
    }
    const distance = s64(target - here - BigInt(near.length + 4));
    if (distance < -0x8000_0000n || distance >= 0x8000_0000n) {
      throw new AssemblyError(
        this.place,
        `the target ${hex(target)} is out of reach of a branch at ${hex(here)} (2 GiB)`,
        'load the address into a register with movabs and branch to that',
      );
    }
    const bytes = new Uint8Array(near.length + 4);
    bytes.set(near);
    new DataView(bytes.buffer).setInt32(near.length, Number(distance), true);
    return bytes;
  }
}
