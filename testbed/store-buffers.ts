// x86-TSO (Sewell, Sarkar, Owens, Zappa Nardelli, Myreen, CACM 2010): plain stores wait in a buffer of their CPU, first in
// first out, and reach RAM later, one at a time, when the schedule says so. The CPU itself sees them at once. Locked
// instructions, fences and exceptions empty the buffer first, and so does every step of a kernel path: its accesses to
// what others see are locked or follow one that is. RAM holds what the others see; while a CPU runs an instruction, its own
// stores are laid over it.
import type { Ram } from '../emulator/ram.ts';
import type { AccessLog } from '../mm/context.ts';
import { CHANGED } from '../mm/context.ts';

interface Store {
  readonly pa: number;
  readonly bytes: Uint8Array;
}

/** Where a store goes: physical address and bytes. */
export interface Place {
  readonly pa: number;
  readonly size: number;
}

export class StoreBuffers {
  private readonly ram: Ram;
  private readonly buffers: Store[][];

  constructor(ram: Ram, cpus: number) {
    this.ram = ram;
    this.buffers = Array.from({ length: cpus }, () => []);
  }

  restart(): void {
    for (const buffer of this.buffers) buffer.length = 0;
  }

  isEmpty(cpu: number): boolean {
    return this.buffers[cpu].length === 0;
  }

  /** The oldest store reaches RAM. */
  drain(cpu: number, log: AccessLog | null): void {
    const store = this.buffers[cpu].shift();
    if (store === undefined) return;
    for (let pa = store.pa - (store.pa % 8); pa < store.pa + store.bytes.length; pa += 8) {
      log?.word(pa, CHANGED);
    }
    this.ram.write(store.pa, store.bytes);
  }

  empty(cpu: number, log: AccessLog | null): void {
    while (!this.isEmpty(cpu)) this.drain(cpu, log);
  }

  /**
   * Runs one instruction of a CPU over its own stores, and puts into the buffer what it stores itself.
   * @param places where it stores. @param run runs it. @returns false if it did not retire: then it stored nothing
   */
  around(cpu: number, places: readonly Place[], run: () => boolean): boolean {
    const { ram } = this;
    const buffer = this.buffers[cpu];
    const under: Store[] = [];
    const keep = ({ pa, size }: Place) => under.push({ pa, bytes: ram.read(pa, size) });
    for (const { pa, bytes } of buffer) {
      keep({ pa, size: bytes.length });
      ram.write(pa, bytes);
    }
    for (const place of places) keep(place);
    const retired = run();
    const stored = retired ? places.map(({ pa, size }) => ({ pa, bytes: ram.read(pa, size) })) : [];
    for (const { pa, bytes } of under.reverse()) ram.write(pa, bytes);
    buffer.push(...stored);
    return retired;
  }
}

/** Instructions that wait until the buffer is empty. @param text as the disassembler writes it */
export const drains = (text: string): boolean =>
  /^(lock|mfence|sfence|cpuid|iret|int)\b/.test(text) || /^xchg\b.*\[/.test(text);
