// The kernel's exception tables in memory, for compiled code that searches them or is handed an entry: one table beside
// kernel text from __start___ex_table to __stop___ex_table, as a linker makes it of all tables that the model has. What it
// does not fill lies in front, for instructions that nobody has.
import type { ExtableEntry } from '../../arch/arch.ts';
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import { KernelStuck } from '../../mm/context.ts';
import type { Kernel } from '../kernel.ts';
import { OutOfMemory } from '../kernel-memory.ts';
import type { ProgExtables } from './prog-extables.ts';

const ENTRY_SIZE = 12;
/** Bytes of the table: more than a kernel image has. */
const ROOM = 0x2_4000;
/** Distance to the instruction of entries that stand for none. */
const NOWHERE = -0x7ff0_0000;

export class ExtableMemory {
  private readonly kernel: Kernel;
  private readonly programs: ProgExtables;
  readonly start: VirtAddr;
  readonly stop: VirtAddr;
  /** Instructions of the entries that are there, in order. */
  private insns: bigint[] = [];
  private generation = -1;

  /** @param start page aligned, with nothing mapped behind it */
  constructor(kernel: Kernel, start: bigint, programs: ProgExtables) {
    this.kernel = kernel;
    this.programs = programs;
    this.start = virtAddr(start);
    this.stop = virtAddr(start + BigInt(ROOM));
  }

  get count(): number {
    return ROOM / ENTRY_SIZE;
  }

  /** The same once it is there. */
  refresh(): void {
    if (this.generation >= 0) this.lay();
  }

  /** Lays the table down, or brings it up to date. @throws OutOfMemory for more entries than a kernel has */
  lay(): void {
    const { kernel, start } = this;
    if (this.generation === kernel.extableGeneration) return;
    const entries = new Map<bigint, Uint8Array>();
    for (const { at, table } of kernel.extables) {
      for (let offset = 0; offset + ENTRY_SIZE <= table.length; offset += ENTRY_SIZE) {
        const bytes = table.slice(offset, offset + ENTRY_SIZE);
        const insn = at + BigInt(offset + new DataView(bytes.buffer).getInt32(0, true));
        // The first table that has an instruction is asked first.
        if (!entries.has(insn)) entries.set(insn, this.absolute(bytes, at + BigInt(offset)));
      }
    }
    this.insns = [...entries.keys()].sort((a, b) => (a < b ? -1 : 1));
    const empty = this.count - this.insns.length;
    if (empty < 0) throw new OutOfMemory('no room for the kernel’s exception tables');
    const bytes = new Uint8Array(ROOM);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < empty; i++) view.setInt32(i * ENTRY_SIZE, NOWHERE - i * ENTRY_SIZE, true);
    this.insns.forEach((insn, i) => {
      const offset = (empty + i) * ENTRY_SIZE;
      bytes.set(entries.get(insn)!, offset);
      this.relocate(view, offset, start + BigInt(offset), 1);
    });
    if (this.generation < 0) {
      kernel.text.asKernel(() =>
        kernel.memory.mapBytes(start, bytes, 'PAGE_KERNEL', kernel.dataPages),
      );
    } else kernel.memory.write(start, bytes);
    this.generation = kernel.extableGeneration;
  }

  /** The entry with its distances from address 0, low 32 bits. */
  private absolute(bytes: Uint8Array, at: bigint): Uint8Array {
    this.relocate(new DataView(bytes.buffer), 0, at, -1);
    return bytes;
  }

  /** Both words are relative to their own address; a BPF entry's second one is no distance. */
  private relocate(view: DataView, offset: number, at: bigint, sign: 1 | -1): void {
    const move = (field: number) => {
      const value = BigInt(view.getUint32(offset + field, true));
      const own = at + BigInt(field);
      view.setUint32(offset + field, Number(BigInt.asUintN(32, value - BigInt(sign) * own)), true);
    };
    move(0);
    const tail = view.getUint32(offset + 8, true);
    const isBpf =
      this.kernel.arch.linkRegister === null ? (tail & 0xff) === 7 : (tail & 0xffff) === 1;
    if (!isBpf) move(4);
  }

  /** The address of an entry that the model found. */
  address(entry: ExtableEntry): VirtAddr {
    this.lay();
    const prog = this.kernel.bpf.ksyms.lookUp(entry.insn)?.prog;
    const own = prog?.extable.findIndex(({ insn }) => insn === entry.insn) ?? -1;
    if (prog && own >= 0) {
      return virtAddr(this.programs.table(prog).at + BigInt(own * ENTRY_SIZE));
    }
    const at = this.insns.indexOf(entry.insn);
    if (at < 0) throw new KernelStuck(`no exception table has an entry for ${hex(entry.insn)}`);
    return virtAddr(this.stop - BigInt((this.insns.length - at) * ENTRY_SIZE));
  }

  /** The entry at an address; null for 0. @param who found it */
  entry(at: bigint, who: string): ExtableEntry | null {
    if (at === 0n) return null;
    const bytes = this.kernel.memory.read(virtAddr(at), ENTRY_SIZE);
    if (bytes === null) throw new KernelStuck(`${who}: ${hex(at)} is no exception-table entry`);
    const insn = virtAddr(at + BigInt(new DataView(bytes.buffer).getInt32(0, true)));
    return this.kernel.arch.searchExtable(bytes, virtAddr(at), insn);
  }
}
