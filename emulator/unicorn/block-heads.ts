// Heads of translated blocks, for hosts with x86-64. The library has each block call the counter's hook, and on a
// short loop the call alone costs as much as the loop. The head of a block that runs often is rewritten to count
// without a call. What the library wrote there is known byte for byte, since it only loads four known arguments and
// calls; where anything else stands, nothing is touched.
import { fillWithNops } from '../asm/x86/nops.ts';
import { s64, u64 } from '../bits.ts';
import { addressOf, type Piece, type Pointer, viewNative } from './binding.ts';

// The layout that the native code knows, in the counter's data.
/** Offset of the record of the block that was begun last. */
export const LAST_AT = 72;
/** What a rewritten head calls when stores are hooked or no instructions remain. */
const HEAD = 120;
const ENGINE = 128;
/** Where the hook that called back last returns to: the end of the block's head. */
const RETURN = 136;
/** A record: the block's address, its bytes, its instructions. */
export const RECORD = 16;
export const RECORDS = 1024;

/** Instructions that a head can charge: an immediate of 8 bits. */
const MOST = 127;
/** Bytes before the end of a head that are looked at. */
const WINDOW = 64;

interface Rewritten {
  readonly bytes: Uint8Array;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

const [RDI, RSI, RDX, RCX] = [7, 6, 2, 1];

export class BlockHeads {
  private readonly data: Piece;
  private readonly address: Pointer;
  private readonly records: number;
  private readonly engine: Pointer;
  private readonly hook: Pointer;
  private readonly rewritten: Rewritten[] = [];

  /**
   * @param data the counter's. @param records offset of {@link RECORDS} records in it
   * @param hook native code that the library has blocks call. @param head the same for rewritten heads
   */
  constructor(data: Piece, records: number, engine: Pointer, hook: Pointer, head: Pointer) {
    this.data = data;
    this.address = addressOf(data.bytes);
    this.records = records;
    this.engine = engine;
    this.hook = hook;
    data.u64[HEAD / 8] = head;
    data.u64[ENGINE / 8] = engine;
  }

  /** No record is left: {@link restore} makes room. */
  get full(): boolean {
    return this.rewritten.length === RECORDS;
  }

  /**
   * Rewrites the head of the block whose hook is calling back.
   * @param va its address, signed. @param size bytes. @param count its instructions
   * @returns false if it is not as it must be, and was left alone
   */
  rewrite(va: bigint, size: number, count: number): boolean {
    if (count > MOST || this.full) return false;
    const end = this.data.u64[RETURN / 8];
    const window = new Uint8Array(viewNative(end - BigInt(WINDOW), WINDOW));
    const start = headStart(window, end, this.hook, [
      [RDI, this.engine],
      [RSI, va],
      [RDX, BigInt(size)],
      [RCX, this.address],
    ]);
    const at = this.records + this.rewritten.length * RECORD;
    const code = this.code(count, at);
    if (start < 0 || WINDOW - start < code.length) return false;
    this.data.i64[at / 8] = va;
    this.data.u32[at / 4 + 2] = size;
    this.data.u32[at / 4 + 3] = count;
    const bytes = window.subarray(start);
    const before = bytes.slice();
    const after = new Uint8Array(bytes.length);
    after.set(code);
    fillWithNops(after.subarray(code.length));
    bytes.set(after);
    this.rewritten.push({ bytes, before, after });
    return true;
  }

  /** Every block calls the hook again. Heads that the library has meanwhile overwritten are left alone. */
  restore(): void {
    for (const { bytes, before, after } of this.rewritten)
      if (Buffer.compare(bytes, after) === 0) bytes.set(before);
    this.rewritten.length = 0;
  }

  /** Flags and the registers that a call may change are free here. */
  private code(count: number, record: number): number[] {
    return [
      ...load(RCX, this.address),
      ...[0x83, 0x79, 76, 0], //            cmp dword ptr [rcx + 76], 0: stores are hooked
      ...[0x75, 6], //                      jne 1f
      ...[0x48, 0x83, 0x29, count], //      sub qword ptr [rcx], count
      ...[0x79, 3], //                      jns 2f
      ...[0xff, 0x51, HEAD], //             1: call [rcx + HEAD]
      ...[0xc7, 0x41, LAST_AT, ...le(BigInt(record), 4)], // 2: mov dword ptr [rcx + LAST_AT], record
    ];
  }
}

/** Index where the loads of `args` and the call that ends at the end of `window` begin; -1 if that is not there. */
function headStart(
  window: Uint8Array,
  end: Pointer,
  hook: Pointer,
  args: readonly (readonly [register: number, value: bigint])[],
): number {
  // call hook, where it is near; call [rip + disp32] otherwise
  const distance = hook - end;
  const near = [0xe8, ...le(distance, 4)];
  const isNear = isInt32(distance) && endsWith(window, window.length, near);
  let at = window.length - (isNear ? 5 : 6);
  if (!isNear && !(window[at] === 0xff && window[at + 1] === 0x15)) return -1;
  for (const [register, value] of [...args].reverse()) {
    const next = end - BigInt(window.length - at);
    const forms = [...loads(register, value), ...relative(register, value - next)];
    const form = forms.find((bytes) => endsWith(window, at, bytes));
    if (form === undefined) return -1;
    at -= form.length;
  }
  return at;
}

const endsWith = (window: Uint8Array, end: number, bytes: readonly number[]): boolean =>
  bytes.every((byte, i) => window[end - bytes.length + i] === byte);

/** The ways to load a constant, the shortest first. */
function loads(register: number, value: bigint): number[][] {
  const forms: number[][] = [];
  const word = u64(value);
  // mov r32, imm32
  if (word < 1n << 32n) forms.push([0xb8 | register, ...le(word, 4)]);
  // mov r64, simm32
  if (isInt32(s64(value))) forms.push([0x48, 0xc7, 0xc0 | register, ...le(word, 4)]);
  // mov r64, imm64
  forms.push([0x48, 0xb8 | register, ...le(word, 8)]);
  return forms;
}

const load = (register: number, value: bigint): number[] => loads(register, value)[0];

/** lea r64, [rip + disp32], where the distance from its end allows it. */
const relative = (register: number, distance: bigint): number[][] =>
  isInt32(distance) ? [[0x48, 0x8d, 0x05 | (register << 3), ...le(distance, 4)]] : [];

const isInt32 = (value: bigint): boolean => BigInt.asIntN(32, value) === value;

const le = (value: bigint, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
