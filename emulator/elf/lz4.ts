// LZ4's legacy frame (lz4 -l), in which kernels are packed: blocks of up to 8 MiB, each with its packed size in front.

const MAGIC_SIZE = 4;
const MIN_MATCH = 4;

/** @param most bytes that may come out @throws RangeError for damaged data */
export function unlz4Legacy(file: Uint8Array, most: number): Uint8Array {
  const output = new Output(most);
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  for (let at = MAGIC_SIZE; at + 4 <= file.length; ) {
    const size = view.getUint32(at, true);
    at += 4;
    // The magic number may come again, where files were joined.
    if (size === 0x184c_2102) continue;
    if (size === 0 || at + size > file.length) throw new RangeError('a block ends behind the file');
    unpackBlock(file.subarray(at, at + size), output);
    at += size;
  }
  return output.bytes();
}

class Output {
  private data = new Uint8Array(2 ** 20);
  private length = 0;
  private readonly most: number;

  constructor(most: number) {
    this.most = most;
  }

  bytes(): Uint8Array {
    return this.data.subarray(0, this.length);
  }

  literals(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.data.set(bytes, this.length);
    this.length += bytes.length;
  }

  match(distance: number, count: number): void {
    if (distance === 0 || distance > this.length) throw new RangeError('a match before the start');
    this.reserve(count);
    const { data } = this;
    for (let to = this.length, end = to + count; to < end; to++) data[to] = data[to - distance];
    this.length += count;
  }

  private reserve(count: number): void {
    const wanted = this.length + count;
    if (wanted > this.most) throw new RangeError('it holds more than 128 MiB');
    if (wanted <= this.data.length) return;
    const larger = new Uint8Array(Math.max(wanted, this.data.length * 2));
    larger.set(this.data);
    this.data = larger;
  }
}

function unpackBlock(block: Uint8Array, output: Output): void {
  let at = 0;
  const byte = (): number => {
    if (at >= block.length) throw new RangeError('a block ends inside a sequence');
    return block[at++];
  };
  const length = (first: number): number => {
    let sum = first;
    for (let more = first === 15; more; ) {
      const next = byte();
      sum += next;
      more = next === 255;
    }
    return sum;
  };
  while (at < block.length) {
    const token = byte();
    const literals = length(token >> 4);
    if (at + literals > block.length) throw new RangeError('a block ends inside literals');
    output.literals(block.subarray(at, at + literals));
    at += literals;
    // The last sequence has no match.
    if (at === block.length) return;
    const distance = byte() | (byte() << 8);
    output.match(distance, length(token & 15) + MIN_MATCH);
  }
}
