// Memory that compiled code and the model share, by kernel addresses: also those of the direct map that nobody has reached
// yet, and which are mapped when the code does.
import { virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { StructLayout } from '../../emulator/elf/layouts.ts';
import { KernelStuck } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';

/** Where a member of a structure is, and how large. */
export interface Member {
  readonly offset: number;
  readonly size: number;
}

export class CodeMemory {
  private readonly kernel: Kernel;

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  /** Up to 8 bytes. @throws KernelStuck where there is no memory */
  read(at: bigint, size = 8): bigint {
    return this.kernel.ram.readUint(this.physOf(at, size), size);
  }

  /** @throws KernelStuck where there is no memory */
  write(at: bigint, value: bigint, size = 8): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
    this.kernel.ram.write(this.physOf(at, size), bytes.subarray(0, size));
  }

  readBytes(at: bigint, length: number): Uint8Array {
    const { ram } = this.kernel;
    const bytes = new Uint8Array(length);
    this.pieces(at, length, (pa, from, count) => {
      bytes.set(ram.read(pa, count), from);
    });
    return bytes;
  }

  writeBytes(at: bigint, bytes: Uint8Array): void {
    const { ram } = this.kernel;
    this.pieces(at, bytes.length, (pa, from, count) => {
      ram.write(pa, bytes.subarray(from, from + count));
    });
  }

  get(at: bigint, { offset, size }: Member): bigint {
    return this.read(at + BigInt(offset), size);
  }

  set(at: bigint, { offset, size }: Member, value: bigint | number): void {
    this.write(at + BigInt(offset), BigInt(value), size);
  }

  private pieces(
    at: bigint,
    length: number,
    piece: (pa: number, from: number, count: number) => void,
  ): void {
    const { pageSize } = this.kernel;
    for (let from = 0; from < length; ) {
      const va = at + BigInt(from);
      const count = Math.min(length - from, pageSize - Number(va % BigInt(pageSize)));
      piece(this.physOf(va, count), from, count);
      from += count;
    }
  }

  private physOf(at: bigint, size: number): number {
    const pa = this.find(at, size);
    if (pa === null) throw new KernelStuck(`${hex(at)} is no memory`);
    return pa;
  }

  private find(at: bigint, size: number): number | null {
    const { layout, memory, ram } = this.kernel;
    const offset = at - layout.directMap;
    const pa =
      offset >= 0n && offset < BigInt(ram.size)
        ? Number(offset)
        : memory.physOf(virtAddr(BigInt.asUintN(64, at)));
    return pa !== null && ram.contains(pa, size) ? pa : null;
  }
}

/** Members of a structure by name. @throws the error that `missing` makes for one that it does not have */
export function membersOf<Name extends string>(
  { name, members }: StructLayout,
  names: readonly Name[],
  missing: (what: string) => Error,
): Readonly<Record<Name, Member>> {
  const found = names.map((one) => {
    const member = members.get(one);
    if (member === undefined) throw missing(`struct ${name} has no member ${one}`);
    return [one, member] as const;
  });
  return Object.fromEntries(found) as Record<Name, Member>;
}
