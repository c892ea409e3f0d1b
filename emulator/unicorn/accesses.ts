// Logs every access to data: machine code of ours fills a buffer, and its reader is told when it is full or somebody
// asks. The library tells of physical addresses.
import type { AccessSink } from '../engine.ts';
import { type Binding, dropCallback, makeCallback, type Pointer, sharedBytes } from './binding.ts';
import { UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE, UC_MEM_READ } from './constants.ts';
import type { NativeCode } from './native-code.ts';

// The layout that the native code knows.
const COUNT = 0;
const CAPACITY = 4;
const CALLBACK = 8;
const ENTRIES = 64;
const ENTRY = 16;
const MOST = 1024;

export class Accesses {
  sink: AccessSink | null = null;
  private readonly data = sharedBytes(ENTRIES + MOST * ENTRY);
  private readonly words32 = new Uint32Array(this.data.buffer);
  private readonly words = new BigUint64Array(this.data.buffer);
  private readonly callback: Pointer;

  /** Adds the hooks; to be called before the engine runs anything. */
  constructor(binding: Binding, uc: Pointer, native: NativeCode | null) {
    this.callback = makeCallback(
      'store',
      (_uc, type: number, pa: number | bigint, size: number) => {
        this.drain();
        this.sink?.(Number(pa), size, type !== UC_MEM_READ);
      },
    );
    this.words32[CAPACITY / 4] = MOST;
    this.words[CALLBACK / 8] = this.callback;
    const entry = native?.access ?? this.callback;
    binding.addHook(uc, UC_HOOK_MEM_READ, entry, this.data);
    binding.addHook(uc, UC_HOOK_MEM_WRITE, entry, this.data);
  }

  /** Tells the sink of everything that is in the buffer. */
  drain(): void {
    const count = this.words32[COUNT / 4];
    this.words32[COUNT / 4] = 0;
    if (this.sink === null) return;
    for (let i = 0; i < count; i++) {
      const at = ENTRIES + i * ENTRY;
      const size = this.words32[at / 4 + 2];
      this.sink(Number(this.words[at / 8]), size, this.words32[at / 4 + 3] !== UC_MEM_READ);
    }
  }

  close(): void {
    dropCallback(this.callback);
  }
}
