// Makes the accesses of golden cases with real instructions on a vCPU, at the case's exception level and PSTATE, every
// translation answered by our MMU. What an access came to is read off the CPU and memory: the value loaded, the bytes
// stored, PAR_EL1, the SVC executed at the target; a fault is what the processor delivers.
import { virtAddr } from '../../emulator/address.ts';
import { hex, u64 } from '../../emulator/bits.ts';
import type { AccessKind, Cpu, Engine, Stop, Translator } from '../../emulator/engine.ts';
import { Ram } from '../../emulator/ram.ts';
import { Mmu } from '../../mm/mmu.ts';
import { UnexpectedStop, Unreachable } from '../oracle.ts';
import { type Arm64Case, type GoldenAccess, RAM_BASE, RAM_SIZE, stateOf } from './golden-case.ts';
import { type GoldenOutcome, goldenFault, goldenPar, patternByte } from './golden-outcome.ts';
import type { CaseMachine } from './oracle.ts';
import {
  codeOf,
  harnessOffset,
  isData,
  isPurpose,
  layHarness,
  lengthOf,
  type Purpose,
  SVC,
} from './oracle-harness.ts';
import { Arm64Paging } from './paging.ts';
import { Arm64Processor } from './processor.ts';
import { arm64Description } from './registers.ts';
import { NEOVERSE_N1_L2TLB } from './tlb.ts';

const FRAME = 4096;
// PSTATE as SPSR_EL1 shows it: EL1h, PAN, UAO.
const EL1H = 5n;
const PAN = 1n << 22n;
const UAO = 1n << 23n;
/** The engine's number of an SVC. */
const CORE_SVC = 2;
/** A vCPU looks again at all code that it has ever fetched when some is replaced: a new one is cheaper then. */
const FETCHES_OF_A_CPU = 50;

const STORES = ['str', 'stp', 'sttr', 'stlr'];
const LOADS = ['ldr', 'ldp', 'ldtr', 'ldar', 'ldxr'];

/** The vCPU's translator, which changes with the case. */
class Relay implements Translator {
  target!: Translator;
  get pa(): number {
    return this.target.pa;
  }
  get perms(): number {
    return this.target.perms;
  }
  translate(hi: number, lo: number, kind: AccessKind): boolean {
    return this.target.translate(hi, lo, kind);
  }
}

/** Where the bytes of an access lie if it goes where the case says. */
interface Place {
  readonly pa: number;
  readonly pa2: number | undefined;
  /** Physical address of each byte. */
  readonly bytes: readonly number[];
}

export class CpuMachine implements CaseMachine {
  readonly ram = new Ram(RAM_BASE, RAM_SIZE);
  private readonly engine: Engine;
  private readonly relay = new Relay();
  private cpu: Cpu;
  private fetches = 0;
  private processor!: Arm64Processor;
  private paging!: Arm64Paging;
  private golden!: Arm64Case;
  private offset = 0n;
  /** Frames that hold the pattern. */
  private readonly filled = new Set<number>();
  /** Frames of them that no longer do. */
  private readonly spoilt = new Set<number>();
  /** Something may have been written elsewhere than the case says. */
  private strayed = false;

  constructor(engine: Engine) {
    layHarness(this.ram);
    this.engine = engine;
    this.cpu = this.createCpu();
  }

  private createCpu(): Cpu {
    return this.engine.createCpu(0, arm64Description, this.ram, this.relay);
  }

  begin(golden: Arm64Case): void {
    const { cpu, ram } = this;
    this.golden = golden;
    this.offset = harnessOffset(golden);
    this.paging = new Arm64Paging(ram, stateOf(golden));
    const mmu = new Mmu({
      paging: this.paging,
      tlb: NEOVERSE_N1_L2TLB,
      listener: {
        onEvict: (va, shift) => (shift === 12 ? cpu.flushTlbPage(va) : cpu.flushTlb()),
        onEvictAll: () => cpu.flushTlb(),
      },
    });
    this.processor = new Arm64Processor({ ram, mmu, all: () => [mmu] });
    this.relay.target = this.processor.translator;
    this.processor.attach(cpu);
    cpu.flushTlb();
  }

  end(): void {
    for (const frame of this.strayed ? this.filled : this.spoilt) this.fill(frame);
    this.strayed = false;
    this.spoilt.clear();
    if (this.fetches < FETCHES_OF_A_CPU) return;
    this.cpu.close();
    this.cpu = this.createCpu();
    this.fetches = 0;
  }

  access(access: GoldenAccess, allowed: readonly GoldenOutcome[]): GoldenOutcome {
    const { insn, size, va, el = this.golden.el } = access;
    const purpose = isPurpose(insn) ? insn : `${insn} ${size}`;
    if (!isPurpose(purpose)) throw new Unreachable(`no instruction for ${purpose}`);
    this.enterLevel(el);
    const places = allowed.flatMap((one) => this.placeOf(one, insn, size ?? 8));
    const target = BigInt(va);
    if (purpose === 'br') return this.branch(target, places);
    const before = places.map(({ bytes }) => bytes.map((pa) => this.ram.bytes[pa - RAM_BASE]));
    const there = STORES.includes(insn)
      ? places[0]?.bytes.map((pa) => Number(patternByte(pa)) ^ 0xff)
      : before[0];
    this.operands(target, insn, size ?? 8, there ?? []);
    const fault = this.run(purpose);
    if (fault) return fault;
    return this.succeeded(access, places, before);
  }

  private enterLevel(el: number): void {
    const { paging, cpu, golden } = this;
    if (paging.state.el !== el) {
      paging.state.el = el;
      paging.configure();
    }
    const flags = (golden.pan === 1 ? PAN : 0n) | (golden.uao === 1 ? UAO : 0n);
    cpu.writeRegister('pstate', (el === 1 ? EL1H : 0n) | flags);
  }

  /**
   * X1 and X2, or X2 to X5.
   * @param there bytes to store, or those that atomics find and write again
   */
  private operands(va: bigint, insn: string, size: number, there: readonly number[]): void {
    const { cpu } = this;
    cpu.writeRegister('x0', va);
    const half = insn === 'ldp' || insn === 'stp' || insn === 'casp' ? size / 2 : size;
    const words = [wordOf(there.slice(0, half)), wordOf(there.slice(half))];
    cpu.writeRegister('x1', insn === 'ldadd' ? 0n : words[0]);
    cpu.writeRegister('x2', insn === 'casp' || insn === 'cas' ? words[0] : words[1]);
    if (insn === 'casp') {
      cpu.writeRegister('x3', words[1]);
      cpu.writeRegister('x4', words[0]);
      cpu.writeRegister('x5', words[1]);
    }
  }

  /** @returns the fault that the instructions of a purpose end in, or null */
  private run(purpose: Purpose): GoldenOutcome | null {
    const { cpu } = this;
    const start = virtAddr(BigInt(codeOf(purpose)) + this.offset);
    cpu.writeRegister('pc', start);
    for (let i = 1; i <= lengthOf(purpose); i++) {
      const fault = this.faultOf(cpu.step());
      if (fault) return fault;
      const pc = cpu.readRegister('pc');
      // A branch goes where it goes.
      if (purpose !== 'br' && pc !== start + BigInt(4 * i))
        throw new UnexpectedStop(`PC is ${hex(pc)}`);
    }
    return null;
  }

  private faultOf(stop: Stop): GoldenOutcome | null {
    if (stop.reason === 'limit') return null;
    const taken =
      stop.reason === 'fault'
        ? this.processor.taken(stop.va, stop.kind, stop.ip)
        : stop.reason === 'exception'
          ? this.processor.takenException(stop)
          : null;
    if (taken) return { fault: goldenFault({ esr: Number(taken.code), far: taken.va }) };
    const what = stop.reason === 'exception' ? stop.name : 'why' in stop ? stop.why : stop.reason;
    if (/outside RAM/.test(what)) throw new Unreachable('the physical address is outside RAM');
    throw new UnexpectedStop(`the vCPU stopped at ${hex(stop.ip)}: ${what}`);
  }

  // ---- Where an access went ----

  /** The place that an outcome names, filled with the pattern; none if it names none in RAM. */
  private placeOf(outcome: GoldenOutcome, insn: string, size: number): Place[] {
    if (outcome.fault !== null || outcome.pa === undefined) return [];
    if (outcome.par !== undefined) return [];
    const given = Number(outcome.pa);
    const pa = insn === 'dc_zva' ? given - (given % size) : given;
    const pa2 = outcome.pa2 === undefined ? undefined : Number(outcome.pa2);
    const bytes = Array.from({ length: size }, (_, i) => {
      const inFirst = FRAME - (pa % FRAME);
      return pa2 === undefined || i < inFirst ? pa + i : pa2 + i - inFirst;
    });
    if (!bytes.every((byte) => isData(byte) && this.ram.contains(byte))) return [];
    for (const byte of bytes) {
      const frame = byte - (byte % FRAME);
      if (!this.filled.has(frame)) this.fill(frame);
    }
    return [{ pa: given, pa2, bytes }];
  }

  private fill(frame: number): void {
    const at = frame - RAM_BASE;
    for (let i = 0; i < FRAME; i++) this.ram.bytes[at + i] = Number(patternByte(frame + i));
    this.filled.add(frame);
  }

  private succeeded(
    { insn, size = 8, va }: GoldenAccess,
    places: readonly Place[],
    before: readonly (readonly number[])[],
  ): GoldenOutcome {
    if (insn.startsWith('s1e'))
      return { fault: null, ...goldenPar(this.cpu.readRegister('par_el1')) };
    if (insn.startsWith('prfm') || (insn.startsWith('dc_') && insn !== 'dc_zva')) {
      return { fault: null };
    }
    const now = places.map(({ bytes }) => bytes.map((pa) => this.ram.bytes[pa - RAM_BASE]));
    if (STORES.includes(insn) || insn === 'dc_zva') {
      const stored = (pa: number) => (insn === 'dc_zva' ? 0 : Number(patternByte(pa)) ^ 0xff);
      const at = places.findIndex(({ bytes }, i) =>
        bytes.every((pa, k) => now[i][k] === stored(pa)),
      );
      for (const { bytes } of places) {
        for (const byte of bytes) this.spoilt.add(byte - (byte % FRAME));
      }
      this.strayed ||= at < 0;
      return at < 0 ? { fault: null } : located(places[at]);
    }
    const loaded = this.loaded(insn, size);
    const at = places.findIndex((_, i) => same(before[i], now[i]) && same(before[i], loaded));
    this.strayed ||= at < 0 && !LOADS.includes(insn);
    const proved = at >= 0 && this.placeProved(insn, BigInt(va), places[at]);
    const values =
      insn === 'ldp'
        ? [loaded.slice(0, size / 2), loaded.slice(size / 2)].map((half) => hex(wordOf(half)))
        : hex(wordOf(loaded));
    const shown = LOADS.includes(insn) ? { value: values } : {};
    return { ...(proved ? located(places[at]) : { fault: null }), ...shown };
  }

  /** The bytes that a load or an atomic has read, in memory order. */
  private loaded(insn: string, size: number): number[] {
    const read = (name: string) => this.cpu.readRegister(name);
    switch (insn) {
      case 'ldp':
        return [...bytesOf(read('x1'), size / 2), ...bytesOf(read('x2'), size / 2)];
      case 'ldxp_stxp':
        return [...bytesOf(read('x1'), size / 2), ...bytesOf(read('x2'), size / 2)];
      case 'casp':
        return [...bytesOf(read('x2'), size / 2), ...bytesOf(read('x3'), size / 2)];
      case 'ldadd':
      case 'swp':
        return bytesOf(read('x2'), size);
      default:
        return bytesOf(read('x1'), size);
    }
  }

  /** A few bytes tell little of where they are: the whole words around them must be the place's too. */
  private placeProved(insn: string, va: bigint, { pa, pa2, bytes }: Place): boolean {
    if (bytes.length >= 8 && pa2 === undefined) return true;
    const load = insn === 'ldtr' ? 'ldtr 8' : 'ldr 8';
    if (!this.wordIs(load, va - (va % 8n), pa - (pa % 8))) return false;
    return pa2 === undefined || this.wordIs(load, va - (va % 4096n) + 4096n, pa2);
  }

  private wordIs(load: Purpose, va: bigint, pa: number): boolean {
    this.cpu.writeRegister('x0', u64(va));
    return this.run(load) === null && this.cpu.readRegister('x1') === this.ram.read64(pa);
  }

  /** A branch, and the SVC at its target. */
  private branch(target: bigint, places: readonly Place[]): GoldenOutcome {
    const { cpu, ram } = this;
    this.fetches++;
    const word = new Uint8Array(Uint32Array.of(SVC).buffer);
    for (const { pa } of places) {
      if (pa % 4 !== 0) continue;
      ram.write(pa, word);
      this.spoilt.add(pa - (pa % FRAME));
    }
    cpu.flushCode();
    cpu.writeRegister('x0', target);
    const fault = this.run('br');
    if (fault) return fault;
    const stop = cpu.step();
    if (stop.reason === 'exception' && stop.number === CORE_SVC) {
      return places.length > 0 ? located(places[0]) : { fault: null };
    }
    return this.faultOf(stop) ?? { fault: null };
  }

  tlbi(type: string, operand: bigint): void {
    if (!isPurpose(type)) throw new Unreachable(`no instruction for TLBI ${type}`);
    this.enterLevel(1);
    this.cpu.writeRegister('x0', operand);
    const fault = this.run(type);
    if (fault) throw new UnexpectedStop(`TLBI ${type} faults: ${JSON.stringify(fault)}`);
  }
}

const located = ({ pa, pa2 }: Place): GoldenOutcome => ({
  fault: null,
  pa: hex(pa),
  ...(pa2 === undefined ? {} : { pa2: hex(pa2) }),
});

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Little-endian, up to 8 bytes. */
const wordOf = (bytes: readonly number[]): bigint =>
  bytes.reduceRight((word, byte) => (word << 8n) | BigInt(byte), 0n);

const bytesOf = (word: bigint, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Number((word >> BigInt(8 * i)) & 0xffn));
