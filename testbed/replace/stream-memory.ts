// The streams of programs in emulated memory, as kernel/bpf/stream.c keeps them in struct bpf_prog_aux: made when compiled code
// reaches them, and read back when it is done. Elements that are read in part wait in the backlog, others on the log. Left
// out: the lock, since the model has nobody who would wait for it.
import type { BpfProg } from '../../bpf/prog.ts';
import { type BpfStream, type StreamContents, tellWrite } from '../../bpf/stream.ts';
import type { StructLayout } from '../../emulator/elf/layouts.ts';
import { ADDED, CHANGED, KernelStuck, LOOKED } from '../../mm/context.ts';
import type { Member } from './code-memory.ts';
import type { Loans } from './loans.ts';
import type { Earlier, MessageMemory } from './message-memory.ts';
import type { Structures } from './structures.ts';

const MEMBERS = ['capacity', 'log', 'backlog_head', 'backlog_tail'] as const;
const STREAMS = 2;
const POISON = 0xff;

/** Functions that go through all elements, and free them. */
const READERS: ReadonlySet<string> = new Set(['bpf_stream_read', 'bpf_prog_stream_read']);

export class StreamMemory {
  /** Whoever calls the code tells what it has written. */
  isTold = false;
  /** A program whose streams are to be made: nothing of them is there. */
  unmade: BpfProg | null = null;
  private readonly structures: Structures;
  private readonly loans: Loans;
  private readonly messages: MessageMemory;
  private readonly layout: StructLayout;
  /** Where streams lie now. */
  private readonly laid = new Map<BpfStream, bigint>();

  private readonly places = new Map<BpfStream, { readonly node: bigint; now: Earlier | null }>();

  private constructor(
    structures: Structures,
    layout: StructLayout,
    loans: Loans,
    messages: MessageMemory,
  ) {
    this.structures = structures;
    this.layout = layout;
    this.loans = loans;
    this.messages = messages;
  }

  /** @returns null for an object that does not tell how it keeps streams, or keeps them otherwise */
  static of(structures: Structures, loans: Loans, messages: MessageMemory): StreamMemory | null {
    const layout = structures.optional('bpf_stream');
    const member = structures.optional('bpf_prog_aux')?.members.get('stream');
    if (layout === null || member?.size !== STREAMS * layout.size) return null;
    if (!MEMBERS.every((name) => layout.members.has(name))) return null;
    return new StreamMemory(structures, layout, loans, messages);
  }

  /** Makes a program's streams. @param first address of the first. @param by the function that asks for them */
  lend(prog: BpfProg, first: bigint, by: string): boolean {
    prog.streams.forEach((stream, i) => {
      const at = first + BigInt(i * this.layout.size);
      const { context } = this.structures.kernel;
      context.access?.object(stream, stream.isRoomyNow ? ADDED : LOOKED | CHANGED);
      if (this.laid.get(stream) === at) return;
      this.make(prog, i, at, by);
    });
    this.unmade = null;
    return true;
  }

  private member(name: (typeof MEMBERS)[number]): Member {
    return this.layout.members.get(name)!;
  }

  private make(prog: BpfProg, i: number, at: bigint, by: string): void {
    const { memory } = this.messages;
    const stream = prog.streams[i];
    const { capacity, pending } = stream.contents();
    memory.writeBytes(at, new Uint8Array(this.layout.size));
    memory.set(at, this.member('capacity'), capacity);
    const begun = pending.length > 0 && pending[0].consumed > 0 ? 1 : 0;
    if (begun > 0) {
      const node = this.messages.make(pending[0].line, pending[0].consumed);
      memory.set(at, this.member('backlog_head'), node);
      memory.set(at, this.member('backlog_tail'), node);
    }
    const head = at + BigInt(this.member('log').offset);
    const rest = pending.slice(begun);
    const isWhole = READERS.has(by) || rest.length === 0;
    const earlier = isWhole ? null : this.earlier(stream, rest);
    const lines = rest.map(({ line }) => line);
    if (earlier !== null) memory.write(head, earlier.node);
    else if (!this.messages.push(head, lines)) {
      throw new KernelStuck(`${by}: no memory is left for a stream`);
    }
    if (this.unmade === prog) {
      memory.writeBytes(at, new Uint8Array(this.layout.size).fill(POISON));
    }
    this.laid.set(stream, at);
    stream.lend(() => {
      this.laid.delete(stream);
      const back = this.loans.read(() => this.read(stream, at, by, earlier));
      if (back !== null) this.tell(prog, i, pending.length, back);
      return back;
    });
    this.loans.add(stream);
  }

  /** What a stream's log held before. */
  private earlier(stream: BpfStream, pending: Earlier['pending']): Earlier {
    let place = this.places.get(stream);
    if (place === undefined) {
      const made = { node: 0n, now: null as Earlier | null };
      made.node = this.messages.placeForEarlier(this.structures, () => {
        if (made.now === null) return false;
        if (!made.now.isMade) this.messages.makeEarlier(made.now);
        return true;
      });
      place = made;
      this.places.set(stream, made);
    }
    place.now = { node: place.node, pending, isMade: false };
    return place.now;
  }

  private read(stream: BpfStream, at: bigint, by: string, earlier: Earlier | null): StreamContents {
    const { memory } = this.messages;
    const get = (name: (typeof MEMBERS)[number]) => memory.get(at, this.member(name));
    try {
      const backlog = this.messages.take(get('backlog_head'), get('backlog_tail'), earlier);
      const log = this.messages.take(get('log'), 0n, earlier).reverse();
      const capacity = Number(BigInt.asIntN(32, get('capacity')));
      return { capacity, pending: [...backlog, ...log] };
    } catch (error) {
      if (!(error instanceof KernelStuck)) throw error;
      throw new KernelStuck(`${by} leaves the ${stream.label} with ${error.message}`);
    }
  }

  /** What code has written that nobody called for it. */
  private tell(prog: BpfProg, i: number, before: number, { pending }: StreamContents): void {
    const { context } = this.structures.kernel;
    const added = pending.slice(before).map(({ line }) => line);
    if (this.isTold || !context.events.on || added.length === 0) return;
    tellWrite(context, prog, i + 1, added, false);
  }
}
