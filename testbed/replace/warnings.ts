// WARN_ON() in compiled code: a trap that the object's __bug_table knows prints its line and is passed over
// (lib/bug.c). Left out: BUG(), whose trap ends the code, and what a warning prints below its line.
import type { VirtAddr } from '../../emulator/address.ts';
import { textAt } from '../../emulator/elf/dwarf.ts';
import type { Linked } from '../../emulator/elf/link.ts';
import { warnOnce } from '../../mm/warn.ts';
import type { Kernel } from '../kernel.ts';

/** struct bug_entry with relative pointers: the trap, the file's name, line and flags. */
const ENTRY = 12;
const BUGFLAG_WARNING = 1;

export class Warnings {
  private readonly kernel: Kernel;
  private readonly places = new Map<bigint, string>();

  constructor(kernel: Kernel, linked: Linked) {
    this.kernel = kernel;
    for (const { name, address, bytes } of linked.sections) {
      if (name === '__bug_table') this.read(address, bytes, linked);
    }
  }

  /** Warns for the trap at `ip`. @returns the length of its instruction; null if it is no warning */
  readonly warn = (ip: VirtAddr): number | null => {
    const place = this.places.get(ip);
    if (place === undefined) return null;
    const { arch, context, symbols } = this.kernel;
    warnOnce(context, symbols.find(ip)?.name ?? '', place);
    return arch.linkRegister === null ? 2 : 4;
  };

  private read(address: bigint, bytes: Uint8Array, { segments }: Linked): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at + ENTRY <= bytes.length; at += ENTRY) {
      if ((view.getUint16(at + 10, true) & BUGFLAG_WARNING) === 0) continue;
      const trap = address + BigInt(at + view.getInt32(at, true));
      const fileAt = address + BigInt(at + 4 + view.getInt32(at + 4, true));
      const home = segments.find(
        (one) => fileAt >= one.address && fileAt < one.address + BigInt(one.bytes.length),
      );
      const file = home === undefined ? '' : textAt(home.bytes, Number(fileAt - home.address));
      this.places.set(trap, `${file}:${view.getUint16(at + 8, true)}`);
    }
  }
}
