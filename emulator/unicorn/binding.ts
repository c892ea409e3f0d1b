// The library's functions as JavaScript calls, and nothing but what the engine uses. Pointers are bigint, as koffi
// gives them. Left out: memory access through the library (RAM is shared with it) and its own exceptions' texts.
import koffi, { type LibraryHandle } from 'koffi';
import { EngineError } from './error.ts';

export type Pointer = bigint;

/** Memory that native code may keep a pointer to: V8 never moves a shared buffer. It must stay referenced. */
export const sharedBytes = (size: number): Uint8Array =>
  new Uint8Array(new SharedArrayBuffer(size));

/** Memory that native code may keep a pointer to, under four views. */
export interface Piece {
  readonly bytes: Uint8Array;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;
  readonly i64: BigInt64Array;
}

/** More than one vCPU needs. */
const MEMORY_SIZE = 0x18000;
const MAX_IDLE = 8;
const idle: SharedArrayBuffer[] = [];

/** Native memory of one vCPU. It is used again after {@link release}: buffers are dear to make and to collect. */
export class SharedMemory {
  private readonly buffer: SharedArrayBuffer;
  private used = 0;

  constructor() {
    this.buffer = idle.pop() ?? new SharedArrayBuffer(MEMORY_SIZE);
    new Uint8Array(this.buffer).fill(0);
  }

  /** @param size bytes; the piece is aligned to 16, and zero */
  take(size: number): Piece {
    const at = this.used;
    const whole = (size + 15) & ~15;
    this.used += whole;
    return {
      bytes: new Uint8Array(this.buffer, at, whole),
      u32: new Uint32Array(this.buffer, at, whole / 4),
      u64: new BigUint64Array(this.buffer, at, whole / 8),
      i64: new BigInt64Array(this.buffer, at, whole / 8),
    };
  }

  /** Nobody may touch its pieces any more. */
  release(): void {
    if (idle.length < MAX_IDLE) idle.push(this.buffer);
  }
}

/** Address of shared memory. */
export const addressOf = (bytes: Uint8Array): Pointer => koffi.address(bytes);

const MAX_VIEWS = 256;
const views = new Map<Pointer, ArrayBuffer>();

/**
 * A view of native memory. It must not be used after the memory is freed. Views are kept, since one engine after
 * another lies at the same addresses and making and collecting a view costs more than making an engine.
 */
export function viewNative(at: Pointer, size: number): ArrayBuffer {
  let view = views.get(at);
  if (view === undefined || view.byteLength !== size) {
    if (views.size >= MAX_VIEWS) views.clear();
    view = koffi.view(at, size);
    views.set(at, view);
  }
  return view;
}

// Types are resolved once: a type given as text costs a parse at each call.
const U64 = koffi.type('uint64_t');
const I32 = koffi.type('int');
const pointerTo = (proto: string) => koffi.pointer(koffi.proto(proto));
const CALLBACKS = {
  // int64_t: a canonical address of either half then arrives as a Number, the rest as bigint.
  fill: pointerTo('bool UcFill(void *uc, int64_t address, int type, void *result, void *user)'),
  /** What our machine code makes of it: see native-code.ts. */
  fillHalves: pointerTo('bool UcFillHalves(uint32_t hi, uint32_t lo, int type)'),
  interrupt: pointerTo('void UcInterrupt(void *uc, uint32_t number, void *user)'),
  block: pointerTo('void UcBlock(void *uc, int64_t address, uint32_t size, void *user)'),
  edge: pointerTo('void UcEdge(void *uc, void *current, void *previous, void *user)'),
  instruction: pointerTo('int UcInstruction(void *uc, void *user)'),
  store: pointerTo(
    'void UcStore(void *uc, int type, int64_t address, int size, int64_t value, void *user)',
  ),
};

/** Registers a callback. @returns its native address, for a hook and for {@link dropCallback} */
export const makeCallback = (
  kind: keyof typeof CALLBACKS,
  // biome-ignore lint/suspicious/noExplicitAny: each kind has its own parameters
  callback: (...args: any[]) => unknown,
): Pointer => koffi.register(callback, CALLBACKS[kind]);

export const dropCallback = (callback: Pointer): void => koffi.unregister(callback);

/** Answers a fill: physical address of the frame and what it allows. */
export function answerFill(result: Pointer, pa: number, perms: number): void {
  koffi.encode(result, U64, pa);
  koffi.encode(result, 8, I32, perms);
}

const TB = koffi.struct({ pc: 'int64_t', icount: 'uint16_t', size: 'uint16_t' });

/** A translated block as the library describes it. */
export interface Block {
  readonly pc: number | bigint;
  readonly icount: number;
  readonly size: number;
}

export const readBlock = (at: Pointer): Block => koffi.decode(at, TB);

export const readPointer = (at: Pointer, offset: number): Pointer =>
  koffi.decode(at, offset, 'void *');

/** uc_err codes that have a meaning here. */
export const UC_ERR_OK = 0;
export const UC_ERR_INSN_INVALID = 10;
export const UC_ERR_EXCEPTION = 21;

/** The functions of one loaded library. Those that return uc_err throw for anything but success, uc_emu_start aside. */
export class Binding {
  readonly path: string;
  /** Native address of uc_emu_stop, for native callbacks. */
  readonly emuStop: Pointer;
  private readonly lib: LibraryHandle;
  readonly emuStart: (
    uc: Pointer,
    begin: bigint,
    until: number,
    timeout: number,
    count: number,
  ) => number;
  readonly stop: (uc: Pointer) => number;
  readonly regRead: (uc: Pointer, register: number, into: Uint8Array) => number;
  readonly regWrite: (uc: Pointer, register: number, from: Uint8Array) => number;
  readonly regReadBatch: (uc: Pointer, ids: Uint8Array, into: Uint8Array, count: number) => number;
  readonly regWriteBatch: (uc: Pointer, ids: Uint8Array, from: Uint8Array, count: number) => number;
  private readonly ucOpen: (arch: number, mode: number, out: Pointer[]) => number;
  private readonly ucClose: (uc: Pointer) => number;
  private readonly mapPtr: (
    uc: Pointer,
    at: number,
    size: number,
    perms: number,
    ptr: Uint8Array,
  ) => number;
  // biome-ignore lint/suspicious/noExplicitAny: the two functions take types and values in pairs
  private readonly variadic: { hook: (...args: any[]) => number; ctl: (...args: any[]) => number };
  private readonly contextSize: (uc: Pointer) => number;
  private readonly contextAlloc: (uc: Pointer, out: Pointer[]) => number;
  readonly contextSave: (uc: Pointer, context: Pointer) => number;
  readonly contextRestore: (uc: Pointer, context: Pointer) => number;
  readonly contextFree: (context: Pointer) => number;
  private readonly ucStrerror: (error: number) => string;

  /** @throws EngineError if the file is no such library */
  constructor(path: string) {
    this.path = path;
    try {
      this.lib = koffi.load(path);
      const fn = (signature: string) => this.lib.func(signature);
      this.emuStop = koffi.address(this.lib.symbol('uc_emu_stop'));
      this.emuStart = fn(
        'int uc_emu_start(void *uc, uint64_t begin, uint64_t until, uint64_t timeout, size_t count)',
      );
      this.stop = fn('int uc_emu_stop(void *uc)');
      this.regRead = fn('int uc_reg_read(void *uc, int reg, void *value)');
      this.regWrite = fn('int uc_reg_write(void *uc, int reg, void *value)');
      this.regReadBatch = fn(
        'int uc_reg_read_batch(void *uc, void *regs, void *values, int count)',
      );
      this.regWriteBatch = fn(
        'int uc_reg_write_batch(void *uc, void *regs, void *values, int count)',
      );
      this.ucOpen = fn('int uc_open(int arch, int mode, _Out_ void **uc)');
      this.ucClose = fn('int uc_close(void *uc)');
      this.mapPtr = fn(
        'int uc_mem_map_ptr(void *uc, uint64_t at, uint64_t size, uint32_t perms, void *ptr)',
      );
      this.variadic = {
        hook: fn(
          'int uc_hook_add(void *uc, _Out_ size_t *hook, int type, void *callback, void *user, uint64_t begin, uint64_t end, ...)',
        ),
        ctl: fn('int uc_ctl(void *uc, uint32_t control, ...)'),
      };
      this.contextSize = fn('size_t uc_context_size(void *uc)');
      this.contextAlloc = fn('int uc_context_alloc(void *uc, _Out_ void **context)');
      this.contextSave = fn('int uc_context_save(void *uc, void *context)');
      this.contextRestore = fn('int uc_context_restore(void *uc, void *context)');
      this.contextFree = fn('int uc_context_free(void *context)');
      this.ucStrerror = fn('const char *uc_strerror(int error)');
    } catch (error) {
      throw new EngineError(
        `${path}: not a Unicorn library: ${error instanceof Error ? error.message : error}`,
        "run 'npx faultline doctor'",
      );
    }
  }

  /** A function that the library exports without documenting it. @returns null if this build does not */
  // biome-ignore lint/suspicious/noExplicitAny: the caller knows the signature
  internal(signature: string): ((...args: any[]) => any) | null {
    let known = this.internals.get(signature);
    if (known !== undefined) return known;
    try {
      known = this.lib.func(signature);
    } catch {
      known = null;
    }
    this.internals.set(signature, known);
    return known;
  }

  /** Native address of a function that {@link internal} found. */
  addressOf(name: string): Pointer {
    return koffi.address(this.lib.symbol(name));
  }

  // biome-ignore lint/suspicious/noExplicitAny: see above
  private readonly internals = new Map<string, ((...args: any[]) => any) | null>();

  /** @throws EngineError with the library's words if `error` is not UC_ERR_OK */
  check(error: number, what: string): void {
    if (error === UC_ERR_OK) return;
    throw new EngineError(
      `${what}: Unicorn says ${this.errorText(error)}`,
      "run 'npx faultline doctor'; if the library is the pinned one, this is a bug of faultline",
    );
  }

  /** The library's words for an error. */
  errorText(error: number): string {
    return `${this.ucStrerror(error)} (${error})`;
  }

  open(arch: number, mode: number): Pointer {
    const out: Pointer[] = [0n];
    this.check(this.ucOpen(arch, mode, out), 'uc_open');
    return out[0];
  }

  close(uc: Pointer): void {
    this.check(this.ucClose(uc), 'uc_close');
  }

  /** Maps host memory as guest-physical memory; it must stay referenced until after {@link close}. */
  mapRam(uc: Pointer, base: number, bytes: Uint8Array): void {
    this.check(this.mapPtr(uc, base, bytes.length, 7, bytes), 'uc_mem_map_ptr');
  }

  /** @param user pointer that the callback gets. @param instruction UC_*_INS_ number, for UC_HOOK_INSN */
  addHook(
    uc: Pointer,
    type: number,
    callback: Pointer,
    user: Uint8Array | null = null,
    instruction: number | null = null,
  ): void {
    const extra = instruction === null ? [] : ['int', instruction];
    const error = this.variadic.hook(uc, [0], type, callback, user, 1n, 0n, ...extra);
    this.check(error, `uc_hook_add ${type}`);
  }

  /** uc_ctl in its writing form, with `args` as pairs of type and value. */
  control(uc: Pointer, type: number, ...args: unknown[]): void {
    const word = (type | ((args.length / 2) << 26) | (1 << 30)) >>> 0;
    this.check(this.variadic.ctl(uc, word, ...args), `uc_ctl ${type}`);
  }

  /** A context to save into, of `size` bytes; freed with {@link contextFree}. */
  newContext(uc: Pointer): { readonly context: Pointer; readonly size: number } {
    const out: Pointer[] = [0n];
    this.check(this.contextAlloc(uc, out), 'uc_context_alloc');
    return { context: out[0], size: Number(this.contextSize(uc)) };
  }
}
