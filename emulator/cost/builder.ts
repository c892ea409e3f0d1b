// Collects what one instruction becomes: operations, accesses, and what it does to later addresses. Both architectures'
// decoders put their instructions together with it.
import type { Access, AddressEffect, Uop } from './instruction.ts';

/** Ticks from a store's data to a load of it: in code that runs once, and where the core has learnt the pair. */
export interface Forwarding {
  readonly unrolled: number;
  readonly loop: number;
}

/** Registers and displacement of an address. */
export interface AddressOperand {
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly disp: number;
  readonly relative: boolean;
}

/** Ports that every load and store of an architecture uses. */
export interface MemoryPorts {
  readonly load: number;
  readonly storeAddress: number;
  readonly storeData: number;
}

/** The address in one register, and a displacement. */
export const addressAt = (base: number, disp: number): AddressOperand => ({
  base,
  index: -1,
  scale: 1,
  disp,
  relative: false,
});

export const registersOf = ({ base, index }: Pick<AddressOperand, 'base' | 'index'>): number[] =>
  [base, index].filter((value) => value >= 0);

export class InstructionBuilder {
  readonly uops: Uop[] = [];
  readonly accesses: Access[] = [];
  readonly effects: AddressEffect[] = [];
  private readonly ports: MemoryPorts;

  constructor(ports: MemoryPorts) {
    this.ports = ports;
  }

  uop(ports: number, latency: number, reads: readonly number[], writes: readonly number[]): void {
    this.add({ ports, latency, reads, writes });
  }

  /** The renamer's own work: `writes` become other names of `source`, or ready at once without one. */
  renamed(source: number | null, writes: readonly number[]): void {
    this.uop(0, 0, source === null ? [] : [source], writes);
  }

  add(uop: Pick<Uop, 'ports' | 'latency' | 'reads' | 'writes'> & Partial<Uop>): void {
    this.uops.push({ busy: 0, unit: -1, load: -1, store: -1, ...uop });
  }

  /** @param width bytes. @returns number of the access */
  access(address: AddressOperand, width: number, { unrolled, loop }: Forwarding): number {
    const { base, index, scale, disp, relative } = address;
    this.accesses.push({
      ...{ base, index, scale, disp, relative, width },
      forwarding: unrolled,
      loopForwarding: loop,
    });
    return this.accesses.length - 1;
  }

  load(access: number, latency: number, writes: readonly number[]): void {
    const reads = registersOf(this.accesses[access]);
    this.add({ ports: this.ports.load, latency, reads, writes, load: access });
  }

  store(access: number, data: readonly number[]): void {
    const { storeAddress, storeData } = this.ports;
    this.uop(storeAddress, 1, registersOf(this.accesses[access]), []);
    this.add({ ports: storeData, latency: 1, reads: data, writes: [], store: access });
  }

  /** Later addresses: `to` holds what `from` holds, and `add`. */
  moved(to: number, from: number, add: number): void {
    this.effects.push({ kind: 'copy', to, from, add });
  }

  constant(to: number, value: number): void {
    this.effects.push({ kind: 'constant', to, value });
  }

  /** `to` depends on nothing but the operation's name and the values. */
  derived(to: number, name: string, of: readonly number[]): void {
    this.effects.push({ kind: 'function', to, name, of });
  }

  unknown(values: readonly number[]): void {
    for (const to of values) this.effects.push({ kind: 'unknown', to });
  }
}
