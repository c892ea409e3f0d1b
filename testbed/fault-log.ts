// Every fault of a run, kept in typed arrays: a run may take a million of them.
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import type { AccessName, Resolution } from '../emulator/events.ts';
import { type Restore, SAVE, type Saveable } from '../emulator/snapshot.ts';

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

/** The words of records, shared with snapshots, which hold the first `saved` of them. */
interface Records {
  readonly words: BigUint64Array;
  /** The same as 32-bit halves. */
  readonly halves: Uint32Array;
  saved: number;
}

function recordsOf(words: BigUint64Array): Records {
  return { words, halves: new Uint32Array(words.buffer), saved: 0 };
}

export class FaultLog implements Saveable {
  private records: Records = recordsOf(new BigUint64Array(64 * WORDS));
  private count = 0;

  get length(): number {
    return this.count;
  }

  push(fault: FaultRecord): void {
    this.makeRoom();
    const { words, halves } = this.records;
    const at = this.count++ * WORDS;
    words[at] = fault.ip;
    words[at + 1] = fault.addr;
    words[at + 2] = fault.code;
    halves[(at + 3) * 2] =
      fault.cpu * 256 + ACCESSES.indexOf(fault.access) * 16 + RESOLUTIONS.indexOf(fault.resolution);
  }

  /** @param index 0 to length - 1 */
  at(index: number): FaultRecord {
    if (index < 0 || index >= this.count) throw new RangeError(`no fault ${index}`);
    const { words, halves } = this.records;
    const at = index * WORDS;
    const packed = halves[(at + 3) * 2];
    return {
      ip: virtAddr(words[at]),
      addr: virtAddr(words[at + 1]),
      code: words[at + 2],
      cpu: packed >> 8,
      access: ACCESSES[(packed >> 4) & 15],
      resolution: RESOLUTIONS[packed & 15],
    };
  }

  /** Records from `start` to the end. */
  *since(start: number): Generator<FaultRecord> {
    for (let i = start; i < this.count; i++) yield this.at(i);
  }
  /** Records are only added, so that snapshots share them. */
  [SAVE](): Restore {
    const { records, count } = this;
    records.saved = Math.max(records.saved, count);
    return () => {
      this.records = records;
      this.count = count;
    };
  }

  /** Room for one more record that no snapshot holds. */
  private makeRoom(): void {
    const { words, saved } = this.records;
    const full = (this.count + 1) * WORDS > words.length;
    if (!full && this.count >= saved) return;
    const copy = new BigUint64Array(full ? words.length * 2 : words.length);
    copy.set(words.subarray(0, this.count * WORDS));
    this.records = recordsOf(copy);
  }
}
