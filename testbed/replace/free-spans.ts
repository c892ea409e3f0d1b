// arena->free_spans as compiled code sees it: struct arena_free_span in memory that it can free, linked by their nodes. A
// list that the code puts there, or takes away, is the model's from that instruction on.
import type { ArenaFreeSpan, BpfArena } from '../../bpf/arena.ts';
import { virtAddr } from '../../emulator/address.ts';
import { hex, lo32 } from '../../emulator/bits.ts';
import type { Kernel } from '../kernel.ts';
import type { CodeHeap } from './code-heap.ts';
import { type Binding, writeUint } from './laid.ts';
import type { Structures } from './structures.ts';

export class FreeSpans {
  private readonly kernel: Kernel;
  private readonly structures: Structures;
  private readonly heap: CodeHeap;
  /** Where spans of the model's lists lie, as far as the code has seen them. */
  private readonly places = new Map<ArenaFreeSpan, bigint>();

  constructor(kernel: Kernel, structures: Structures, heap: CodeHeap) {
    this.kernel = kernel;
    this.structures = structures;
    this.heap = heap;
  }

  /** The member: the first node, or 0. */
  binding(arena: BpfArena): Binding {
    return {
      get: () => this.lay(arena),
      set: (value) => this.take(arena, value),
    };
  }

  /** Puts the model's list into memory. @returns its first node; null where the object does not know spans */
  private lay(arena: BpfArena): bigint | null {
    const layout = this.structures.optional('arena_free_span');
    if (layout === null) return arena.freeSpans.length === 0 ? 0n : null;
    this.forgetOthers();
    let next = 0n;
    for (const span of arena.freeSpans.toReversed()) {
      let at = this.places.get(span);
      if (at === undefined) {
        at = this.heap.alloc(layout.size);
        if (at === 0n) return null;
        this.places.set(span, at);
        this.write(at, 'uaddr', BigInt(span.uaddr));
        this.write(at, 'page_cnt', BigInt(span.pageCnt));
      }
      this.write(at, 'node', next);
      next = at + this.offset('node');
    }
    return next;
  }

  /** Takes the list over that begins at a node. @returns what is wrong with it */
  private take(arena: BpfArena, first: bigint): string | null {
    const spans: ArenaFreeSpan[] = [];
    const seen = new Set<bigint>();
    for (let node = first; node !== 0n; node = this.word(node)) {
      const at = node - this.offset('node');
      if (this.heap.sizeOf(at) === 0 || seen.has(at))
        return `${hex(node)} is in no struct arena_free_span`;
      seen.add(at);
      spans.push(this.spanAt(at));
    }
    // What is no longer on the list is the code's.
    for (const span of arena.freeSpans) if (!spans.includes(span)) this.places.delete(span);
    arena.freeSpans = spans;
    return null;
  }

  private spanAt(at: bigint): ArenaFreeSpan {
    for (const [span, place] of this.places) if (place === at) return span;
    const layout = this.structures.layout('arena_free_span');
    const count = this.word(at + this.offset('page_cnt'));
    const span = {
      uaddr: lo32(this.word(at + this.offset('uaddr'))),
      pageCnt: layout.members.get('page_cnt')?.size === 4 ? lo32(count) : Number(count),
    };
    this.places.set(span, at);
    return span;
  }

  /** Gives back the places of spans that the model itself has taken off a list. */
  private forgetOthers(): void {
    const lists = [...this.kernel.arenas.values()].flatMap(({ freeSpans }) => freeSpans);
    for (const [span, at] of this.places) {
      if (lists.includes(span)) continue;
      this.places.delete(span);
      this.heap.free(at);
    }
  }

  private offset(member: string): bigint {
    const layout = this.structures.layout('arena_free_span');
    return BigInt(layout.members.get(member)?.offset ?? 0);
  }

  private word(at: bigint): bigint {
    return (
      this.kernel.memory.readWord(virtAddr(at)) ?? this.kernel.ram.read64(this.structures.phys(at))
    );
  }

  private write(at: bigint, member: string, value: bigint): void {
    const found = this.structures.layout('arena_free_span').members.get(member);
    if (found === undefined) return;
    writeUint(this.kernel, this.structures.phys(at) + found.offset, found.size, value);
  }
}
