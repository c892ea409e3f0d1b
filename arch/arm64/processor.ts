// The AArch64 vCPU as a whole. The core that executes knows neither memory types nor alignment rules nor the privilege
// of LDTR: instructions that depend on them are checked here before it runs them, with every check of access.ts. Which
// these are changes: while only Normal memory is in sight and SCTLR_EL1.A is 0, alignment refuses nothing that the core
// would allow; after that every load and store is looked at. What is intercepted always: LDTR and STTR, LDAR, STLR and
// their kin, and the system instructions of system.ts. Left out: SP alignment, traps of EL0 to EL1 by SCTLR_EL1 beside those of system.ts.
import { accessAddress } from '../../emulator/access-form.ts';
import type { VirtAddr } from '../../emulator/address.ts';
import { hi32, lo32 } from '../../emulator/bits.ts';
import {
  type AccessForm,
  type AccessKind,
  type Cpu,
  FETCH,
  type Intercepted,
  type Interceptor,
  READ,
  type Stop,
  type Translator,
} from '../../emulator/engine.ts';
import { type Restore, SAVE, type Saveable, saveFields } from '../../emulator/snapshot.ts';
import type { Mmu } from '../../mm/mmu.ts';
import type { Processor, ProcessorParts, TakenFault } from '../processor.ts';
import { type Arm64Fault, dataAccess, performAccess } from './access.ts';
import type { AccessType } from './access-type.ts';
import { checkedAccess, isUncheckedOrdered, isUnprivileged, wordOf } from './checked-access.ts';
import { pcAlignmentFault } from './fault-code.ts';
import { Arm64Paging, SCTLR_A } from './paging.ts';
import { PC, XZR } from './registers.ts';
import { Arm64System, faultOf, isDcZva, systemOperation, writeToCore } from './system.ts';

const RUN: Intercepted = { action: 'run' };

/** The engine's number of a data abort: the core raises it for its own alignment checks alone. */
const CORE_DATA_ABORT = 4;
/** Of an undefined instruction, which the core also takes a misaligned PC for. */
const CORE_UNDEFINED = 1;

// PSTATE as SPSR_EL1 shows it: DDI 0487, C5.2.19.
const PSTATE_PAN = 1n << 22n;
const PSTATE_UAO = 1n << 23n;

const MIRRORED = ['sctlr', 'tcr', 'mair', 'ttbr0', 'ttbr1'] as const;

export class Arm64Processor implements Processor, Interceptor, Saveable, Translator {
  readonly mmu: Mmu;
  readonly translator: Translator = this;
  private readonly paging: Arm64Paging;
  private readonly parts: ProcessorParts;
  private cpu!: Cpu;
  private system!: Arm64System;
  private words!: BigUint64Array;
  /** Every load and store is checked before it runs. */
  private careful = false;
  /** The instruction at `runsAt` makes accesses of this type. */
  private runs: AccessType | null = null;
  private runsAt = 0n;
  /** The last access was refused by Device memory. */
  private refusedByDevice = false;
  /** A DC ZVA is to be begun again: the core asks twice before it gives up. */
  private zeroing = false;
  /** Found before the instruction at `foundAt` ran. */
  private found: Arm64Fault | null = null;
  private foundAt = 0n;

  /** @throws TypeError if the MMU's paging unit is another architecture's */
  constructor(parts: ProcessorParts) {
    const { paging } = parts.mmu;
    if (!(paging instanceof Arm64Paging)) throw new TypeError('not an arm64 paging unit');
    this.parts = parts;
    this.mmu = parts.mmu;
    this.paging = paging;
  }

  attach(cpu: Cpu): void {
    const { mmu, paging, parts } = this;
    this.cpu = cpu;
    this.system = new Arm64System(mmu, paging, cpu, parts.all);
    this.words = new BigUint64Array(cpu.description.general.length);
    paging.livePan = () => (cpu.readRegister('pstate') & PSTATE_PAN) !== 0n;
    this.careful = this.alignmentMatters();
    cpu.interceptor = this;
    this.refresh();
  }

  refresh(): void {
    for (const name of MIRRORED) writeToCore(this.cpu, this.paging, name);
    this.beCareful(this.alignmentMatters());
  }

  /** Memory is Device where addresses are not translated. */
  private alignmentMatters(): boolean {
    return !this.paging.translating || (this.paging.state.sctlr & SCTLR_A) !== 0n;
  }

  private beCareful(needed: boolean): void {
    if (!needed || this.careful) return;
    this.careful = true;
    this.cpu.interceptsChanged();
  }

  /** Memory-management unit and core are saved by whoever has them too. */
  [SAVE](): Restore {
    const { careful } = this;
    const fields = saveFields(this);
    return () => {
      const changed = this.careful !== careful;
      fields();
      if (changed) this.cpu.interceptsChanged();
    };
  }

  // ---- Translation ----

  get pa(): number {
    return this.mmu.pa;
  }

  get perms(): number {
    return this.mmu.perms;
  }

  translate(hi: number, lo: number, kind: AccessKind): boolean {
    const { paging } = this;
    if (kind === FETCH) return this.fetch(hi, lo);
    if (this.runs !== null) paging.access = this.typeNow();
    const ok = this.mmu.translate(hi, lo, kind);
    paging.access = null;
    this.refusedByDevice = !ok && paging.device;
    if (ok && paging.device && (!this.careful || this.zeroing)) {
      // The instruction is begun again, and checked before it runs. Until then nothing has been accessed.
      this.takeBack(hi, lo);
      const ip = this.cpu.readRegister('pc') as VirtAddr;
      this.zeroing = isDcZva(wordOf(this.cpu.code(ip)));
      this.beCareful(true);
    }
    return ok;
  }

  /** Undoes what the last translation did to its descriptor, and has the TLB forget it. */
  private takeBack(hi: number, lo: number): void {
    const { mmu, paging, parts } = this;
    if (mmu.hit) return;
    const { record } = paging;
    const leaf = record.length - 1;
    parts.ram.setWord(record.word[leaf], record.entryLo[leaf]);
    mmu.tlb.invalidatePage(paging.untag(hi, READ), lo, paging.space, true);
  }

  /** The core looks at the alignment of PC after the fetch; AArch64.CheckPCAlignment() comes before. */
  private fetch(hi: number, lo: number): boolean {
    return (this.cpu.readRegister('pc') & 3n) === 0n && this.mmu.translate(hi, lo, FETCH);
  }

  private typeNow(): AccessType | null {
    if (this.cpu.readRegister('pc') !== this.runsAt) this.runs = null;
    return this.runs;
  }

  // ---- Interception ----

  wants(code: Uint8Array): boolean {
    if (code.length < 4) return false;
    const w = wordOf(code);
    if (isUnprivileged(w) || isUncheckedOrdered(w) || systemOperation(w) !== null) return true;
    return this.careful && (isDcZva(w) || checkedAccess(code) !== null);
  }

  intercept(ip: VirtAddr, code: Uint8Array): Intercepted {
    const w = wordOf(code);
    const { words, cpu } = this;
    this.found = null;
    this.zeroing = false;
    cpu.readGeneral(words);
    words[PC] = ip;
    const operation = systemOperation(w);
    if (operation !== null) {
      const made = this.system.execute(operation, this.register(w & 31), (fault) =>
        this.keep(ip, fault),
      );
      this.beCareful(this.alignmentMatters());
      return made;
    }
    const outcome = isDcZva(w) ? this.zero(this.register(w & 31)) : this.check(ip, code);
    if (outcome === null) return RUN;
    this.keep(ip, outcome);
    return faultOf(outcome);
  }

  private register(number: number): bigint {
    return number === XZR ? 0n : this.words[number];
  }

  private keep(ip: VirtAddr, fault: Arm64Fault): void {
    this.found = fault;
    this.foundAt = ip;
  }

  private zero(va: bigint): Arm64Fault | null {
    const { mmu, paging } = this;
    const size = paging.state.features.zvaBytes;
    return performAccess(mmu, paging, { insn: 'dc_zva', va, size }).fault;
  }

  /** Makes the access of an instruction without its data. @returns what refuses it */
  private check(ip: VirtAddr, code: Uint8Array): Arm64Fault | null {
    const access = checkedAccess(code);
    if (access === null) return null;
    const { mmu, paging } = this;
    const { how, form } = access;
    if (!this.careful && isUncheckedOrdered(wordOf(code)) && this.isAligned(form)) return null;
    this.takeUao();
    const { fault } = dataAccess(mmu, paging, how, accessAddress(form, this.words), form.size);
    if (fault === null && isUnprivileged(wordOf(code))) {
      this.runs = how.types[0];
      this.runsAt = ip;
    }
    return fault;
  }

  /** Then nothing refuses it that the core would not refuse. */
  private isAligned({ base, displacementLo, size }: AccessForm): boolean {
    return ((lo32(this.words[base]) + displacementLo) & (size - 1)) === 0;
  }

  private takeUao(): void {
    const { paging, words, cpu } = this;
    const uao = (words[cpu.description.general.indexOf('pstate')] & PSTATE_UAO) !== 0n;
    if (uao === paging.state.uao) return;
    paging.state.uao = uao;
    paging.configure();
  }

  // ---- Faults ----

  taken(va: VirtAddr, kind: AccessKind, ip: VirtAddr): TakenFault {
    const { found, mmu, paging } = this;
    if (found !== null && this.foundAt === ip && found.far === va) return takenOf(found, kind, ip);
    if (kind === FETCH && ip % 4n !== 0n) {
      return takenOf({ esr: pcAlignmentFault(), far: ip }, kind, ip);
    }
    // Alignment comes before permissions, and the core has not looked at it.
    const device = kind !== FETCH && this.refusedByDevice ? this.again(ip) : null;
    if (device !== null) return takenOf(device, kind, ip);
    if (kind !== mmu.faultKind && !paging.walk(hi32(va), lo32(va), kind, false)) {
      return takenOf({ esr: paging.faultCode, far: va }, kind, ip);
    }
    return { ip, va, kind, vector: mmu.faultCode >>> 26, code: mmu.faultCodeWord };
  }

  takenException({ number, ip }: Extract<Stop, { reason: 'exception' }>): TakenFault | null {
    if (number === CORE_UNDEFINED && ip % 4n !== 0n) {
      return takenOf({ esr: pcAlignmentFault(), far: ip }, FETCH, ip);
    }
    if (number !== CORE_DATA_ABORT) return null;
    const fault = this.again(ip);
    const made = fault && faultOf(fault);
    return made?.action === 'fault' ? takenOf(fault!, made.kind, ip) : null;
  }

  /** Checks the instruction that the core could not finish. @returns what refuses it, if anything does */
  private again(ip: VirtAddr): Arm64Fault | null {
    this.cpu.readGeneral(this.words);
    this.words[PC] = ip;
    const code = this.cpu.code(ip);
    const w = wordOf(code);
    return isDcZva(w) ? this.zero(this.register(w & 31)) : this.check(ip, code);
  }
}

const takenOf = ({ esr, far }: Arm64Fault, kind: AccessKind, ip: VirtAddr): TakenFault => ({
  ip,
  va: far as VirtAddr,
  kind,
  vector: esr >>> 26,
  code: BigInt(esr),
});
