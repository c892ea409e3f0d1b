// Every fault of a run, kept in typed arrays: a run may take a million of them.
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import type { AccessName, Resolution } from '../emulator/events.ts';

/** One fault as a run reports it. */
export interface FaultRecord {
  readonly cpu: number;
  readonly ip: VirtAddr;
  readonly addr: VirtAddr;
  readonly access: AccessName;
  /** x86 error code, or the whole ESR_EL1. */
  readonly code: bigint;
  readonly resolution: Resolution;
}

const ACCESSES: readonly AccessName[] = ['read', 'write', 'fetch'];
const RESOLUTIONS: readonly Resolution[] = ['scratch', 'extable', 'kfence', 'spurious', 'oops'];

/** Words of a record: ip, addr, code, and cpu, access and resolution packed. */
const WORDS = 4;

export class FaultLog {
  private words = new BigUint64Array(64 * WORDS);
  /** The same as 32-bit halves. */
  private halves = new Uint32Array(this.words.buffer);
  private count = 0;

  get length(): number {
    return this.count;
  }

  push(fault: FaultRecord): void {
    if ((this.count + 1) * WORDS > this.words.length) {
      const grown = new BigUint64Array(this.words.length * 2);
      grown.set(this.words);
      this.words = grown;
      this.halves = new Uint32Array(grown.buffer);
    }
    const at = this.count++ * WORDS;
    this.words[at] = fault.ip;
    this.words[at + 1] = fault.addr;
    this.words[at + 2] = fault.code;
    this.halves[(at + 3) * 2] =
      fault.cpu * 256 + ACCESSES.indexOf(fault.access) * 16 + RESOLUTIONS.indexOf(fault.resolution);
  }

  /** @param index 0 to length - 1 */
  at(index: number): FaultRecord {
    if (index < 0 || index >= this.count) throw new RangeError(`no fault ${index}`);
    const at = index * WORDS;
    const packed = this.halves[(at + 3) * 2];
    return {
      ip: virtAddr(this.words[at]),
      addr: virtAddr(this.words[at + 1]),
      code: this.words[at + 2],
      cpu: packed >> 8,
      access: ACCESSES[(packed >> 4) & 15],
      resolution: RESOLUTIONS[packed & 15],
    };
  }

  /** Records from `start` to the end. */
  *since(start: number): Generator<FaultRecord> {
    for (let i = start; i < this.count; i++) yield this.at(i);
  }
}
