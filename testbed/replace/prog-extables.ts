// Exception tables of programs in memory, as code that searches them finds them: beside kernel text, since an entry reaches
// 2 GiB. JITs put them behind a program's image.
import type { BpfProg } from '../../bpf/prog.ts';
import { virtAddr } from '../../emulator/address.ts';
import type { Kernel } from '../kernel.ts';
import { OutOfMemory } from '../kernel-memory.ts';

const ENTRY_SIZE = 12;
/** Bytes of all tables together. */
const ROOM = 0x1_0000;

/** Where a table is, and its entries. */
interface Table {
  readonly at: bigint;
  readonly count: number;
}

export class ProgExtables {
  private readonly kernel: Kernel;
  private readonly start: bigint;
  private used = 0;
  private readonly places = new Map<BpfProg, Table>();

  /** @param start page aligned, with nothing mapped in the 64 KiB from there */
  constructor(kernel: Kernel, start: bigint) {
    this.kernel = kernel;
    this.start = start;
    kernel.memory.mapBytes(virtAddr(start), new Uint8Array(ROOM), 'PAGE_KERNEL', kernel.dataPages);
  }

  /** The table of a program as it is now. @throws OutOfMemory */
  table(prog: BpfProg): Table {
    const count = prog.extable.length;
    if (count === 0) return { at: 0n, count };
    const at = virtAddr(this.place(prog, count).at);
    this.kernel.memory.write(at, prog.extableAt(at));
    return { at, count };
  }

  /** The program's place, or a new one for a longer table. */
  private place(prog: BpfProg, count: number): Table {
    const known = this.places.get(prog);
    if (known !== undefined && known.count >= count) return known;
    // Programs that were unloaded need theirs no longer.
    for (const [other, place] of this.places) {
      if (other.extable.length > 0 || place.count < count) continue;
      this.places.delete(other);
      this.places.set(prog, place);
      return place;
    }
    const bytes = count * ENTRY_SIZE;
    if (this.used + bytes > ROOM) throw new OutOfMemory('no room for exception tables of programs');
    const place = { at: this.start + BigInt(this.used), count };
    this.used += bytes;
    this.places.set(prog, place);
    return place;
  }
}
