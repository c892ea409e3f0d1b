// A vCPU's registers by name. Beside the general ones: x86 control and segment registers, `msr:0xc0000080`,
// `xmm0:lo` and `xmm0:hi`; arm64 `v0:lo` and `v0:hi`, and system registers by name (`sctlr_el1`) or as
// `s3_0_c1_c0_0`.
import type { CpuDescription } from '../engine.ts';
import { addressOf, type Binding, type Pointer, type SharedMemory } from './binding.ts';
import {
  UC_ARM64_REG_CP_REG,
  UC_ARM64_REG_Q0,
  UC_X86_REG_MSR,
  UC_X86_REG_XMM0,
} from './constants.ts';
import { EngineError } from './error.ts';

/** op0, op1, CRn, CRm, op2: Arm ARM, D17 (AArch64 system register encodings). */
type Encoding = readonly [number, number, number, number, number];

const SYSTEM: Readonly<Record<string, Encoding>> = {
  mdscr_el1: [2, 0, 0, 2, 2],
  midr_el1: [3, 0, 0, 0, 0],
  mpidr_el1: [3, 0, 0, 0, 5],
  id_aa64pfr0_el1: [3, 0, 0, 4, 0],
  id_aa64isar0_el1: [3, 0, 0, 6, 0],
  id_aa64isar1_el1: [3, 0, 0, 6, 1],
  id_aa64mmfr0_el1: [3, 0, 0, 7, 0],
  id_aa64mmfr1_el1: [3, 0, 0, 7, 1],
  id_aa64mmfr2_el1: [3, 0, 0, 7, 2],
  sctlr_el1: [3, 0, 1, 0, 0],
  cpacr_el1: [3, 0, 1, 0, 2],
  ttbr0_el1: [3, 0, 2, 0, 0],
  ttbr1_el1: [3, 0, 2, 0, 1],
  tcr_el1: [3, 0, 2, 0, 2],
  spsr_el1: [3, 0, 4, 0, 0],
  elr_el1: [3, 0, 4, 0, 1],
  sp_el0: [3, 0, 4, 1, 0],
  afsr0_el1: [3, 0, 5, 1, 0],
  afsr1_el1: [3, 0, 5, 1, 1],
  esr_el1: [3, 0, 5, 2, 0],
  far_el1: [3, 0, 6, 0, 0],
  par_el1: [3, 0, 7, 4, 0],
  mair_el1: [3, 0, 10, 2, 0],
  amair_el1: [3, 0, 10, 3, 0],
  vbar_el1: [3, 0, 12, 0, 0],
  contextidr_el1: [3, 0, 13, 0, 1],
  tpidr_el1: [3, 0, 13, 0, 4],
  cntkctl_el1: [3, 0, 14, 1, 0],
  dczid_el0: [3, 3, 0, 0, 7],
  tpidr_el0: [3, 3, 13, 0, 2],
  tpidrro_el0: [3, 3, 13, 0, 3],
  hcr_el2: [3, 4, 1, 1, 0],
  scr_el3: [3, 6, 1, 1, 0],
};

const NZCV = 0xf000_0000n;

/** How one register is reached: its number, and which 8 bytes of the buffer hold the value. */
interface Access {
  readonly id: number;
  /** Index of the value among the buffer's 8-byte words. */
  readonly word: number;
  /** 8-byte words that the library reads or writes. */
  readonly words: number;
  /** Bits of the register; a narrower write of the library leaves the rest of the word as it was. */
  readonly prepare: ((words32: Uint32Array) => void) | null;
}

export class RegisterFile {
  private readonly binding: Binding;
  private readonly uc: Pointer;
  private readonly description: CpuDescription;
  private readonly ids: Readonly<Record<string, number>>;
  private readonly buffer: Uint8Array;
  private readonly words: BigUint64Array;
  private readonly words32: Uint32Array;
  private readonly known = new Map<string, Access>();
  private readonly count: number;
  /** Index of PSTATE among the general registers; -1 if there is none. */
  private readonly pstate: number;
  private readonly batchIds: Uint8Array;
  private readonly batchPointers: Uint8Array;
  private readonly batch: BigUint64Array;

  constructor(
    binding: Binding,
    uc: Pointer,
    description: CpuDescription,
    ids: Readonly<Record<string, number>>,
    memory: SharedMemory,
  ) {
    this.binding = binding;
    this.uc = uc;
    this.description = description;
    this.ids = ids;
    this.count = description.general.length;
    this.pstate = description.general.indexOf('pstate');
    const buffer = memory.take(64);
    this.buffer = buffer.bytes;
    this.words = buffer.u64;
    this.words32 = buffer.u32;
    const batch = memory.take(8 * this.count);
    this.batch = batch.u64.subarray(0, this.count);
    const batchIds = memory.take(4 * this.count);
    this.batchIds = batchIds.bytes;
    batchIds.u32.set(description.general.map((name) => ids[name]));
    const pointers = memory.take(8 * this.count);
    this.batchPointers = pointers.bytes;
    const base = addressOf(batch.bytes);
    for (let i = 0; i < this.count; i++) pointers.u64[i] = base + BigInt(8 * i);
  }

  /** @throws EngineError for a name that the architecture does not have */
  read(name: string): bigint {
    const access = this.access(name);
    this.words.fill(0n);
    access.prepare?.(this.words32);
    this.binding.check(this.binding.regRead(this.uc, access.id, this.buffer), `read ${name}`);
    return this.words[access.word];
  }

  /** @throws EngineError for a name that the architecture does not have */
  write(name: string, value: bigint): void {
    const access = this.access(name);
    this.words.fill(0n);
    access.prepare?.(this.words32);
    // The other half of a vector register stays.
    if (access.words > 1) this.binding.regRead(this.uc, access.id, this.buffer);
    this.words[access.word] = value;
    this.binding.check(this.binding.regWrite(this.uc, access.id, this.buffer), `write ${name}`);
    if (name === 'pstate') this.settlePstate();
  }

  readGeneral(into: BigUint64Array): void {
    const { binding, uc, batchIds, batchPointers, count } = this;
    binding.check(binding.regReadBatch(uc, batchIds, batchPointers, count), 'read registers');
    into.set(this.batch);
  }

  writeGeneral(from: BigUint64Array): void {
    const { binding, uc, batchIds, batchPointers, count } = this;
    for (let i = 0; i < count; i++) this.batch[i] = from[i];
    binding.check(binding.regWriteBatch(uc, batchIds, batchPointers, count), 'write registers');
  }

  /** After {@link writeGeneral}: makes what was changed of PSTATE beside the flags take effect. */
  settleFlags(before: BigUint64Array, after: BigUint64Array): void {
    if (this.pstate < 0) return;
    const changed = before[this.pstate] ^ after[this.pstate];
    if ((changed & ~NZCV) !== 0n) this.settlePstate();
  }

  /** The library takes EL and PAN out of PSTATE only when a system register is written. */
  settlePstate(): void {
    this.write('tpidr_el0', this.read('tpidr_el0'));
  }

  private access(name: string): Access {
    const known = this.known.get(name);
    if (known) return known;
    const access = this.find(name);
    if (!access) {
      throw new EngineError(
        `${this.description.name} has no register '${name}'`,
        `general registers are ${this.description.general.join(' ')}`,
      );
    }
    this.known.set(name, access);
    return access;
  }

  private find(name: string): Access | null {
    if (Object.hasOwn(this.ids, name))
      return { id: this.ids[name], word: 0, words: 1, prepare: null };
    return this.description.name === 'x86_64' ? findX86(name) : findArm64(name);
  }
}

function findX86(name: string): Access | null {
  const msr = /^msr:(0x[0-9a-f]{1,8})$/.exec(name);
  if (msr) {
    const number = Number(msr[1]);
    const prepare = (words: Uint32Array) => {
      words[0] = number;
    };
    return { id: UC_X86_REG_MSR, word: 1, words: 1, prepare };
  }
  const xmm = /^xmm(\d|1[0-5]):(lo|hi)$/.exec(name);
  if (!xmm) return null;
  const id = UC_X86_REG_XMM0 + Number(xmm[1]);
  return { id, word: xmm[2] === 'lo' ? 0 : 1, words: 2, prepare: null };
}

function findArm64(name: string): Access | null {
  const vector = /^v([12]?\d|3[01]):(lo|hi)$/.exec(name);
  if (vector) {
    const id = UC_ARM64_REG_Q0 + Number(vector[1]);
    return { id, word: vector[2] === 'lo' ? 0 : 1, words: 2, prepare: null };
  }
  const generic = /^s([23])_([0-7])_c(\d|1[0-5])_c(\d|1[0-5])_([0-7])$/.exec(name);
  const encoding = generic ? (generic.slice(1).map(Number) as unknown as Encoding) : SYSTEM[name];
  if (!encoding) return null;
  const [op0, op1, crn, crm, op2] = encoding;
  // uc_arm64_cp_reg: crn, crm, op0, op1, op2, padding, value.
  const prepare = (words: Uint32Array) => words.set([crn, crm, op0, op1, op2]);
  return { id: UC_ARM64_REG_CP_REG, word: 3, words: 1, prepare };
}
