// Keeps a core that does not count from exits and instructions it must not reach: each block is looked at once, when
// it is translated and before it runs.
import { type Binding, dropCallback, makeCallback, type Pointer, readBlock } from './binding.ts';
import type { CodeMap } from './code-map.ts';
import { UC_HOOK_EDGE_GENERATED } from './constants.ts';
import type { Journal } from './journal.ts';

export class Watcher {
  private readonly callback: Pointer;
  private barrier = -1;
  private paused = false;

  /** Adds the hook; to be called before the engine runs anything. The very first block of an engine goes unseen. */
  constructor(binding: Binding, uc: Pointer, code: CodeMap, journal: Journal) {
    this.callback = makeCallback('edge', (_uc, current) => {
      const { pc, size } = readBlock(current);
      code.translated(pc, size);
      if (this.paused) return;
      const lengths = code.lengths(pc, size);
      // It stays on: no block is looked at twice.
      if (code.storesInPieces(pc, lengths)) journal.record(true);
      this.barrier = code.barrier(pc, lengths);
      if (this.barrier >= 0) binding.stop(uc);
    });
    binding.addHook(uc, UC_HOOK_EDGE_GENERATED, this.callback);
  }

  /** Index of the instruction at which the run has to stop, in a block that was not begun; -1: none. Resets it. */
  takeBarrier(): number {
    const { barrier } = this;
    this.barrier = -1;
    return barrier;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  close(): void {
    dropCallback(this.callback);
  }
}
