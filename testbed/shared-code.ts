// Translated code and those who write where it lies. The library sees the stores of the vCPU that holds the code; those of
// another vCPU, and of the kernel model, are seen here: a vCPU may write to a frame without asking only while no other one
// has fetched from it since.
import { FRAME_SIZE } from '../emulator/address.ts';
import type { Cpu } from '../emulator/engine.ts';
import type { Ram } from '../emulator/ram.ts';

export class SharedCode {
  private readonly ram: Ram;
  private readonly cpus: readonly { readonly cpu: Cpu }[];
  /** For each frame a bit for each vCPU that may hold a translation with which it writes there. */
  private writers: Uint32Array | null = null;

  /** @param cpus those on the RAM, which begins at 0; at most 32. More may be added later */
  constructor(ram: Ram, cpus: readonly { readonly cpu: Cpu }[]) {
    this.ram = ram;
    this.cpus = cpus;
    ram.onWatched = (frame) => this.changed(frame, null);
  }

  /** A vCPU is given the frame at `pa` (in RAM) to fetch from. */
  fetched(by: number, pa: number): void {
    this.ram.watch(pa);
    if (this.writers === null) return;
    const frame = pa / FRAME_SIZE;
    const others = this.writers[frame] & ~(1 << by);
    if (others === 0) return;
    for (const [i, { cpu }] of this.cpus.entries()) if (others & (1 << i)) cpu.flushTlb();
    this.writers[frame] &= 1 << by;
  }

  /** A vCPU is given the frame at `pa` (in RAM) to write to, until its translations are dropped. */
  writable(by: number, pa: number): void {
    if (this.cpus.length === 1) return;
    this.writers ??= new Uint32Array(this.ram.size / FRAME_SIZE);
    const frame = pa / FRAME_SIZE;
    if (this.writers[frame] & (1 << by)) return;
    this.writers[frame] |= 1 << by;
    this.changed(frame, by);
  }

  /** RAM was zeroed, and nobody holds a translation. Code that a vCPU has kept must still be watched. */
  reset(): void {
    this.writers = null;
    for (const { cpu } of this.cpus) {
      for (const frame of cpu.executedFrames) this.ram.watch(frame * FRAME_SIZE);
      cpu.flushCode();
    }
  }

  private changed(frame: number, by: number | null): void {
    for (const [i, { cpu }] of this.cpus.entries()) {
      if (i === by || !cpu.executedFrames.has(frame)) continue;
      if (by === null) cpu.flushCode();
      // Its code may change at any time from now on, until its next fetch is seen.
      else cpu.forgetCode();
    }
  }
}
