// What the library keeps to itself and we use all the same: offsets into its structures, for one build only. Each is
// checked before it is believed, and everything that needs one has a slower way without.
import {
  answerFill,
  type Binding,
  dropCallback,
  makeCallback,
  type Pointer,
  readPointer,
  sharedBytes,
  UC_ERR_EXCEPTION,
  viewNative,
} from './binding.ts';
import {
  UC_ARCH_X86,
  UC_CTL_TLB_TYPE,
  UC_CTL_UC_USE_EXITS,
  UC_HOOK_TLB_FILL,
  UC_MODE_64,
  UC_TLB_VIRTUAL,
  X86_REGISTERS,
} from './constants.ts';

/** The host whose build of the release these offsets are of. */
export const OFFSETS_OF = 'linux-x64-glibc';

/** uc_struct.invalid_addr: the first byte that a refused translation stood for. */
const INVALID_ADDR = 0x588;
/** uc_struct.hook[UC_HOOK_MEM_WRITE_IDX].head: while it is null the library looks for no such hook. */
const STORE_HOOKS = 0x448;
/** uc_struct.cpu: CPUState. */
const CPU = 0x1b8;
/** CPUState.cflags_next_tb: low bits bound the instructions of the next block; all ones when unused. */
const CFLAGS_NEXT_TB = 0x18;
const CPU_WINDOW = 0xa800;
const NONE = 0xffff_ffff;

/** Where CPUState keeps the general registers of an architecture, as 8-byte words from its start. */
export interface RegisterOffsets {
  /** Byte offset of each general register in the description's order; -1 where it is not kept as it is. */
  readonly general: readonly number[];
  readonly ip: number;
}

/** The faulting byte address of one engine. */
export class FaultAddress {
  private readonly word: BigUint64Array;

  constructor(uc: Pointer) {
    this.word = new BigUint64Array(viewNative(uc + BigInt(INVALID_ADDR), 8));
  }

  read(): bigint {
    return this.word[0];
  }
}

/** The word whose value says whether stores are hooked. */
export class StoreHooks {
  readonly address: Pointer;
  private readonly word: BigUint64Array;

  constructor(uc: Pointer) {
    this.address = uc + BigInt(STORE_HOOKS);
    this.word = new BigUint64Array(viewNative(this.address, 8));
  }

  get(): Pointer {
    return this.word[0];
  }

  set(value: Pointer): void {
    this.word[0] = value;
  }
}

const PROBE_CODE = 0x1000n;
const PROBE_DATA = 0x1234_5678_9abcn;

/**
 * Has a load be refused at a known address and looks whether the word tells it. Any build may be asked: the word lies
 * inside a structure that is larger in all of them.
 */
export function tellsFaultAddress(binding: Binding): boolean {
  const code = sharedBytes(4096);
  code.set([0x48, 0x8b, 0x07]); // mov rax, [rdi]
  const pointer = sharedBytes(8);
  new BigUint64Array(pointer.buffer)[0] = PROBE_DATA;
  const uc = binding.open(UC_ARCH_X86, UC_MODE_64);
  const fill = makeCallback('fill', (_uc, address, _type, result) => {
    if (BigInt(address) !== PROBE_CODE) return false;
    answerFill(result, 0, 7);
    return true;
  });
  try {
    binding.control(uc, UC_CTL_TLB_TYPE, 'int', UC_TLB_VIRTUAL);
    binding.control(uc, UC_CTL_UC_USE_EXITS, 'int', 1);
    binding.mapRam(uc, 0, code);
    binding.addHook(uc, UC_HOOK_TLB_FILL, fill);
    binding.regWrite(uc, X86_REGISTERS.rdi, pointer);
    const error = binding.emuStart(uc, PROBE_CODE, 0, 0, 0);
    return error === UC_ERR_EXCEPTION && new FaultAddress(uc).read() === PROBE_DATA;
  } finally {
    binding.close(uc);
    dropCallback(fill);
  }
}

/**
 * A live view of a vCPU's registers in the library's own memory. It is exact between runs and inside callbacks, and
 * costs a hundredth of a call.
 */
export class CpuWindow {
  private readonly words: Uint32Array;
  private readonly general: readonly number[];
  private readonly ip: number;
  /** Where the halves of the general registers are, up to the first that is not kept as it is. */
  private readonly shown: Uint32Array;
  /** The same halves where they lie one behind the other. */
  private readonly run: Uint32Array | null;
  /** CPUState*, for the library's internal functions. */
  readonly cpu: Pointer;
  // Where readGeneral() wrote last, and the same as halves.
  private into: BigUint64Array | null = null;
  private intoHalves: Uint32Array = new Uint32Array(0);

  private constructor(cpu: Pointer, offsets: RegisterOffsets) {
    this.cpu = cpu;
    this.words = new Uint32Array(viewNative(cpu, CPU_WINDOW));
    this.general = offsets.general.map((offset) => offset / 4);
    const hidden = this.general.findIndex((at) => at < 0);
    const first = hidden < 0 ? this.general : this.general.slice(0, hidden);
    this.shown = Uint32Array.from(first.flatMap((at) => [at, at + 1]));
    const [start] = this.shown;
    const inOrder = this.shown.every((at, i) => at === start + i);
    this.run = inOrder ? this.words.subarray(start, start + this.shown.length) : null;
    this.ip = offsets.ip / 4;
  }

  /** @returns null if the memory does not look as it must */
  static open(uc: Pointer, offsets: RegisterOffsets): CpuWindow | null {
    const window = new CpuWindow(readPointer(uc, CPU), offsets);
    return window.words[CFLAGS_NEXT_TB / 4] === NONE ? window : null;
  }

  /** True if it shows these general registers, as far as it shows any. */
  shows(expected: BigUint64Array, ipIndex: number): boolean {
    return expected.every((value, i) => {
      const at = i === ipIndex ? this.ip : this.general[i];
      if (at < 0) return true;
      return ((BigInt(this.words[at + 1]) << 32n) | BigInt(this.words[at])) === value;
    });
  }

  /**
   * The general registers up to the first that is not shown: the flags, which are the last.
   * @returns true if all are
   */
  readGeneral(into: BigUint64Array): boolean {
    if (into !== this.into) {
      this.into = into;
      this.intoHalves = new Uint32Array(into.buffer, into.byteOffset, into.length * 2);
    }
    const { words, shown, run, intoHalves } = this;
    if (run !== null) intoHalves.set(run);
    else for (let i = 0; i < shown.length; i++) intoHalves[i] = words[shown[i]];
    return shown.length === intoHalves.length;
  }

  /** Lower half of a general register. */
  lo(index: number): number {
    return this.words[this.general[index]];
  }

  /** Upper half of a general register. */
  hi(index: number): number {
    return this.words[this.general[index] + 1];
  }

  ipLo(): number {
    return this.words[this.ip];
  }

  ipHi(): number {
    return this.words[this.ip + 1];
  }

  /** Native address of a general register. */
  address(index: number): Pointer {
    return this.cpu + BigInt(this.general[index] * 4);
  }

  /** Makes the next block, if one is begun, end after `count` (1 to 511) instructions. */
  boundNextBlock(count: number): void {
    this.words[CFLAGS_NEXT_TB / 4] = count;
  }

  /** Takes {@link boundNextBlock} back where no block was begun. */
  unboundNextBlock(): void {
    this.words[CFLAGS_NEXT_TB / 4] = NONE;
  }
}

/** The library's own flush of one page's translations. It takes CPUState and a set of its MMU modes. */
export interface FlushPage {
  readonly call: (cpu: Pointer, va: bigint, modes: number) => void;
  readonly address: Pointer;
  /** The modes that a kernel and its programs run in, a bit each. */
  readonly modes: number;
}

/** @param suffix of the architecture's functions */
export function flushPageFunction(
  binding: Binding,
  suffix: string,
  modes: number,
): FlushPage | null {
  const name = `tlb_flush_page_by_mmuidx_${suffix}`;
  const call = binding.internal(`void ${name}(void *cpu, uint64_t va, uint16_t modes)`);
  return call && { call, address: binding.addressOf(name), modes };
}
