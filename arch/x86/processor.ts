// The x86-64 vCPU as a whole: what the core asks, which of its instructions are executed here (arch/x86/control.ts), and
// which vector, error code and CR2 a refused access delivers. Left out: alignment checks (#AC), the segment limits and
// canonical checks of instruction pointers before a branch is taken (the fault is told at the target).
import type { VirtAddr } from '../../emulator/address.ts';
import { hi32, lo32, u64 } from '../../emulator/bits.ts';
import {
  type AccessKind,
  type Cpu,
  FETCH,
  type Intercepted,
  type Interceptor,
  type Translator,
  WRITE,
} from '../../emulator/engine.ts';
import type { Mmu } from '../../mm/mmu.ts';
import type { Processor, ProcessorParts, TakenFault } from '../processor.ts';
import { isControl, X86Control } from './control.ts';
import { decode } from './decode.ts';
import { operandAt, type PlacedOperand } from './effective-address.ts';
import { PF_W, VECTOR_GP, VECTOR_PF, VECTOR_SS } from './fault-code.ts';
import { X86Paging } from './paging.ts';
import { EFLAGS_AC } from './registers.ts';

export class X86Processor implements Processor, Interceptor {
  readonly mmu: Mmu;
  readonly translator: Translator;
  private readonly paging: X86Paging;
  private readonly parts: ProcessorParts;
  private cpu!: Cpu;
  private control!: X86Control;
  private words!: BigUint64Array;

  /** @throws TypeError if the MMU's paging unit is another architecture's */
  constructor(parts: ProcessorParts) {
    const { paging } = parts.mmu;
    if (!(paging instanceof X86Paging)) throw new TypeError('not an x86 paging unit');
    this.parts = parts;
    this.mmu = parts.mmu;
    this.translator = parts.mmu;
    this.paging = paging;
  }

  attach(cpu: Cpu): void {
    const { paging, parts, mmu } = this;
    this.cpu = cpu;
    this.control = new X86Control({ mmu, paging }, parts.ram, cpu);
    this.words = new BigUint64Array(cpu.description.general.length);
    paging.liveAc = () => (cpu.readRegister('rflags') & EFLAGS_AC) !== 0n;
    cpu.interceptor = this;
    this.refresh();
  }

  refresh(): void {
    const { cr0 } = this.paging.state;
    if (this.cpu.readRegister('cr0') !== cr0) this.cpu.writeRegister('cr0', cr0);
  }

  wants(code: Uint8Array): boolean {
    return isControl(code);
  }

  intercept(_ip: VirtAddr, code: Uint8Array): Intercepted {
    return this.control.execute(code);
  }

  taken(va: VirtAddr, kind: AccessKind, ip: VirtAddr): TakenFault {
    const { mmu } = this;
    const vector = mmu.faultVector;
    if (kind !== FETCH && (vector === VECTOR_GP || this.besideTheHole(va))) {
      const operand = this.operandAt(va, ip);
      if (operand && !this.canonical(operand)) {
        const taken = operand.stack ? VECTOR_SS : VECTOR_GP;
        return { ip, va: operand.va, kind, vector: taken, code: 0n };
      }
    }
    if (kind === mmu.faultKind || vector !== VECTOR_PF) {
      return { ip, va, kind, vector, code: mmu.faultCodeWord };
    }
    return { ip, va, kind, vector, code: BigInt(this.codeAs(va, kind)) };
  }

  takenException(): null {
    return null;
  }

  /** The engine reads the operand of a read-modify-write first; the CPU asks for a write at once. */
  private codeAs(va: VirtAddr, kind: AccessKind): number {
    const { paging, mmu } = this;
    if (!paging.walk(hi32(va), lo32(va), kind, false)) return paging.faultCode;
    // A stale entry refused it, which is gone now.
    return kind === WRITE ? mmu.faultCode | PF_W : mmu.faultCode;
  }

  /** An access can begin or end beyond the last canonical page, which the core finds out too late. */
  private besideTheHole(va: VirtAddr): boolean {
    const hi = hi32(va);
    const page = lo32(va) >>> 12;
    if (page === 0) return !this.paging.canonical((hi - 1) | 0);
    return page === 0xf_ffff && !this.paging.canonical((hi + 1) | 0);
  }

  private canonical({ va, size }: PlacedOperand): boolean {
    const last = u64(va + BigInt(size - 1));
    return this.paging.canonical(hi32(va)) && this.paging.canonical(hi32(last));
  }

  private operandAt(va: VirtAddr, ip: VirtAddr): PlacedOperand | null {
    const code = this.cpu.code(ip);
    this.cpu.readGeneral(this.words);
    return operandAt(this.cpu, code, decode(code), this.words, va);
  }
}
