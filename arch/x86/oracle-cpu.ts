// Makes the accesses of golden cases with real instructions on a vCPU, at the case's privilege level, every translation
// answered by our MMU. What an access came to is read off the CPU and memory: the value loaded, the bytes stored, the
// instruction executed at the target, RIP behind it; a fault is what the processor delivers.
import { FRAME_SIZE, type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { AccessKind, Cpu, Engine, Stop, Translator } from '../../emulator/engine.ts';
import { Ram } from '../../emulator/ram.ts';
import { Mmu } from '../../mm/mmu.ts';
import { UnexpectedStop, Unreachable } from '../oracle.ts';
import { VECTOR_PF } from './fault-code.ts';
import {
  type GoldenAccess,
  type GoldenOutcome,
  stateOf,
  WRITTEN,
  type X86Case,
} from './golden-case.ts';
import type { CaseMachine } from './oracle.ts';
import { OracleData, RAM_SIZE } from './oracle-data.ts';
import {
  codeAt,
  codeEnd,
  isPurpose,
  layHarness,
  mapHarness,
  type Purpose,
} from './oracle-harness.ts';
import { X86Paging } from './paging.ts';
import { X86Processor } from './processor.ts';
import { EFLAGS_AC, x86Description } from './registers.ts';
import { GOLDEN_COVE_STLB } from './tlb.ts';

const RFLAGS = 0x202n;
/** A vCPU looks again at all code that it has ever fetched when some is replaced: a new one is cheaper then. */
const FETCHES_OF_A_CPU = 50;

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

export class CpuMachine implements CaseMachine {
  readonly ram = new Ram(0, RAM_SIZE);
  private readonly data: OracleData;
  private readonly relay = new Relay();
  private readonly engine: Engine;
  private cpu: Cpu;
  private fetches = 0;
  private processor!: X86Processor;
  private paging!: X86Paging;
  private cpl = 0;
  private slots: ReadonlySet<number> = new Set();

  constructor(engine: Engine) {
    this.data = new OracleData(this.ram);
    layHarness(this.ram);
    this.engine = engine;
    this.cpu = this.createCpu();
  }

  private createCpu(): Cpu {
    return this.engine.createCpu(0, x86Description, this.ram, this.relay);
  }

  begin(golden: X86Case): ReadonlySet<number> {
    const { cpu, ram } = this;
    this.paging = new X86Paging(ram, stateOf(golden));
    const mmu = new Mmu({
      paging: this.paging,
      tlb: GOLDEN_COVE_STLB,
      listener: {
        onEvict: (va, shift) => (shift === 12 ? cpu.flushTlbPage(va) : cpu.flushTlb()),
        onEvictAll: () => cpu.flushTlb(),
      },
    });
    this.processor = new X86Processor({ ram, mmu, all: () => [mmu] });
    this.relay.target = this.processor.translator;
    cpu.flushTlb();
    this.processor.attach(cpu);
    this.cpl = golden.cpl;
    cpu.writeRegister('rflags', RFLAGS | (golden.rflags_ac === 1 ? EFLAGS_AC : 0n));
    this.slots = mapHarness(ram, golden);
    return this.slots;
  }

  end(): void {
    for (const slot of this.slots) this.ram.write64(slot, 0n);
    if (this.fetches < FETCHES_OF_A_CPU) return;
    this.cpu.close();
    this.cpu = this.createCpu();
    this.fetches = 0;
  }

  access(access: GoldenAccess, allowed: readonly GoldenOutcome[]): GoldenOutcome {
    const { kind, va, size, seg } = access;
    const purpose = `${kind} ${size}${seg === 'ss' ? ' ss' : ''}`;
    if (!isPurpose(purpose)) throw new Unreachable(`no instruction for ${purpose}`);
    const addr = virtAddr(BigInt(va));
    const hints = allowed
      .flatMap((one) => (one.fault === null && one.pa !== undefined ? [Number(one.pa)] : []))
      .filter((pa) => this.ram.contains(pa));
    if (kind === 'fetch') return this.fetch(addr, hints[0] ?? null);
    this.registers(addr, seg === 'ss' && kind === 'write');
    const stop = this.runAt(purpose, this.cpl);
    if (stop.reason !== 'limit') return this.faulted(stop);
    this.checkIp(codeEnd(purpose, this.cpl));
    const pa = this.reached(kind, addr, size, hints);
    return pa === null ? { fault: null } : { fault: null, pa: hex(pa) };
  }

  /** @param push the address is where a push will store */
  private registers(addr: VirtAddr, push: boolean): void {
    const { cpu } = this;
    cpu.writeRegister('rdi', addr);
    cpu.writeRegister('rbp', addr);
    cpu.writeRegister('rsp', push ? virtAddr(addr + 8n) : 0n);
    cpu.writeRegister('rax', WRITTEN);
  }

  private runAt(purpose: Purpose, cpl: number): Stop {
    const { cpu, paging } = this;
    cpu.writeRegister('cpl', BigInt(cpl));
    if (paging.state.cpl !== cpl) {
      paging.state.cpl = cpl;
      paging.configure();
    }
    cpu.writeRegister('rip', codeAt(purpose, cpl));
    return cpu.step();
  }

  private checkIp(wanted: bigint): void {
    const ip = this.cpu.readRegister('rip');
    if (ip !== wanted) throw new UnexpectedStop(`RIP is ${hex(ip)} instead of ${hex(wanted)}`);
  }

  private faulted(stop: Stop): GoldenOutcome {
    if (stop.reason !== 'fault') throw stopped(stop);
    const { va, kind, ip } = stop;
    const taken = this.processor.taken(va, kind, ip);
    const fault = { vector: taken.vector, error_code: hex(taken.code) };
    return { fault: taken.vector === VECTOR_PF ? { ...fault, cr2: hex(taken.va) } : fault };
  }

  // ---- Where an access went ----

  /** @returns physical address of the first byte; null if it cannot be told */
  private reached(
    kind: GoldenAccess['kind'],
    addr: VirtAddr,
    size: number,
    hints: readonly number[],
  ): number | null {
    const offset = Number(addr & 0xfffn);
    const onFirst = Math.min(size, FRAME_SIZE - offset);
    if (kind === 'write') return this.stored(offset, onFirst, size, hints);
    // LOCK ADD of 0 changes nothing: a load that follows tells where it was.
    if (kind === 'rmw' && this.runAt(`read ${size}` as Purpose, this.cpl).reason !== 'limit')
      return null;
    const loaded = bytesOf(this.cpu.readRegister('rax'), size);
    const first = loaded.subarray(0, onFirst);
    const rest = loaded.subarray(onFirst);
    if (rest.length > 0 && this.data.find(0, rest).length === 0) return null;
    return hints.find((pa) => this.holds(pa, first)) ?? this.data.find(offset, first)[0] ?? null;
  }

  private holds(pa: number, bytes: Uint8Array): boolean {
    return bytes.every((byte, i) => this.ram.bytes[pa + i] === byte);
  }

  private stored(
    offset: number,
    onFirst: number,
    size: number,
    hints: readonly number[],
  ): number | null {
    const written = bytesOf(WRITTEN, size);
    const inTables = hints.find((pa) => this.holds(pa, written));
    const places = this.data.find(offset, written.subarray(0, onFirst));
    const changed = this.data.changed(offset, onFirst);
    const rest = size > onFirst ? this.data.changed(0, size - onFirst).length : 1;
    if (changed.length === 0) return inTables ?? null;
    return changed.length === 1 && rest === 1 && places[0] === changed[0] ? changed[0] : null;
  }

  /** A jump, and the instruction of two bytes at its target. */
  private fetch(addr: VirtAddr, hint: number | null): GoldenOutcome {
    const { cpu, data } = this;
    const offset = Number(addr & 0xfffn);
    this.fetches++;
    data.placeCode(offset);
    cpu.flushCode();
    try {
      cpu.writeRegister('rdi', addr);
      const canary = data.canary(offset, hint);
      for (const name of ['rax', 'rcx', 'rdx', 'rbx']) cpu.writeRegister(name, canary);
      const jump = this.runAt('fetch 2', this.cpl);
      const stop = jump.reason === 'limit' ? cpu.step() : jump;
      if (stop.reason !== 'limit') return this.faulted(stop);
      this.checkIp(virtAddr(addr + 2n));
      const pa = data.executed(offset, (name) => cpu.readRegister(name), canary, hint);
      return pa === null ? { fault: null } : { fault: null, pa: hex(pa) };
    } finally {
      data.removeCode(offset);
      cpu.flushCode();
    }
  }

  // ---- Steps: real instructions at CPL 0 ----

  invlpg(va: bigint): void {
    this.cpu.writeRegister('rdi', va);
    this.privileged('invlpg');
  }

  movToCr3(value: bigint): boolean {
    this.cpu.writeRegister('rax', value);
    return this.privileged('mov_cr3');
  }

  movToCr4(value: bigint): boolean {
    this.cpu.writeRegister('rax', value);
    return this.privileged('mov_cr4');
  }

  /** @returns false if the instruction raised an exception */
  private privileged(purpose: Purpose): boolean {
    const stop = this.runAt(purpose, 0);
    if (stop.reason === 'exception') return false;
    if (stop.reason !== 'limit') throw stopped(stop);
    this.checkIp(codeEnd(purpose, 0));
    return true;
  }
}

/** The low `size` bytes of a word. */
const bytesOf = (word: bigint, size: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => Number((word >> BigInt(8 * i)) & 0xffn));

/** A stop that is no outcome of an access. Memory outside RAM is the machine's fault, not the CPU's. */
function stopped(stop: Stop): Error {
  const what = 'why' in stop ? stop.why : 'name' in stop ? stop.name : stop.reason;
  if (/outside RAM/.test(what)) return new Unreachable('the physical address is outside RAM');
  return new UnexpectedStop(`the vCPU stopped at ${hex(stop.ip)}: ${what}`);
}
