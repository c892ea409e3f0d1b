// Messages for BPF streams in emulated memory: struct bpf_stream_stage and the struct bpf_stream_elem on its list, whoever
// has made them. Objects that only hand stages on need not tell how they are laid out.
import {
  type BpfStreamStage,
  bytesOf,
  lineOf,
  type Pending,
  type StreamLine,
} from '../../bpf/stream.ts';
import { hex } from '../../emulator/bits.ts';
import type { StructLayout } from '../../emulator/elf/layouts.ts';
import { KernelStuck } from '../../mm/context.ts';
import { CallError } from '../call-error.ts';
import type { CodeHeap } from './code-heap.ts';
import { CodeMemory, type Member, membersOf } from './code-memory.ts';
import type { Structures } from './structures.ts';

/** As include/linux/bpf.h has them. */
const STAGE: StructLayout = {
  name: 'bpf_stream_stage',
  size: 16,
  members: new Map([
    ['log', { offset: 0, size: 8 }],
    ['len', { offset: 8, size: 4 }],
  ]),
};
const ELEM: StructLayout = {
  name: 'bpf_stream_elem',
  size: 16,
  members: new Map([
    ['node', { offset: 0, size: 8 }],
    ['total_len', { offset: 8, size: 4 }],
    ['consumed_len', { offset: 12, size: 4 }],
    ['str', { offset: 16, size: 0 }],
  ]),
};

/** Bytes of the longest element. */
const LONGEST = 1024;

/** What was on a log before: one node stands for all of it until somebody looks there, for most code only adds to it. */
export interface Earlier {
  readonly node: bigint;
  /** The oldest first. */
  readonly pending: readonly Readonly<Pending>[];
  isMade: boolean;
}

export class MessageMemory {
  readonly memory: CodeMemory;
  readonly stageSize: number;
  private readonly heap: CodeHeap;
  private readonly stage: Readonly<Record<'log' | 'len', Member>>;
  private readonly elem: Readonly<Record<'node' | 'total_len' | 'consumed_len' | 'str', Member>>;

  /** @throws CallError for an object with other structures of these names */
  constructor(structures: Structures, heap: CodeHeap) {
    const remedy = 'compile it from source that keeps messages as kernel/bpf/stream.c does';
    const missing = (what: string) => new CallError(`${structures.path}: ${what}`, remedy);
    const stage = structures.optional('bpf_stream_stage') ?? STAGE;
    const elem = structures.optional('bpf_stream_elem') ?? ELEM;
    this.memory = new CodeMemory(structures.kernel);
    this.heap = heap;
    this.stageSize = stage.size;
    this.stage = membersOf(stage, ['log', 'len'], missing);
    this.elem = membersOf(elem, ['node', 'total_len', 'consumed_len', 'str'], missing);
  }

  /** Makes an element. @returns the address of its node, or 0 without memory */
  make(line: StreamLine, consumed: number): bigint {
    const at = this.heap.alloc(this.elem.str.offset + line.length);
    if (at === 0n) return 0n;
    this.fill(at, line, consumed);
    const node = at + BigInt(this.elem.node.offset);
    this.memory.write(node, 0n);
    return node;
  }

  private fill(at: bigint, line: StreamLine, consumed: number): void {
    this.memory.set(at, this.elem.total_len, line.length);
    this.memory.set(at, this.elem.consumed_len, consumed);
    this.memory.writeBytes(at + BigInt(this.elem.str.offset), bytesOf(line));
  }

  /** Puts elements on a list whose newest is at its front. @returns false without memory */
  push(head: bigint, lines: readonly StreamLine[]): boolean {
    for (const line of lines) {
      const node = this.make(line, 0);
      if (node === 0n) return false;
      this.memory.write(node, this.memory.read(head));
      this.memory.write(head, node);
    }
    return true;
  }

  /**
   * Takes elements out of memory, and gives that back.
   * @param first address of the first node. @param last no further than this one; 0: to the end
   * @throws KernelStuck for a list that leads elsewhere
   */
  take(first: bigint, last = 0n, earlier: Earlier | null = null): Pending[] {
    const taken: Pending[] = [];
    for (let node = first; node !== 0n; ) {
      if (node === earlier?.node && !earlier.isMade) {
        taken.push(...earlier.pending.toReversed());
        return taken;
      }
      const at = node - BigInt(this.elem.node.offset);
      const room = node === earlier?.node ? LONGEST : this.heap.sizeOf(at) - this.elem.str.offset;
      if (room < 0) throw new KernelStuck(`an element at ${hex(node)}, where none is`);
      const next = this.memory.read(node);
      taken.push(this.element(at, room));
      if (node !== earlier?.node) this.heap.free(at);
      node = node === last ? 0n : next;
    }
    return taken;
  }

  private element(at: bigint, room: number): Pending {
    const { memory, elem } = this;
    const length = Number(memory.get(at, elem.total_len));
    const consumed = Number(memory.get(at, elem.consumed_len));
    if (length > room || consumed > length) {
      throw new KernelStuck(
        `an element of ${length} bytes at ${hex(at)}, ${consumed} of them read, in ${room}`,
      );
    }
    return { line: lineOf(memory.readBytes(at + BigInt(elem.str.offset), length)), consumed };
  }

  /** A place for {@link Earlier}. @param lend makes it when code looks there. @returns address of its node */
  placeForEarlier(structures: Structures, lend: () => boolean): bigint {
    const { elem } = this;
    const members = new Map(Object.entries({ ...elem, str: { ...elem.str, size: LONGEST } }));
    const layout = { name: 'bpf_stream_elem', size: elem.str.offset + LONGEST, members };
    const { pa } = structures.memory.lay(layout, { lend });
    return structures.virt(pa) + BigInt(elem.node.offset);
  }

  /** Makes the elements that one stands for, and that one of the newest. @throws KernelStuck without memory */
  makeEarlier(earlier: Earlier): void {
    earlier.isMade = true;
    const { node, pending } = earlier;
    const lines = pending.map(({ line }) => line);
    const at = node - BigInt(this.elem.node.offset);
    const newest = lines.pop()!;
    this.memory.write(node, 0n);
    if (!this.push(node, lines)) throw new KernelStuck('no memory is left for a stream');
    this.fill(at, newest, 0);
  }

  writeStage(at: bigint, stage: BpfStreamStage): void {
    const head = at + BigInt(this.stage.log.offset);
    this.memory.write(head, 0n);
    this.memory.set(at, this.stage.len, stage.len);
    if (!this.push(head, stage.lines)) throw new KernelStuck('no memory is left for a message');
  }

  /** Takes a stage out of memory, which is left as it was made. @throws KernelStuck for a damaged one */
  readStage(at: bigint, stage: BpfStreamStage): void {
    const head = at + BigInt(this.stage.log.offset);
    const lines = this.take(this.memory.read(head)).reverse();
    stage.lines.length = 0;
    stage.lines.push(...lines.map(({ line }) => line));
    stage.len = Number(BigInt.asIntN(32, this.memory.get(at, this.stage.len)));
    this.memory.write(head, 0n);
  }
}
