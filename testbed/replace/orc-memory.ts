// What compiled unwinders of x86 read of ORC (arch/x86/include/asm/orc_types.h, 6.4 and later): one entry at a time, that of the
// address they ask about, and a struct module whose table holds that entry alone. Where replaced functions were called
// from, the entry leads to what an exception pushed, or to the stack of whoever called.
import type { OrcEntry } from '../../arch/unwind.ts';
import { ORC_ENTRY_SIZE } from '../../arch/x86/orc-table.ts';
import { virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { Linked, LinkedSymbol } from '../../emulator/elf/link.ts';
import { KernelStuck } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import { EXCEPTION_FRAME } from '../vcpu.ts';
import type { Structures } from './structures.ts';

const REG_UNDEFINED = 0;
const REG_SP_INDIRECT = 9;
const TYPE_END_OF_STACK = 1;
const TYPE_CALL = 2;
const TYPE_REGS = 3;
const SIGNAL = 8;

/** Numbers of the registers that an entry counts from; they differ between kernels. */
interface Numbering {
  readonly prevSp: number;
  readonly bp: number;
  readonly sp: number;
}

/** Those of kernels until the unwinder's own object tells others. */
const USUAL: Numbering = { prevSp: 1, bp: 4, sp: 5 };

/** Behind the entry: its place in the table of addresses, and the module. */
const IP_OFFSET = 8n;
const MODULE_OFFSET = 0x40n;
const ROOM = 0x4000;

export class OrcMemory {
  private readonly kernel: Kernel;
  private readonly at: bigint;
  private numbering = USUAL;

  /** @param at page aligned, within 2 GiB of code, with nothing mapped in the 16 KiB from there */
  constructor(kernel: Kernel, at: bigint) {
    this.kernel = kernel;
    this.at = at;
    kernel.memory.mapBytes(virtAddr(at), new Uint8Array(ROOM), 'PAGE_KERNEL', kernel.dataPages);
  }

  /**
   * An object that is the unwinder tells the numbers by the entries that it has for code without data, and finds its tables
   * sorted, as unwind_init() leaves them.
   */
  learn({ symbols }: Linked): void {
    const variable = (name: string) => symbols.find((one) => one.name === name && !one.isFunction);
    const [flag, forNull, forFramePointer] = [
      ...['orc_init', 'null_orc_entry', 'orc_fp_entry'],
    ].map(variable);
    if (flag !== undefined) this.kernel.memory.write(virtAddr(flag.address), Uint8Array.of(1));
    const registers = (place: LinkedSymbol | undefined) =>
      place && this.kernel.memory.read(virtAddr(place.address), ORC_ENTRY_SIZE)?.[4];
    const [stack, frame] = [registers(forNull), registers(forFramePointer)];
    if (stack === undefined || frame === undefined) return;
    this.numbering = { sp: stack & 0xf, bp: frame & 0xf, prevSp: frame >> 4 };
  }

  /** Lays struct orc_entry of an address down. @returns where; null for code that has none */
  entry(ip: bigint): bigint | null {
    const bytes = this.ofTrap(ip) ?? this.ofCode(this.kernel.orcFind(ip));
    if (bytes === null) return null;
    this.kernel.memory.write(virtAddr(this.at), Uint8Array.from(bytes));
    return this.at;
  }

  /** struct module around an address, with its entry in the tables; 0 for code that has none. */
  moduleOf(ip: bigint, structures: Structures): bigint {
    const entry = this.entry(ip);
    if (entry === null) return 0n;
    const { size, members } = structures.layout('module');
    const arch = structures.layout('mod_arch_specific').members;
    const module = this.at + MODULE_OFFSET;
    if (BigInt(size) > BigInt(ROOM) - MODULE_OFFSET)
      throw new KernelStuck(`struct module of ${size} bytes is larger than those of kernels`);
    const put = (at: bigint, bytes: number, value: bigint) => {
      const word = new Uint8Array(8);
      new DataView(word.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
      this.kernel.memory.write(virtAddr(at), word.subarray(0, bytes));
    };
    const place = this.at + IP_OFFSET;
    put(place, 4, ip - place);
    const tables = { num_orcs: 1n, orc_unwind_ip: place, orc_unwind: entry };
    for (const [name, value] of Object.entries(tables)) {
      const member = arch.get(name);
      if (member === undefined) continue;
      const offset = (members.get('arch')?.offset ?? 0) + member.offset;
      put(module + BigInt(offset), member.size, value);
    }
    return module;
  }

  /** Of an address that replaced functions return to; a lookup names the byte before it. */
  private ofTrap(ip: bigint): number[] | null {
    const { returnTraps, cpus, context } = this.kernel;
    const which = returnTraps.findIndex((trap) => ip === trap || ip === trap - 1n);
    if (which < 0) return null;
    if (which === 1) return bytesOf(8, 0, REG_SP_INDIRECT, REG_UNDEFINED, TYPE_CALL);
    if (which === 2 || cpus[context.cpu].exception === null)
      return bytesOf(0, 0, REG_UNDEFINED, REG_UNDEFINED, TYPE_END_OF_STACK);
    // sizeof(struct pt_regs)
    const offset = Number(EXCEPTION_FRAME) - 168;
    return bytesOf(offset, 0, this.numbering.sp, REG_UNDEFINED, TYPE_REGS | SIGNAL);
  }

  private ofCode(entry: OrcEntry | null): number[] | null {
    if (entry === null) return null;
    const { base, offset, bpSlot } = entry;
    const { sp, bp, prevSp } = this.numbering;
    const [distance, from] = bpSlot === null ? [0, REG_UNDEFINED] : [-Number(bpSlot), prevSp];
    return bytesOf(Number(offset), distance, base === 'sp' ? sp : bp, from, TYPE_CALL);
  }

  /** What a struct orc_entry says. @returns null for what the model cannot follow. @throws KernelStuck */
  read(at: bigint): OrcEntry | null {
    const bytes = this.kernel.memory.read(virtAddr(at), ORC_ENTRY_SIZE);
    if (bytes === null) throw new KernelStuck(`orc_find finds ${hex(at)}, where nothing is mapped`);
    const view = new DataView(bytes.buffer);
    const { sp, bp, prevSp } = this.numbering;
    const [base, saved] = [bytes[4] & 0xf, bytes[4] >> 4];
    if (base !== sp && base !== bp) return null;
    return {
      base: base === sp ? 'sp' : 'bp',
      offset: BigInt(view.getInt16(0, true)),
      bpSlot: saved === prevSp ? BigInt(-view.getInt16(2, true)) : null,
    };
  }
}

const bytesOf = (sp: number, bp: number, spReg: number, bpReg: number, type: number): number[] => [
  ...[sp & 0xff, (sp >> 8) & 0xff, bp & 0xff, (bp >> 8) & 0xff, spReg | (bpReg << 4), type],
];
