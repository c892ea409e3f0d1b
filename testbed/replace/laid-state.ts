// State of BPF's that compiled code finds in memory when it reaches it: range trees, streams and messages for them. Where they
// lie, and who makes them.
import type { BpfArena } from '../../bpf/arena.ts';
import type { BpfProg } from '../../bpf/prog.ts';
import type { RangeTree } from '../../bpf/range-tree.ts';
import { CHANGED, KernelStuck, LOOKED } from '../../mm/context.ts';
import { CallError } from '../call-error.ts';
import type { CodeHeap } from './code-heap.ts';
import { CodeMemory } from './code-memory.ts';
import type { Loans } from './loans.ts';
import { MessageMemory } from './message-memory.ts';
import { RangeTreeMemory } from './range-tree-memory.ts';
import { StreamMemory } from './stream-memory.ts';
import type { Lender, Structures } from './structures.ts';
import { UserBuffers } from './user-buffer.ts';

/** A structure that stands for a tree while a function is called with it. */
interface TreePlace {
  readonly at: bigint;
  rt: RangeTree | null;
  /** The function is to make the tree: nothing of it is there. */
  unmade: boolean;
}

const POISON = 0xff;

export class LaidState implements Lender {
  readonly memory: CodeMemory;
  readonly userBuffers = new UserBuffers();
  private readonly structures: Structures;
  private readonly heap: CodeHeap;
  private readonly loans: Loans;
  private trees: RangeTreeMemory | null = null;
  private readonly places: TreePlace[] = [];
  /** Where trees lie now. */
  private readonly laid = new Map<RangeTree, bigint>();

  constructor(structures: Structures, heap: CodeHeap, loans: Loans) {
    this.structures = structures;
    this.heap = heap;
    this.loans = loans;
    this.memory = new CodeMemory(structures.kernel);
  }

  /** @throws CallError for an object that does not tell how it keeps range trees */
  get rangeTrees(): RangeTreeMemory {
    this.trees ??= new RangeTreeMemory(this.structures, this.heap, this.loans);
    return this.trees;
  }

  /** Bytes of a node; 0: the object has no range trees. */
  get rangeNodeSize(): number {
    return this.known?.nodeSize ?? 0;
  }

  private hasTrees: boolean | null = null;

  private get known(): RangeTreeMemory | null {
    if (this.hasTrees === false) return null;
    try {
      return this.rangeTrees;
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      this.hasTrees = false;
      return null;
    }
  }

  /**
   * Runs a call that is handed a tree by its address.
   * @param unmade the function is to make the tree
   */
  withTree<T>(rt: RangeTree, unmade: boolean, call: (at: bigint) => T): T {
    let place = this.places.find((one) => one.rt === null);
    if (place === undefined) {
      const made: TreePlace = { at: this.makePlace((by) => this.lendPlace(made, by)), rt, unmade };
      this.places.push(made);
      place = made;
    }
    place.rt = rt;
    place.unmade = unmade;
    try {
      return call(place.at);
    } finally {
      rt.recall();
      place.rt = null;
    }
  }

  private makePlace(lend: (by: string) => boolean): bigint {
    return this.structures.lentWhole('range_tree', lend);
  }

  private lendPlace(place: TreePlace, by: string): boolean {
    const { at, rt, unmade } = place;
    if (rt === null || !this.lend(rt, at, by)) return false;
    place.unmade = false;
    if (unmade) {
      const { size } = this.structures.layout('range_tree');
      this.memory.writeBytes(at, new Uint8Array(size).fill(POISON));
    }
    return true;
  }

  lendTree({ rt }: BpfArena, at: bigint, by: string): boolean {
    return this.lend(rt, at, by);
  }

  private lend(rt: RangeTree, at: bigint, by: string): boolean {
    const trees = this.known;
    if (trees === null) return false;
    this.structures.kernel.context.access?.object(rt, LOOKED | CHANGED);
    if (this.laid.get(rt) === at) return true;
    trees.lend(rt, at, by, () => void this.laid.delete(rt));
    this.laid.set(rt, at);
    return true;
  }

  /** What of messages and streams lies in memory. */
  get messages(): MessageMemory {
    this.messageMemory ??= new MessageMemory(this.structures, this.heap);
    return this.messageMemory;
  }

  private messageMemory: MessageMemory | null = null;

  lendStreams(prog: BpfProg, first: bigint, by: string): boolean {
    this.streams ??= StreamMemory.of(this.structures, this.loans, this.messages);
    return this.streams?.lend(prog, first, by) ?? false;
  }

  /** @throws CallError for an object that does not tell how it keeps streams */
  get streamMemory(): StreamMemory {
    this.streams ??= StreamMemory.of(this.structures, this.loans, this.messages);
    if (this.streams !== null) return this.streams;
    throw new CallError(
      `${this.structures.path}: its debugging data does not define struct bpf_stream with its members capacity, log, backlog_head and backlog_tail, and an array of them in struct bpf_prog_aux`,
      'compile it, with -g, from source that keeps streams as kernel/bpf/stream.c of 7.3 does',
    );
  }

  private streams: StreamMemory | null = null;

  /** Memory for one call, or until the outermost one is over. @returns its address */
  lendBytes(bytes: Uint8Array): bigint {
    const at = this.heap.alloc(bytes.length);
    if (at === 0n) throw new KernelStuck('no memory is left for compiled code');
    this.memory.writeBytes(at, bytes);
    this.loans.add({ recall: () => void this.heap.free(at) });
    return at;
  }

  /** The tree that an address stands for in a call; null: none does. */
  treeAt(at: bigint): RangeTree | null {
    return this.places.find((one) => one.at === at && one.rt !== null)?.rt ?? null;
  }
}
