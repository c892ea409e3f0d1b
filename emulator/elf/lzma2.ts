// LZMA2 (the chunks of .xz files) and LZMA, the range coder and match finder's output inside them, after the LZMA
// specification that comes with its SDK.

export class XzError extends RangeError {
  /** Bytes into the file. */
  readonly offset: number;

  constructor(offset: number, message: string) {
    super(message);
    this.offset = offset;
  }
}

const STATES = 12;
const MATCH_MIN = 2;
const LOW_LENGTHS = 8;
const TOP = 2 ** 24;
const HALF = 1024;

/** Bytes that may come out, and that probably will. */
export interface OutputSize {
  readonly most: number;
  readonly expected: number;
}

/** @returns the data, and the offset behind it @throws XzError */
export function decodeLzma2(
  file: Uint8Array,
  start: number,
  size: OutputSize,
): { bytes: Uint8Array; end: number } {
  const output = new Output(size);
  const lzma = new Lzma(file, output);
  let at = start;
  for (;;) {
    const control = file[at];
    if (control === 0) return { bytes: output.bytes(), end: at + 1 };
    if (at + 6 > file.length) throw new XzError(at, 'the file ends inside a block');
    if (control < 0x80) {
      if (control > 2) throw new XzError(at, 'a damaged chunk');
      const size = ((file[at + 1] << 8) | file[at + 2]) + 1;
      output.copyFrom(file.subarray(at + 3, at + 3 + size), at);
      if (control === 1) lzma.resetState();
      at += 3 + size;
      continue;
    }
    const unpacked = (((control & 0x1f) << 16) | (file[at + 1] << 8) | file[at + 2]) + 1;
    const packed = ((file[at + 3] << 8) | file[at + 4]) + 1;
    const reset = (control >> 5) & 3;
    const header = reset >= 2 ? 6 : 5;
    if (reset >= 2) lzma.setProperties(file[at + 5], at);
    else if (reset === 1) lzma.resetState();
    lzma.decode(at + header, packed, unpacked);
    at += header + packed;
  }
}

/** What has come out: the dictionary, too. */
class Output {
  data: Uint8Array<ArrayBuffer>;
  length = 0;
  private readonly most: number;

  constructor({ most, expected }: OutputSize) {
    this.most = most;
    this.data = new Uint8Array(Math.min(most, Math.max(expected, 2 ** 16)));
  }

  bytes(): Uint8Array {
    return this.data.subarray(0, this.length);
  }

  reserve(count: number, at: number): void {
    const wanted = this.length + count;
    if (wanted > this.most) throw new XzError(at, 'it holds more than 128 MiB');
    if (wanted <= this.data.length) return;
    const larger = new Uint8Array(Math.max(wanted, this.data.length * 2));
    larger.set(this.data);
    this.data = larger;
  }

  copyFrom(bytes: Uint8Array, at: number): void {
    this.reserve(bytes.length, at);
    this.data.set(bytes, this.length);
    this.length += bytes.length;
  }
}

const probabilities = (count: number) => new Uint16Array(count).fill(HALF);

class Lengths {
  readonly choice = probabilities(2);
  readonly low = probabilities(16 * LOW_LENGTHS);
  readonly middle = probabilities(16 * LOW_LENGTHS);
  readonly high = probabilities(256);
}

class Lzma {
  private readonly file: Uint8Array;
  private readonly output: Output;
  private lc = 3;
  private lp = 0;
  private pb = 2;
  private state = 0;
  private readonly reps = [0, 0, 0, 0];
  private literals = probabilities(0);
  private isMatch = probabilities(0);
  private isRep = probabilities(0);
  private isRepG0 = probabilities(0);
  private isRepG1 = probabilities(0);
  private isRepG2 = probabilities(0);
  private isRep0Long = probabilities(0);
  private slots = probabilities(0);
  private positions = probabilities(0);
  private aligns = probabilities(0);
  private lengths = new Lengths();
  private repLengths = new Lengths();
  private range = 0;
  private code = 0;
  private at = 0;

  constructor(file: Uint8Array, output: Output) {
    this.file = file;
    this.output = output;
    this.resetState();
  }

  setProperties(byte: number, at: number): void {
    if (byte >= 9 * 5 * 5) throw new XzError(at, 'damaged LZMA properties');
    this.lc = byte % 9;
    this.lp = Math.floor(byte / 9) % 5;
    this.pb = Math.floor(byte / 45);
    if (this.lc + this.lp > 4) throw new XzError(at, 'damaged LZMA properties');
    this.resetState();
  }

  resetState(): void {
    this.state = 0;
    this.reps.fill(0);
    this.literals = probabilities(0x300 * 2 ** (this.lc + this.lp));
    this.isMatch = probabilities(STATES * 16);
    this.isRep = probabilities(STATES);
    this.isRepG0 = probabilities(STATES);
    this.isRepG1 = probabilities(STATES);
    this.isRepG2 = probabilities(STATES);
    this.isRep0Long = probabilities(STATES * 16);
    this.slots = probabilities(4 * 64);
    this.positions = probabilities(128);
    this.aligns = probabilities(16);
    this.lengths = new Lengths();
    this.repLengths = new Lengths();
  }

  decode(start: number, packed: number, unpacked: number): void {
    const { output, file, reps } = this;
    if (start + packed > file.length) throw new XzError(start, 'the file ends inside a chunk');
    output.reserve(unpacked, start);
    this.range = 0xffff_ffff;
    this.code = 0;
    this.at = start + 1;
    for (let i = 0; i < 4; i++) this.code = ((this.code << 8) | file[this.at++]) >>> 0;
    const end = output.length + unpacked;
    while (output.length < end) {
      const posState = output.length & (2 ** this.pb - 1);
      if (this.bit(this.isMatch, this.state * 16 + posState) === 0) {
        this.literal();
        continue;
      }
      let length: number;
      if (this.bit(this.isRep, this.state) === 0) {
        reps.unshift(0);
        reps.pop();
        length = this.length(this.lengths, posState);
        this.state = this.state < 7 ? 7 : 10;
        reps[0] = this.distance(length);
      } else if (this.repeated(posState)) {
        length = this.length(this.repLengths, posState);
        this.state = this.state < 7 ? 8 : 11;
      } else {
        length = 1;
        this.state = this.state < 7 ? 9 : 11;
      }
      this.copy(length, end);
    }
    if (this.at > start + packed) throw new XzError(start, 'a damaged chunk');
  }

  private bit(table: Uint16Array, index: number): number {
    const probability = table[index];
    const bound = (this.range >>> 11) * probability;
    let bit = 0;
    if (this.code < bound) {
      this.range = bound;
      table[index] = probability + ((2048 - probability) >> 5);
    } else {
      this.range = (this.range - bound) >>> 0;
      this.code = (this.code - bound) >>> 0;
      table[index] = probability - (probability >> 5);
      bit = 1;
    }
    this.normalise();
    return bit;
  }

  private normalise(): void {
    if (this.range >= TOP) return;
    this.range = (this.range << 8) >>> 0;
    this.code = ((this.code << 8) | (this.file[this.at++] ?? 0)) >>> 0;
  }

  private direct(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) {
      this.range >>>= 1;
      const one = this.code >= this.range ? 1 : 0;
      if (one) this.code = (this.code - this.range) >>> 0;
      value = value * 2 + one;
      this.normalise();
    }
    return value;
  }

  private tree(table: Uint16Array, from: number, bits: number): number {
    let node = 1;
    for (let i = 0; i < bits; i++) node = node * 2 + this.bit(table, from + node);
    return node - 2 ** bits;
  }

  private reverseTree(table: Uint16Array, from: number, bits: number): number {
    let node = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.bit(table, from + node);
      node = node * 2 + bit;
      value += bit * 2 ** i;
    }
    return value;
  }

  private literal(): void {
    const { output } = this;
    const { data, length } = output;
    const before = length > 0 ? data[length - 1] : 0;
    const context = ((length & (2 ** this.lp - 1)) << this.lc) + (before >> (8 - this.lc));
    const from = 0x300 * context;
    let symbol = 1;
    if (this.state >= 7) {
      let match = data[length - this.reps[0] - 1];
      while (symbol < 0x100) {
        const matchBit = (match >> 7) & 1;
        match <<= 1;
        const bit = this.bit(this.literals, from + ((1 + matchBit) << 8) + symbol);
        symbol = symbol * 2 + bit;
        if (matchBit !== bit) break;
      }
    }
    while (symbol < 0x100) symbol = symbol * 2 + this.bit(this.literals, from + symbol);
    data[output.length++] = symbol & 0xff;
    this.state = this.state < 4 ? 0 : this.state < 10 ? this.state - 3 : this.state - 6;
  }

  /** Brings the distance that is used again to the front. @returns false for a single byte at the last distance */
  private repeated(posState: number): boolean {
    const { reps, state } = this;
    if (this.bit(this.isRepG0, state) === 0) {
      return this.bit(this.isRep0Long, state * 16 + posState) === 1;
    }
    const which = this.bit(this.isRepG1, state) === 0 ? 1 : 2 + this.bit(this.isRepG2, state);
    reps.unshift(...reps.splice(which, 1));
    return true;
  }

  private length(lengths: Lengths, posState: number): number {
    if (this.bit(lengths.choice, 0) === 0) {
      return MATCH_MIN + this.tree(lengths.low, posState * LOW_LENGTHS, 3);
    }
    if (this.bit(lengths.choice, 1) === 0) {
      return MATCH_MIN + LOW_LENGTHS + this.tree(lengths.middle, posState * LOW_LENGTHS, 3);
    }
    return MATCH_MIN + 2 * LOW_LENGTHS + this.tree(lengths.high, 0, 8);
  }

  private distance(length: number): number {
    const slot = this.tree(this.slots, Math.min(length - MATCH_MIN, 3) * 64, 6);
    if (slot < 4) return slot;
    const bits = (slot >> 1) - 1;
    const base = (2 | (slot & 1)) * 2 ** bits;
    if (slot < 14) return base + this.reverseTree(this.positions, base - slot, bits);
    return base + this.direct(bits - 4) * 16 + this.reverseTree(this.aligns, 0, 4);
  }

  private copy(length: number, end: number): void {
    const { output } = this;
    const from = output.length - this.reps[0] - 1;
    if (from < 0 || output.length + length > end) throw new XzError(this.at, 'a damaged chunk');
    const { data } = output;
    for (let i = 0; i < length; i++) data[output.length + i] = data[from + i];
    output.length += length;
  }
}
