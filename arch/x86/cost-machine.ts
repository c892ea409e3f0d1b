// The bare machine that cost blocks are run on, to see where they go and what they touch: flat memory whose pages come
// into being at first touch, no tables, no faults.

import { FRAME_SIZE } from '../../emulator/address.ts';
import { join } from '../../emulator/bits.ts';
import type { TracedCpu } from '../../emulator/cost/trace.ts';
import type { Cpu, Engine, Translator } from '../../emulator/engine.ts';
import { PERM_R, PERM_W, PERM_X } from '../../emulator/engine.ts';
import { Ram } from '../../emulator/ram.ts';
import { x86Description } from './registers.ts';

const FRAMES = 256;

/** Order of general registers in encodings, which is that of the cost model's value numbers. */
const BY_VALUE = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
];

const REGISTER_OF = BY_VALUE.map((name) => x86Description.general.indexOf(name));

/** Maps any page to the next unused frame at its first touch. */
class FlatMemory implements Translator {
  readonly ram = new Ram(0, FRAMES * FRAME_SIZE);
  pa = 0;
  readonly perms = PERM_R | PERM_W | PERM_X;
  private readonly frames = new Map<bigint, number>();
  private fill = 0n;

  /** Forgets every page; new ones are filled with `fill`. */
  reset(fill: bigint): void {
    this.frames.clear();
    this.fill = fill;
  }

  translate(hi: number, lo: number): boolean {
    const page = join(hi, lo) >> 12n;
    const known = this.frames.get(page);
    const frame = known ?? this.frames.size;
    if (frame >= FRAMES) return false;
    if (known === undefined) {
      this.frames.set(page, frame);
      for (let at = 0; at < FRAME_SIZE; at += 8)
        this.ram.write64(frame * FRAME_SIZE + at, this.fill);
    }
    this.pa = frame * FRAME_SIZE;
    return true;
  }

  write(address: number, bytes: Uint8Array): void {
    bytes.forEach((byte, i) => {
      this.translate(0, address + i);
      this.ram.bytes[this.pa + ((address + i) % FRAME_SIZE)] = byte;
    });
  }
}

/** State at the start of a run. */
export interface MachineState {
  readonly memory: readonly { readonly address: number; readonly bytes: Uint8Array }[];
  /** What every other 8-byte word holds. */
  readonly fill: bigint;
  readonly registers: Readonly<Record<string, bigint>>;
}

/** One vCPU, used for one run after another. */
export class CostMachine {
  private readonly memory = new FlatMemory();
  private readonly cpu: Cpu;

  /** @throws EngineError */
  constructor(engine: Engine) {
    this.cpu = engine.createCpu(0, x86Description, this.memory.ram, this.memory);
  }

  prepare({ memory, fill, registers }: MachineState): TracedCpu {
    this.memory.reset(fill);
    for (const { address, bytes } of memory) this.memory.write(address, bytes);
    this.cpu.flushTlb();
    this.cpu.flushCode();
    for (const name of x86Description.general) this.cpu.writeRegister(name, registers[name] ?? 0n);
    return { cpu: this.cpu, registerOf: REGISTER_OF };
  }

  close(): void {
    this.cpu.close();
  }
}
