// What the next instruction of a vCPU is about to access: where each operand lies, whether the TLB answers or the tables
// are walked, and the words of RAM behind it. Nothing is changed by asking. Left out: instruction fetches, which races do
// not aim at, and operands whose address only the core knows (AccessForm.exact): those are told as unknown.
import { accessAddress } from '../emulator/access-form.ts';
import type { VirtAddr } from '../emulator/address.ts';
import { hi32, lo32 } from '../emulator/bits.ts';
import { type AccessForm, type AccessKind, WRITE } from '../emulator/engine.ts';
import { type AccessLog, CHANGED, LOOKED, type Shared } from '../mm/context.ts';
import { GRANTED, REFUSED, REWALK } from '../mm/paging.ts';
import { MISS } from '../mm/tlb.ts';
import type { Kernel } from './kernel.ts';
import type { Vcpu } from './vcpu.ts';

/** The part of an access that lies in one page. */
export interface PageAccess {
  readonly va: VirtAddr;
  /** Bytes. */
  readonly size: number;
  readonly kind: AccessKind;
  /** Physical address; null where the access will fault. */
  readonly pa: number | null;
  /** The TLB answers, be it with a refusal. */
  readonly hit: boolean;
}

/** Bits that x86's walker sets in an entry: A and D. */
const X86_AD = 0x60;

export class InsnAccesses {
  private readonly kernel: Kernel;
  private readonly forms = new Map<bigint, readonly AccessForm[]>();
  /** The TLB entry of a CPU for a page. */
  private readonly entries = new Map<string, Shared & { readonly va: VirtAddr }>();
  private readonly words: BigUint64Array;

  constructor(kernel: Kernel) {
    this.kernel = kernel;
    this.words = new BigUint64Array(kernel.arch.description.general.length);
  }

  /** TLB entries that were ever asked for, whether they exist or not. */
  get tlbEntries(): Iterable<Shared & { readonly va: VirtAddr }> {
    return this.entries.values();
  }

  /** @returns the accesses in order; null if one of them has an address that only the core knows */
  next(vcpu: Vcpu): readonly PageAccess[] | null {
    const { arch } = this.kernel;
    const ip = vcpu.cpu.readRegister(arch.description.instructionPointer);
    const forms = this.formsAt(ip as VirtAddr);
    if (forms.length === 0) return [];
    if (forms.some(({ exact }) => !exact)) return null;
    vcpu.cpu.readGeneral(this.words);
    return forms.flatMap((form) => this.parts(vcpu, form));
  }

  /** Tells `log` what these accesses look at and change. */
  note(vcpu: Vcpu, accesses: readonly PageAccess[], log: AccessLog): void {
    for (const { va, size, kind, pa, hit } of accesses) {
      // A miss fills the entry, and a fault may drop it.
      log.object(this.entryOf(vcpu, va), hit && pa !== null ? LOOKED : LOOKED | CHANGED);
      // On a hit it is the invariants that compare with the entry.
      this.noteWalk(va, log, hit);
      if (pa === null) continue;
      const how = kind === WRITE ? LOOKED | CHANGED : LOOKED;
      for (let word = pa - (pa % 8); word < pa + size; word += 8) log.word(word, how);
    }
  }

  /** The leaf entry; upper levels of the kernel's half stand still. */
  private noteWalk(va: VirtAddr, log: AccessLog, hit: boolean): void {
    const { mm, ram, config, arch } = this.kernel;
    const ptep = mm.ptepOffset(va);
    if (ptep === null) return;
    const low = ram.word(ram.wordIndex(ptep));
    const marks =
      arch.linkRegister === null ? (low & 1) !== 0 && (low & X86_AD) !== X86_AD : config.hafdbs;
    log.word(ptep, marks && !hit ? LOOKED | CHANGED : LOOKED);
  }

  /** The TLB's entry of a CPU for a page, as something that steps look at and change. */
  entryOf(vcpu: Vcpu, va: VirtAddr): Shared {
    const page = va & ~0xfffn;
    const key = `${vcpu.id} ${page}`;
    let entry = this.entries.get(key);
    if (entry === undefined) {
      const { mmu } = vcpu;
      const [hi, lo] = [hi32(page), lo32(page)];
      const fingerprint = () => {
        const slot = mmu.tlb.lookup(hi, lo, mmu.paging.space);
        return slot === MISS ? 0 : mmu.tlb.pageAddr(slot) + mmu.tlb.rights(slot) / 2 ** 33 + 1;
      };
      entry = { label: `TLB ${key}`, va: page as VirtAddr, fingerprint };
      this.entries.set(key, entry);
    }
    return entry;
  }

  private formsAt(ip: VirtAddr): readonly AccessForm[] {
    let forms = this.forms.get(ip);
    if (forms === undefined) {
      const insn = this.kernel.instructionAt(ip);
      forms = insn === null ? [] : this.kernel.arch.description.instructions.accesses(insn.bytes);
      this.forms.set(ip, forms);
    }
    return forms;
  }

  private parts(vcpu: Vcpu, form: AccessForm): PageAccess[] {
    const parts: PageAccess[] = [];
    const start = accessAddress(form, this.words);
    for (let at = start, left = form.size; left > 0; ) {
      const size = Math.min(left, 0x1000 - Number(at & 0xfffn));
      parts.push(this.part(vcpu, at, size, form.kind));
      left -= size;
      at = BigInt.asUintN(64, at + BigInt(size)) as VirtAddr;
    }
    return parts;
  }

  private part({ mmu, paging }: Vcpu, va: VirtAddr, size: number, kind: AccessKind): PageAccess {
    const [hi, lo] = [hi32(va), lo32(va)];
    const slot = paging.translating
      ? mmu.tlb.lookup(paging.untag(hi, kind), lo, paging.space)
      : MISS;
    const grant =
      slot === MISS ? REWALK : paging.grant(mmu.tlb.rights(slot), paging.untag(hi, kind), lo, kind);
    if (grant === REFUSED) return { va, size, kind, pa: null, hit: true };
    if (grant === GRANTED) {
      const offset = Number(va & ((1n << BigInt(mmu.tlb.pageShift(slot))) - 1n));
      return { va, size, kind, pa: mmu.tlb.pageAddr(slot) + offset, hit: true };
    }
    const found = paging.walk(hi, lo, kind, false);
    return { va, size, kind, pa: found ? paging.pa : null, hit: false };
  }
}
