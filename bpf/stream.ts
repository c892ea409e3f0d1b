// BPF streams (kernel/bpf/stream.c): what a program, and the kernel on its behalf, writes for user space to read. A
// message is staged and then committed whole or not at all. Two revisions: v2 is the 6.17 file, mainline the newest
// one; they differ in messages past the print buffer. Left out: element memory and its failure, poll and stream fds,
// printf formats (text comes formatted), the read lock (a read is one step).
import { type Restore, SAVE, type Saveable, SavedCopy } from '../emulator/snapshot.ts';
import { CHANGED, ERRNO, type KernelContext, LOOKED, type Shared } from '../mm/context.ts';
import type { CompiledStreams } from './compiled-streams.ts';
import { Lent, type Recallable } from './lent.ts';
import type { BpfProg } from './prog.ts';

export const BPF_STDOUT = 1;
export const BPF_STDERR = 2;
/** Bytes; what is pending in a stream stays below it. */
export const BPF_STREAM_MAX_CAPACITY = 100_000;
/** Bytes of the buffer that one print goes through, its NUL included. */
export const MAX_BPRINTF_BUF = 1024;

const INT_MAX = 0x7fff_ffff;
const encoder = new TextEncoder();

/** struct bpf_stream_elem before anybody reads it. Shared by the messages that repeat it. */
export interface StreamLine {
  readonly text: string;
  /** Bytes. */
  readonly length: number;
  /** The bytes where they are not the text's. */
  readonly bytes?: Uint8Array;
}

/** struct bpf_stream_elem that is not read, or in part. */
export interface Pending {
  readonly line: StreamLine;
  /** Bytes. */
  consumed: number;
}

/** What a stream holds. */
export interface StreamContents {
  readonly capacity: number;
  /** In the order in which they are read. */
  readonly pending: readonly Readonly<Pending>[];
}

/** struct bpf_stream */
export class BpfStream implements Saveable, Shared, Recallable {
  readonly label: string;
  private readonly lent = new Lent<StreamContents>();
  private charged = 0;
  private log: Pending[] = [];
  /** Elements before it are read. */
  private head = 0;
  private readonly saved = new SavedCopy();

  constructor(label = 'stream') {
    this.label = label;
  }

  /** Bytes charged: pending ones, and those of elements that are read in part. */
  get capacity(): number {
    this.recall();
    return this.charged;
  }

  set capacity(bytes: number) {
    this.recall();
    this.saved.changed();
    this.charged = bytes;
  }

  contents(): StreamContents {
    this.recall();
    return { capacity: this.charged, pending: this.log.slice(this.head) };
  }

  /** From here on the elements are elsewhere. @param fetch brings back what has become of them */
  lend(fetch: () => StreamContents | null): void {
    this.saved.changed();
    this.lent.lend(fetch);
  }

  recall(): void {
    if (!this.lent.isOut) return;
    const contents = this.lent.fetchBack();
    if (contents === null) return;
    this.saved.changed();
    this.charged = contents.capacity;
    this.log = contents.pending.map((element) => ({ ...element }));
    this.head = 0;
  }

  /** The messages, in whatever order: an order that nobody asks for is no state. */
  fingerprint(): number {
    this.recall();
    let sum = this.capacity;
    for (let i = this.head; i < this.log.length; i++) {
      const { line, consumed } = this.log[i];
      let hash = consumed;
      for (let at = 0; at < line.text.length; at++)
        hash = (Math.imul(hash, 31) + line.text.charCodeAt(at)) | 0;
      sum = (sum + hash) | 0;
    }
    return sum;
  }

  /** So much room that the next messages fit in any order. */
  get isRoomy(): boolean {
    return this.capacity < BPF_STREAM_MAX_CAPACITY / 2;
  }

  /** The same as it was known before compiled code had it: asks nobody. */
  get isRoomyNow(): boolean {
    return this.charged < BPF_STREAM_MAX_CAPACITY / 2;
  }

  /** True if bpf_stream_consume_capacity() would grant `length` (at least 1) bytes. */
  hasRoom(length: number): boolean {
    return this.capacity + length < BPF_STREAM_MAX_CAPACITY;
  }

  /**
   * bpf_stream_consume_capacity(). @returns 0 or -ENOSPC
   * @kernel bpf_stream_consume_capacity kernel/bpf/stream.c read
   */
  consume(length: number): number {
    const full = this.capacity >= BPF_STREAM_MAX_CAPACITY;
    if (full || this.charged + length >= BPF_STREAM_MAX_CAPACITY) return ERRNO.ENOSPC;
    this.saved.changed();
    this.charged += length;
    return 0;
  }

  /** Adds elements whose bytes are charged already. */
  append(lines: readonly StreamLine[]): void {
    this.recall();
    this.saved.changed();
    for (const line of lines) this.log.push({ line, consumed: 0 });
  }

  /**
   * bpf_stream_read(). Room comes back element by element, when the last byte of one is read.
   * @param length bytes wanted. @param writable bytes of the buffer that can be written; a copy past it faults
   * @param keepPartial what was copied before a fault counts (mainline); without, the element is put back (v2)
   * @returns the bytes read, or -EFAULT
   * @kernel bpf_stream_read kernel/bpf/stream.c read - after a failed copy: v2 restores, mainline keeps what was
   *   copied
   */
  read(length: number, writable: number, keepPartial: boolean): Uint8Array | number {
    this.recall();
    this.saved.changed();
    const parts: Uint8Array[] = [];
    let done = 0;
    while (done < length && this.head < this.log.length) {
      const element = this.log[this.head];
      const used = Math.min(element.line.length - element.consumed, length - done);
      const copied = keepPartial
        ? Math.min(used, Math.max(0, writable - done))
        : done + used <= writable
          ? used
          : 0;
      parts.push(bytesOf(element.line).subarray(element.consumed, element.consumed + copied));
      element.consumed += copied;
      done += copied;
      if (copied < used) {
        if (keepPartial && done > 0) break;
        return ERRNO.EFAULT;
      }
      if (element.consumed < element.line.length) break;
      this.charged -= element.line.length;
      this.head++;
    }
    if (this.head > 512 && this.head * 2 > this.log.length) {
      this.log = this.log.slice(this.head);
      this.head = 0;
    }
    return concat(parts, done);
  }

  /** The text that is pending, without reading it. */
  peek(): string {
    this.recall();
    const pending = this.log.slice(this.head);
    if (pending.every(({ line, consumed }) => consumed === 0 && line.bytes === undefined)) {
      return pending.map(({ line }) => line.text).join('');
    }
    const parts = pending.map(({ line, consumed }) => bytesOf(line).subarray(consumed));
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    return new TextDecoder().decode(concat(parts, length));
  }

  [SAVE](): Restore {
    this.recall();
    return this.saved.save(() => {
      const { charged } = this;
      const pending = this.log.slice(this.head).map((element) => ({ ...element }));
      return () => {
        this.lent.forget();
        this.charged = charged;
        this.log = pending.map((element) => ({ ...element }));
        this.head = 0;
      };
    });
  }
}

/** struct bpf_stream_stage: a message in the making. */
export class BpfStreamStage {
  readonly lines: StreamLine[] = [];
  /** Bytes that a commit charges. */
  len = 0;
  private readonly series: 'v2' | 'mainline';

  constructor(kernel: KernelContext) {
    this.series = kernel.config.series;
  }

  /**
   * bpf_stream_stage_printk(): adds one element.
   * @returns 0; -ENOMEM (v2 only) for text that does not fit the print buffer, which is charged all the same
   * @kernel bpf_stream_stage_printk kernel/bpf/stream.c read - text past the print buffer: v2 charges and fails,
   *   mainline cuts
   */
  printk(text: string): number {
    const length = byteLength(text);
    if (length < MAX_BPRINTF_BUF) {
      if (length === 0 && this.series === 'mainline') return 0;
      this.lines.push({ text, length });
      this.len += length;
      return 0;
    }
    return this.series === 'v2' ? this.pushOverlong(text, length) : this.pushCut(text);
  }

  /** vsnprintf() says how long the text would have been, and that length is charged and asked for. */
  private pushOverlong(text: string, length: number): number {
    this.len += length;
    if (length > MAX_BPRINTF_BUF) return ERRNO.ENOMEM;
    this.lines.push(withNul(text));
    return 0;
  }

  /** vscnprintf() says how long the text in the buffer is. */
  private pushCut(text: string): number {
    const bytes = encoder.encode(text).subarray(0, MAX_BPRINTF_BUF - 1);
    this.lines.push({ text: new TextDecoder().decode(bytes), length: bytes.length, bytes });
    this.len += bytes.length;
    return 0;
  }
}

/**
 * bpf_stream_stage_commit(): the whole message goes into the stream, or nothing.
 * @returns 0, -ENOSPC without room, -EINVAL for an unknown stream
 * @kernel bpf_stream_stage_commit kernel/bpf/stream.c read
 */
export function bpfStreamStageCommit(
  kernel: KernelContext,
  stage: Readonly<Pick<BpfStreamStage, 'lines' | 'len'>>,
  prog: BpfProg,
  id: number,
  compiled: CompiledStreams | null = null,
): number {
  const stream = streamOf(prog, id, compiled);
  if (!stream) return ERRNO.EINVAL;
  const err = consume(prog, stream, stage.len, compiled);
  if (!err) stream.append(stage.lines);
  if (kernel.events.on) tellWrite(kernel, prog, id, stage.lines, err !== 0);
  return err;
}

/**
 * bpf_stream_vprintk(): the program prints. Its text comes formatted.
 * @returns 0; -ENOENT for an unknown stream; -ENOSPC without room; text of 1024 bytes or more: -E2BIG (mainline), or
 *   above 1024 -ENOMEM with its bytes charged for ever (v2)
 * @kernel bpf_stream_vprintk kernel/bpf/stream.c read - text past the print buffer: v2 -ENOMEM, mainline -E2BIG
 */
export function bpfStreamVprintk(
  kernel: KernelContext,
  prog: BpfProg,
  id: number,
  text: string,
  compiled: CompiledStreams | null = null,
): number {
  const stream = streamOf(prog, id, compiled);
  if (!stream) return ERRNO.ENOENT;
  kernel.access?.object(stream, LOOKED | CHANGED);
  const length = byteLength(text);
  const mainline = kernel.config.series === 'mainline';
  if (mainline && length >= MAX_BPRINTF_BUF) return ERRNO.E2BIG;
  if (mainline && length === 0) return 0;
  const err = consume(prog, stream, length, compiled);
  if (!err && length > MAX_BPRINTF_BUF) return ERRNO.ENOMEM;
  const line = length === MAX_BPRINTF_BUF ? withNul(text) : { text, length };
  if (!err) stream.append([line]);
  if (kernel.events.on) tellWrite(kernel, prog, id, [line], err !== 0);
  return err;
}

/**
 * bpf_prog_stream_read()
 * @param length bytes wanted, a u32. @param writable bytes of the user's buffer that can be written
 * @returns the bytes read (none if the stream is empty); -ENOENT for an unknown stream; -EINVAL for a length above
 *   INT_MAX (mainline); -EFAULT
 * @kernel bpf_prog_stream_read kernel/bpf/stream.c read - mainline refuses lengths above INT_MAX
 */
export function bpfProgStreamRead(
  kernel: KernelContext,
  prog: BpfProg,
  id: number,
  length: number,
  writable = length,
  compiled: CompiledStreams | null = null,
): Uint8Array | number {
  const stream = streamOf(prog, id, compiled);
  if (!stream) return ERRNO.ENOENT;
  kernel.access?.object(stream, LOOKED | CHANGED);
  const mainline = kernel.config.series === 'mainline';
  if (mainline && length > INT_MAX) return ERRNO.EINVAL;
  if (compiled?.bpfStreamRead) return compiled.bpfStreamRead(prog, stream, length, writable);
  return stream.read(length, writable, mainline);
}

/** Whoever does bpf_stream_get() in this kernel. */
const streamOf = (prog: BpfProg, id: number, compiled: CompiledStreams | null): BpfStream | null =>
  compiled?.bpfStreamGet ? compiled.bpfStreamGet(prog, id) : bpfStreamGet(prog, id);

/** Whoever does bpf_stream_consume_capacity(). */
const consume = (
  prog: BpfProg,
  stream: BpfStream,
  length: number,
  compiled: CompiledStreams | null,
): number =>
  compiled?.bpfStreamConsumeCapacity
    ? compiled.bpfStreamConsumeCapacity(prog, stream, length)
    : stream.consume(length);

/**
 * bpf_stream_get(): the streams of the main program.
 * @kernel bpf_stream_get kernel/bpf/stream.c read
 */
export function bpfStreamGet(prog: BpfProg, id: number): BpfStream | null {
  return id === BPF_STDOUT || id === BPF_STDERR ? prog.mainProg.streams[id - 1] : null;
}

/** An element that holds these bytes. */
export function lineOf(bytes: Uint8Array): StreamLine {
  const text = new TextDecoder().decode(bytes);
  const { length } = bytes;
  const same = encoder.encode(text).every((byte, i) => byte === bytes[i]);
  return same && byteLength(text) === length ? { text, length } : { text, length, bytes };
}

/** Bytes of `text` in UTF-8. */
export function byteLength(text: string): number {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) return encoder.encode(text).length;
  }
  return text.length;
}

/** An element as long as the print buffer: its last byte is the NUL that ended the cut text. */
function withNul(text: string): StreamLine {
  const bytes = new Uint8Array(MAX_BPRINTF_BUF);
  bytes.set(encoder.encode(text).subarray(0, MAX_BPRINTF_BUF - 1));
  return { text: new TextDecoder().decode(bytes), length: MAX_BPRINTF_BUF, bytes };
}

/** The bytes of an element. */
export const bytesOf = (line: StreamLine): Uint8Array => line.bytes ?? encoder.encode(line.text);

function concat(parts: readonly Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A message was written, or found no room. */
export function tellWrite(
  kernel: KernelContext,
  prog: BpfProg,
  id: number,
  lines: readonly StreamLine[],
  dropped: boolean,
): void {
  kernel.events.emit({
    type: 'streamWrite',
    cpu: kernel.cpu,
    prog: prog.mainProg.name,
    stream: id === BPF_STDOUT ? 'stdout' : 'stderr',
    text: lines.map((line) => line.text).join(''),
    dropped,
  });
}
