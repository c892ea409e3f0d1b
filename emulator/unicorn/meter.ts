// Counts edges: how often one block ran right behind another. What a run costs follows from these counts, long after it
// has run; while it runs, an edge that is known costs a few instructions of native code.
//
// A block that the core leaves early and begins again in its middle counts once: what ran before and after are put
// together when the core is entered again.
import type { BlockEdge, MeteredBlock } from '../engine.ts';
import { addressOf, type Piece, sharedBytes } from './binding.ts';
import type { CodeMap } from './code-map.ts';

// The layout that the native code knows: in the counter's data,
const EDGES = 80;
const LAST = 88;
const LAST_SIZE = 96;
const TAKEN = 104;
/** Offset in the counter's data of the callback for edges that the table does not hold. */
export const EDGE_CALLBACK = 112;
// and of an entry of the table: the address before, the address, both sizes, the count.
const ENTRY = 32;
const ENTRIES = 0x1000;
const GOLDEN = 0x9e37_79b1;

/** No block begins there: the one before the first. */
const NOWHERE = 1n;
/** Nor there: as the one before, it matches no entry, so that the callback sees the next block. */
const SUSPENDED = 3n;
const PAGE_SHIFT = 12n;

/** A block as it ran: its address, signed, and bytes. */
interface Ran {
  readonly address: bigint;
  readonly size: number;
}

const keyOf = ({ address, size }: Ran): string => `${address}+${size}`;

export class Meter {
  private readonly data: Piece;
  private readonly code: CodeMap;
  private readonly table = sharedBytes(ENTRIES * ENTRY);
  private readonly words = new BigInt64Array(this.table.buffer);
  private readonly words32 = new Uint32Array(this.table.buffer);
  private readonly tableAddress = addressOf(this.table);
  private readonly blocks = new Map<string, MeteredBlock>();
  /** Counts that are not in the table. */
  private readonly spilled = new Map<string, BlockEdge>();
  private readonly repeatCount: () => bigint;
  /** The core was entered again: what it runs first may belong to what it ran last. */
  private entered = true;
  /** The block that ran last and the one before it, while {@link entered}. */
  private last: Ran | null = null;
  private before: Ran | null = null;
  /** The block that ran last was made to end where it did. */
  private cut = false;
  /** Offsets of entries that were used since the last {@link take}. */
  private readonly used = new Set<number>();

  /** @param data the counter's. @param repeatCount reads the register that counts repetitions */
  constructor(data: Piece, code: CodeMap, repeatCount: () => bigint) {
    this.data = data;
    this.code = code;
    this.repeatCount = repeatCount;
    data.i64[EDGES / 8] = this.tableAddress;
    this.forgetLast();
  }

  /** Counts so far; they begin again at 0. */
  take(): BlockEdge[] {
    this.suspend();
    this.spill();
    const edges = [...this.spilled.values()];
    this.spilled.clear();
    this.blocks.clear();
    // What is in the table is counted without a look at it: nothing may be left there that is not known to be used.
    for (const at of this.used) this.table.fill(0, at, at + ENTRY);
    this.used.clear();
    return edges.filter(({ count }) => count > 0);
  }

  /** The next entry goes on elsewhere. */
  forgetLast(): void {
    this.suspend();
    this.last = null;
    this.before = null;
  }

  /** The core is about to be entered: its first block is shown to {@link enter}. */
  suspend(): void {
    if (this.entered) return;
    this.entered = true;
    const at = this.takenEntry();
    this.last = { address: this.words[at / 8 + 1], size: this.words32[at / 4 + 5] };
    const fromSize = this.words32[at / 4 + 4];
    this.before = fromSize === 0 ? null : { address: this.words[at / 8], size: fromSize };
    this.cut = true;
    this.setLast(SUSPENDED, 0);
  }

  /** The block that was begun last was left before the instruction at `ip`. */
  leftAt(ip: bigint): void {
    this.suspend();
    const { last, before } = this;
    if (last === null) return;
    const ran = Number(BigInt.asIntN(64, ip - last.address));
    if (ran < 0 || ran >= last.size) return;
    // Its repetitions so far are paid for; the next one belongs to them.
    if (ran === 0 && this.code.repeats(ip)) return;
    this.edge(before, last).count--;
    this.cut = ran > 0;
    this.last = ran === 0 ? before : { address: last.address, size: ran };
    this.before = ran === 0 ? null : before;
    if (ran > 0) this.edge(before, { address: last.address, size: ran }).count++;
  }

  /** A block is begun whose edge the table does not hold. @param repeated a string instruction alone */
  enter(va: number | bigint, size: number, repeated: boolean): void {
    const block = { address: BigInt.asIntN(64, BigInt(va)), size };
    const from = this.entered ? this.last : this.taken();
    if (this.entered && this.cut && from !== null && this.joins(from, block)) {
      this.join(from, block);
      return;
    }
    const again = from !== null && from.address === block.address && from.size === size;
    // How long it takes depends on the count, which the next repetition lowers.
    if (repeated && !again) this.countRepeated(from, block);
    this.install(from, block, repeated && !again ? 0 : 1);
    this.entered = false;
  }

  /** Instructions ran that no hook saw. */
  ran(va: bigint, size: number): void {
    this.suspend();
    this.enter(va, size, this.code.repeats(va));
    this.suspend();
  }

  /** A block was translated: it may hold other code than before. */
  translated(va: number | bigint, size: number): void {
    const block = { address: BigInt.asIntN(64, BigInt(va)), size };
    const known = this.blocks.get(keyOf(block));
    if (known === undefined) return;
    const now = this.code.bytes(BigInt.asUintN(64, block.address), size);
    if (Buffer.compare(known.bytes, now) === 0) return;
    this.spill();
    for (const [key, edge] of [...this.spilled]) {
      if (edge.block !== known && edge.from !== known) continue;
      // Kept under a name that nothing else gets.
      this.spilled.delete(key);
      this.spilled.set(`${key} until ${this.spilled.size} ${this.generation++}`, edge);
    }
    this.blocks.delete(keyOf(block));
  }

  private generation = 0;

  /** One block goes on where the other was made to end, and the core would not have ended it there by itself. */
  private joins(from: Ran, block: Ran): boolean {
    const end = from.address + BigInt(from.size);
    if (end !== block.address || from.address >> PAGE_SHIFT !== block.address >> PAGE_SHIFT)
      return false;
    const { bytes } = this.blockOf(from);
    return !this.code.endsInJump(bytes) && bytes.length > 0;
  }

  private join(from: Ran, block: Ran): void {
    const { before } = this;
    this.edge(before, from).count--;
    this.install(before, { address: from.address, size: from.size + block.size }, 1);
    this.entered = false;
  }

  private taken(): Ran | null {
    const address = this.data.i64[LAST / 8];
    return address === SUSPENDED ? null : { address, size: this.data.u32[LAST_SIZE / 4] };
  }

  private takenEntry(): number {
    return Number(this.data.i64[TAKEN / 8] - this.tableAddress);
  }

  private setLast(address: bigint, size: number): void {
    this.data.i64[LAST / 8] = address;
    this.data.u32[LAST_SIZE / 4] = size;
  }

  /** Puts an edge into the table as the one taken last. */
  private install(from: Ran | null, block: Ran, count: number): void {
    const fromAddress = from?.address ?? NOWHERE;
    const fromSize = from?.size ?? 0;
    const at = edgeEntry(fromAddress, block);
    const { words, words32 } = this;
    const known =
      words[at / 8] === fromAddress &&
      words[at / 8 + 1] === block.address &&
      words32[at / 4 + 4] === fromSize &&
      words32[at / 4 + 5] === block.size;
    if (!known) {
      this.spillEntry(at);
      words[at / 8] = fromAddress;
      words[at / 8 + 1] = block.address;
      words32[at / 4 + 4] = fromSize;
      words32[at / 4 + 5] = block.size;
    }
    // The code is looked at while it is there.
    this.blockOf(block);
    this.used.add(at);
    words[at / 8 + 3] += BigInt(count);
    this.data.i64[TAKEN / 8] = this.tableAddress + BigInt(at);
    this.setLast(block.address, block.size);
  }

  private countRepeated(from: Ran | null, block: Ran): void {
    const edge = this.edge(from, block);
    const count = Number(BigInt.asUintN(53, this.repeatCount()));
    edge.repeats.set(count, (edge.repeats.get(count) ?? 0) + 1);
    edge.count++;
  }

  private edge(from: Ran | null, block: Ran): BlockEdge {
    const key = `${from === null ? '' : keyOf(from)} ${keyOf(block)}`;
    let edge = this.spilled.get(key);
    if (edge === undefined) {
      edge = {
        from: from === null ? null : this.blockOf(from),
        block: this.blockOf(block),
        count: 0,
        repeats: new Map(),
      };
      this.spilled.set(key, edge);
    }
    return edge;
  }

  private blockOf(ran: Ran): MeteredBlock {
    const key = keyOf(ran);
    let block = this.blocks.get(key);
    if (block === undefined) {
      const address = BigInt.asUintN(64, ran.address);
      block = { address, bytes: Uint8Array.from(this.code.bytes(address, ran.size)) };
      this.blocks.set(key, block);
    }
    return block;
  }

  /** Moves every count out of the table; what is known of the last edge stays. */
  private spill(): void {
    for (const at of this.used) this.spillEntry(at);
  }

  private spillEntry(at: number): void {
    const count = Number(this.words[at / 8 + 3]);
    if (count === 0) return;
    this.words[at / 8 + 3] = 0n;
    const fromSize = this.words32[at / 4 + 4];
    const from = fromSize === 0 ? null : { address: this.words[at / 8], size: fromSize };
    const block = { address: this.words[at / 8 + 1], size: this.words32[at / 4 + 5] };
    this.edge(from, block).count += count;
  }
}

/** Offset of an edge's entry in the table. @param from address of the block before */
export function edgeEntry(from: bigint, { address, size }: Ran): number {
  const hash = Math.imul(Number(BigInt.asIntN(32, from)), GOLDEN) >>> 17;
  const lo = Number(BigInt.asIntN(32, address)) + size * 8;
  return ((lo + hash) & (ENTRIES - 1)) * ENTRY;
}
