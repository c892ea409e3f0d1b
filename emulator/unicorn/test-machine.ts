// A machine for the engine's tests: pages are a Map, code is hex. Not part of the product.
import { virtAddr } from '../address.ts';
import {
  type AccessKind,
  type Cpu,
  type CpuDescription,
  type CpuOptions,
  type Engine,
  PERM_R,
  PERM_W,
  PERM_X,
  type Translator,
} from '../engine.ts';
import { Ram } from '../ram.ts';
import { unicornEngine } from './engine.ts';

const NEEDED = [PERM_R, PERM_W, PERM_X];

/** Pages by number, each with a frame and PERM_ bits. */
export class PageMap implements Translator {
  pa = 0;
  perms = 0;
  /** Every question, as `kind page`. */
  readonly asked: string[] = [];
  readonly pages = new Map<bigint, { pa: number; perms: number }>();

  map(va: bigint, pa: number, perms = PERM_R | PERM_W): void {
    this.pages.set(BigInt.asUintN(64, va) >> 12n, { pa, perms });
  }

  unmap(va: bigint): void {
    this.pages.delete(BigInt.asUintN(64, va) >> 12n);
  }

  translate(hi: number, lo: number, kind: AccessKind): boolean {
    const number = ((BigInt(hi) << 32n) | BigInt(lo)) >> 12n;
    this.asked.push(`${'RWX'[kind]} 0x${number.toString(16)}000`);
    const page = this.pages.get(number);
    if (!page || (page.perms & NEEDED[kind]) === 0) return false;
    this.pa = page.pa;
    this.perms = page.perms;
    return true;
  }
}

export const CODE = virtAddr(0xffff_ffff_8100_0000n);
export const CODE_PA = 0x10_0000;
export const DATA = virtAddr(0xffff_c900_0000_0000n);
export const DATA_PA = 0x20_0000;

/** One vCPU, one page of code at CODE, data pages on demand. */
export class TestMachine {
  readonly ram: Ram;
  readonly pages = new PageMap();
  readonly cpu: Cpu;

  constructor(
    description: CpuDescription,
    code: string | readonly number[],
    options: CpuOptions & { engine?: Engine; ram?: Ram; codePages?: number } = {},
  ) {
    this.ram = options.ram ?? new Ram(0, 16 << 20);
    for (let i = 0; i < (options.codePages ?? 1); i++) {
      this.pages.map(CODE + BigInt(i * 4096), CODE_PA + i * 4096, PERM_R | PERM_X);
    }
    this.load(CODE_PA, code);
    const engine = options.engine ?? unicornEngine();
    this.cpu = engine.createCpu(0, description, this.ram, this.pages, options);
    this.cpu.writeRegister(description.instructionPointer, CODE);
  }

  /** Hex on x86, words on arm64. */
  load(pa: number, code: string | readonly number[]): void {
    const bytes =
      typeof code === 'string'
        ? Uint8Array.from(Buffer.from(code.replace(/\s/g, ''), 'hex'))
        : new Uint8Array(Uint32Array.from(code).buffer);
    this.ram.write(pa, bytes);
  }

  mapData(index: number, perms = PERM_R | PERM_W): void {
    this.pages.map(DATA + BigInt(index * 4096), DATA_PA + index * 4096, perms);
  }

  set(registers: Readonly<Record<string, bigint | number>>): this {
    for (const [name, value] of Object.entries(registers)) {
      this.cpu.writeRegister(name, BigInt.asUintN(64, BigInt(value)));
    }
    return this;
  }

  get(name: string): bigint {
    return this.cpu.readRegister(name);
  }
}
