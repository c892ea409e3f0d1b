// Instructions of a program that change how its addresses are translated, executed on paging unit and TLB: MOV to and from
// control registers, INVLPG, INVPCID, WRPKRU, RDPKRU, and the MSRs EFER and IA32_PKRS (their pages in SDM Vol. 2, and
// Vol. 3A, 2.5 and 4.10.4.1). EFLAGS.AC is not here: the paging unit asks for it. Left out: LMSW, which cannot change a
// bit that paging reads; CR8, CR2 and other MSRs, which the core has; what CR4 switches beside paging; XSETBV.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hi32, lo32 } from '../../emulator/bits.ts';
import { type Cpu, type Intercepted, READ } from '../../emulator/engine.ts';
import type { Ram } from '../../emulator/ram.ts';
import { type Decoded, decode } from './decode.ts';
import { effectiveAddress, overriddenBase } from './effective-address.ts';
import { VECTOR_GP } from './fault-code.ts';
import { CR0_PG, CR4_PKE, EFER_LMA, EFER_NXE } from './paging.ts';
import { generalIndex, RAX, RCX, RDX } from './registers.ts';
import { changeRights, invlpg, invpcid, movToCr3, movToCr4, type X86Tlb } from './tlb.ts';

// MSR numbers: SDM Vol. 4, 2.1.
const IA32_PKRS = 0x6e1n;
const IA32_EFER = 0xc000_0080n;
const EFER_SCE = 1n << 0n;
const EFER_LME = 1n << 8n;

// SDM Vol. 3A, 2.5.
const CR0_PE = 1n << 0n;
const CR0_ET = 1n << 4n;
const CR0_NW = 1n << 29n;
const CR0_CD = 1n << 30n;

const U32 = 0xffff_ffffn;
const DONE: Intercepted = { action: 'done' };
const RUN: Intercepted = { action: 'run' };
const GP: Intercepted = { action: 'exception', number: VECTOR_GP, name: '#GP' };
const UD: Intercepted = { action: 'exception', number: 6, name: '#UD' };

type Operation = 'fromCr' | 'toCr' | 'invlpg' | 'invpcid' | 'wrpkru' | 'rdpkru' | 'wrmsr' | 'rdmsr';

/** What an instruction is; null for all that does not belong here. */
function operationOf(code: Uint8Array, d: Decoded): Operation | null {
  if (d.length === 0 || d.lock) return null;
  if (d.map === 0x0f38) {
    return d.opcode === 0x82 && d.operandSize16 && d.mod !== 3 ? 'invpcid' : null;
  }
  if (d.map !== 0x0f) return null;
  switch (d.opcode) {
    case 0x01:
      if (d.mod !== 3) return d.reg === 7 ? 'invlpg' : null;
      return code[d.length - 1] === 0xef ? 'wrpkru' : code[d.length - 1] === 0xee ? 'rdpkru' : null;
    case 0x20:
      return 'fromCr';
    case 0x22:
      return 'toCr';
    case 0x30:
      return 'wrmsr';
    case 0x32:
      return 'rdmsr';
    default:
      return null;
  }
}

/** True for the instructions of this file. */
export const isControl = (code: Uint8Array): boolean => operationOf(code, decode(code)) !== null;

/** Executes them for one vCPU. */
export class X86Control {
  private readonly tlb: X86Tlb;
  private readonly ram: Ram;
  private readonly cpu: Cpu;
  private readonly words: BigUint64Array;

  constructor(tlb: X86Tlb, ram: Ram, cpu: Cpu) {
    this.tlb = tlb;
    this.ram = ram;
    this.cpu = cpu;
    this.words = new BigUint64Array(cpu.description.general.length);
  }

  /** @param code one for which {@link isControl} holds */
  execute(code: Uint8Array): Intercepted {
    const { state } = this.tlb.paging;
    const d = decode(code);
    const operation = operationOf(code, d);
    this.cpu.readGeneral(this.words);
    if (operation === 'wrpkru') return this.wrpkru();
    if (operation === 'rdpkru') return this.rdpkru();
    // The core raises #GP for the rest of them, or #UD where it does not know one.
    if (state.cpl !== 0) return operation === 'invpcid' ? GP : RUN;
    switch (operation) {
      case 'fromCr':
        return this.fromCr(code, d);
      case 'toCr':
        return this.toCr(code, d);
      case 'invlpg':
        invlpg(this.tlb, this.address(code, d));
        return DONE;
      case 'invpcid':
        return this.invpcid(code, d);
      case 'wrmsr':
        return this.wrmsr();
      case 'rdmsr':
        return this.rdmsr();
      default:
        return RUN;
    }
  }

  private address(code: Uint8Array, d: Decoded): VirtAddr {
    const operand = { at: 'modrm', offset: 0 } as const;
    return effectiveAddress(d, operand, this.words, overriddenBase(this.cpu, code, d));
  }

  private write(index: number, value: bigint): void {
    this.cpu.writeRegister(this.cpu.description.general[index], value);
  }

  // ---- Control registers ----

  /** CR0 is kept by the core too, which changes it by CLTS and LMSW. */
  private fromCr(code: Uint8Array, d: Decoded): Intercepted {
    const { state } = this.tlb.paging;
    const value =
      controlRegister(d) === 3 ? state.cr3 : controlRegister(d) === 4 ? state.cr4 : null;
    if (value === null) return RUN;
    this.write(operandRegister(code, d), value);
    return DONE;
  }

  private toCr(code: Uint8Array, d: Decoded): Intercepted {
    const value = this.words[operandRegister(code, d)];
    switch (controlRegister(d)) {
      case 0:
        return this.movToCr0(value);
      case 3:
        return movToCr3(this.tlb, value) ? DONE : GP;
      case 4:
        return movToCr4(this.tlb, value) ? DONE : GP;
      default:
        return RUN;
    }
  }

  /** MOV to CR0 in 64-bit mode, where paging and protection cannot be switched off. */
  private movToCr0(value: bigint): Intercepted {
    if (value > U32 || !(value & CR0_PG) || !(value & CR0_PE)) return GP;
    if (value & CR0_NW && !(value & CR0_CD)) return GP;
    const stored = value | CR0_ET;
    this.cpu.writeRegister('cr0', stored);
    changeRights(this.tlb, { cr0: stored });
    return DONE;
  }

  // ---- TLB ----

  /** The descriptor: PCID in bits 11:0 of the first 8 bytes, the others 0; the linear address in the second. */
  private invpcid(code: Uint8Array, d: Decoded): Intercepted {
    const at = this.address(code, d);
    const descriptor = [this.read64(at), this.read64(virtAddr(at + 8n))];
    for (const one of descriptor) if (typeof one !== 'bigint') return one;
    const [pcid, va] = descriptor as bigint[];
    const type = this.words[generalIndex(d.reg | (d.rex & 4 ? 8 : 0))];
    return invpcid(this.tlb, Number(type > 4n ? 4n : type), pcid, virtAddr(va)) ? DONE : GP;
  }

  private read64(va: VirtAddr): bigint | Intercepted {
    let value = 0n;
    for (let i = 0n; i < 8n; i++) {
      const byte = virtAddr(va + i);
      const { mmu } = this.tlb;
      if (!mmu.translate(hi32(byte), lo32(byte), READ)) {
        return { action: 'fault', va: byte, kind: READ };
      }
      value |= this.ram.readUint(mmu.pa + Number(byte & 0xfffn), 1) << (8n * i);
    }
    return value;
  }

  // ---- Keys and MSRs ----

  private wrpkru(): Intercepted {
    if (!(this.tlb.paging.state.cr4 & CR4_PKE)) return UD;
    if (this.words[RCX] & U32 || this.words[RDX] & U32) return GP;
    changeRights(this.tlb, { pkru: this.words[RAX] & U32 });
    return DONE;
  }

  private rdpkru(): Intercepted {
    const { state } = this.tlb.paging;
    if (!(state.cr4 & CR4_PKE)) return UD;
    if (this.words[RCX] & U32) return GP;
    this.write(RAX, state.pkru);
    this.write(RDX, 0n);
    return DONE;
  }

  private wrmsr(): Intercepted {
    const value = ((this.words[RDX] & U32) << 32n) | (this.words[RAX] & U32);
    const number = this.words[RCX] & U32;
    if (number === IA32_EFER) return this.writeEfer(value);
    if (number !== IA32_PKRS) return RUN;
    // The MSR exists whatever CR4.PKS says; its upper half is reserved.
    if (value > U32) return GP;
    changeRights(this.tlb, { pkrs: value });
    return DONE;
  }

  /** LMA is read-only; LME cannot change while paging is on. */
  private writeEfer(value: bigint): Intercepted {
    const { efer } = this.tlb.paging.state;
    if (value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)) return GP;
    if ((value ^ efer) & EFER_LME) return GP;
    const stored = (value & ~EFER_LMA) | (efer & EFER_LMA);
    this.cpu.writeRegister(`msr:0x${IA32_EFER.toString(16)}`, stored);
    changeRights(this.tlb, { efer: stored });
    return DONE;
  }

  private rdmsr(): Intercepted {
    const number = this.words[RCX] & U32;
    const { efer, pkrs } = this.tlb.paging.state;
    if (number !== IA32_EFER && number !== IA32_PKRS) return RUN;
    const value = number === IA32_EFER ? efer : pkrs;
    this.write(RAX, value & U32);
    this.write(RDX, value >> 32n);
    return DONE;
  }
}

/** Number of the control register in ModRM.reg, with REX.R. */
const controlRegister = (d: Decoded): number => d.reg | (d.rex & 4 ? 8 : 0);
/** The general register of a move to or from a control register: ModRM.rm, the instruction's last byte, with REX.B. */
const operandRegister = (code: Uint8Array, d: Decoded): number =>
  generalIndex((code[d.length - 1] & 7) | (d.rex & 1 ? 8 : 0));
