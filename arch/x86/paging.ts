// The paging unit of an x86-64 CPU: 4- and 5-level paging with 4 KiB, 2 MiB and 1 GiB pages, its access rights,
// accessed and dirty flags, and the error code of a refusal (SDM Vol. 3A, 4.5 to 4.8). One call translates an access
// within one page; arch/x86/access.ts makes whole accesses of it, mm/tlb.ts remembers.
// Left out: 32-bit and PAE paging and paging switched off, shadow stacks (CR4.CET), LAM, HLAT, SGX, EPT, memory types.
// A table outside RAM reads as all ones on a PC: a reserved bit. A refused walk sets no accessed flag, as 4.8 permits.
import type { VirtAddr } from '../../emulator/address.ts';
import { hex, hi32, lo32 } from '../../emulator/bits.ts';
import {
  type AccessKind,
  FETCH,
  PERM_R,
  PERM_W,
  PERM_X,
  READ,
  WRITE,
} from '../../emulator/engine.ts';
import type { Ram } from '../../emulator/ram.ts';
import {
  GRANTED,
  type Grant,
  NO_RIGHTS,
  type Paging,
  REFUSED,
  REWALK,
  RIGHTS_DIRTY,
  type WalkReport,
} from '../../mm/paging.ts';
import {
  DESCEND,
  type EntryRules,
  LEAF,
  OUTSIDE_RAM,
  STOP,
  type Verdict,
  type WalkGeometry,
  WalkRecord,
  walk,
} from '../../mm/walk.ts';
import { PF_I, PF_P, PF_PK, PF_RSVD, PF_U, PF_W, VECTOR_GP, VECTOR_PF } from './fault-code.ts';
import { inspectWalk } from './inspect.ts';
import {
  CR0_PG,
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_PKE,
  CR4_PKS,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  type X86PagingState,
} from './paging-state.ts';

// ---- Registers and state ----

// They are described in paging-state.ts.
export * from './paging-state.ts';

// ---- Geometry ----

// SDM Vol. 3A, 4.5.4: nine bits a level, figures 4-8 to 4-11.
const FOUR_LEVELS: WalkGeometry = { firstShift: 39, firstBits: 9, indexBits: 9, pageShift: 12 };
const FIVE_LEVELS: WalkGeometry = { firstShift: 48, firstBits: 9, indexBits: 9, pageShift: 12 };

/** Bits 51:32 of an entry, in its upper half. */
const ADDRESS_HI = 0xf_ffff;
const TWO_32 = 2 ** 32;

// Bits of an entry's lower half (SDM Vol. 3A, tables 4-14 to 4-20); U/S and XD are read by shifts.
const P = 1 << 0;
const RW = 1 << 1;
const A = 1 << 5;
const D = 1 << 6;
const PS = 1 << 7;
const G = 1 << 8;
/** Bits 20:13 of a 2 MiB and 29:13 of a 1 GiB entry are reserved (tables 4-16 and 4-18). */
const RESERVED_2M = 0x001f_e000;
const RESERVED_1G = 0x3fff_e000;

// Rights that a TLB entry keeps: what all levels allow together (SDM Vol. 3A, 4.10.2.2), and the leaf's key.
const RIGHT_W = 1 << 0;
const RIGHT_U = 1 << 1;
const RIGHT_X = 1 << 2;
const RIGHT_PRESENT = 1 << 3;
const KEY_SHIFT = 4;
/** A negative entry: no right at all, but not NO_RIGHTS. */
const NEGATIVE = 1 << 8;

const NOT_PRESENT = 0;
const RESERVED = 1;

/** The x86-64 paging unit of one vCPU over tables in `ram`. */
export class X86Paging implements Paging, EntryRules {
  readonly state: X86PagingState;
  private readonly ram: Ram;

  pa = 0;
  perms = 0;
  found = false;
  rights = NO_RIGHTS;
  global = false;
  pageShift = 12;
  faultVector = 0;
  faultCode = 0;
  space = 0;
  nextTable = 0;
  readonly translating = true;
  readonly faultInvalidates = true;
  readonly spaceName = 'PCID';
  readonly conflictRights = null;

  /** The entries that the last walk read. */
  readonly record = new WalkRecord();
  /**
   * Tells EFLAGS.AC where a program can change it without anybody noticing. It is asked when it matters: at an access to
   * a user-mode address. null: {@link state} holds what is true.
   */
  liveAc: (() => boolean) | null = null;
  private geometry = FOUR_LEVELS;
  private root = 0;
  private reservedHi = 0;
  private la57 = false;
  private pge = false;
  private page1g = true;
  /** PERM_ bits by RIGHT_W | RIGHT_U | RIGHT_X, before the key has its say. */
  private readonly allowed = new Uint8Array(8);
  /** PERM_ bits that the key takes away, by key | user-mode address << 4. */
  private readonly denied = new Uint8Array(32);
  /** W/R, U/S and I/D of a refusal, by kind of access. */
  private readonly accessCode = new Uint8Array(3);
  private andLo = 0;
  private orHi = 0;
  private refusal = NOT_PRESENT;

  /** @throws RangeError as {@link configure} */
  constructor(ram: Ram, state: X86PagingState) {
    this.ram = ram;
    this.state = state;
    this.configure();
  }

  /**
   * Takes over {@link state}, which the walks read in a prepared form only. It flushes nothing: see arch/x86/tlb.ts.
   * @throws RangeError for a mode other than 4- or 5-level paging, or a field out of its range
   */
  configure(): void {
    const { cr0, cr3, cr4, efer, cpl, maxPhysAddr } = this.state;
    if (!(cr0 & CR0_PG) || !(cr4 & CR4_PAE) || !(efer & EFER_LMA)) {
      throw new RangeError(
        `not 4- or 5-level paging: CR0 ${hex(cr0)}, CR4 ${hex(cr4)}, EFER ${hex(efer)}`,
      );
    }
    if (!(maxPhysAddr >= 32 && maxPhysAddr <= 52)) {
      throw new RangeError(`MAXPHYADDR must be 32 to 52: ${maxPhysAddr}`);
    }
    if (!(cpl >= 0 && cpl <= 3)) throw new RangeError(`CPL must be 0 to 3: ${cpl}`);
    this.la57 = (cr4 & CR4_LA57) !== 0n;
    this.geometry = this.la57 ? FIVE_LEVELS : FOUR_LEVELS;
    // 4.5.2: bits 51:MAXPHYADDR of every entry, and bit 63 while EFER.NXE is 0 (tables 4-14 to 4-20).
    const beyond = ADDRESS_HI & ~(2 ** (maxPhysAddr - 32) - 1);
    this.reservedHi = efer & EFER_NXE ? beyond : beyond | 0x8000_0000;
    // Table 4-12: bits 11:0 of CR3 are flags or the PCID.
    this.root = (hi32(cr3) & ADDRESS_HI & ~beyond) * TWO_32 + ((lo32(cr3) & ~0xfff) >>> 0);
    this.space = cr4 & CR4_PCIDE ? Number(cr3 & 0xfffn) : 0;
    this.pge = (cr4 & CR4_PGE) !== 0n;
    this.page1g = this.state.page1g;
    this.prepareRights();
    this.prepareCodes();
  }

  // ---- Entry rules ----

  /** SDM Vol. 3A, 4.5.4 and 4.7: P is looked at first, then reserved bits, level by level. */
  visit(record: WalkRecord, step: number): Verdict {
    const lo = record.entryLo[step];
    const hi = record.entryHi[step];
    if ((lo & P) === 0) {
      this.refusal = record.word[step] === OUTSIDE_RAM ? RESERVED : NOT_PRESENT;
      return STOP;
    }
    this.andLo &= lo;
    this.orHi |= hi;
    const shift = record.shift[step];
    if ((hi & this.reservedHi) !== 0 || this.reservedLo(lo, shift)) {
      this.refusal = RESERVED;
      return STOP;
    }
    if (shift === 12 || (lo & PS) !== 0) return LEAF;
    this.nextTable = (hi & ADDRESS_HI) * TWO_32 + ((lo & 0xffff_f000) >>> 0);
    return DESCEND;
  }

  /** Reserved bits that depend on the level: bit 7 where no page is possible, low address bits of a large page. */
  private reservedLo(lo: number, shift: number): boolean {
    if (shift === 12 || (lo & PS) === 0) return false;
    if (shift === 21) return (lo & RESERVED_2M) !== 0;
    if (shift === 30) return !this.page1g || (lo & RESERVED_1G) !== 0;
    return true;
  }

  // ---- Access rights ----

  /** True if all bits above the linear-address width equal its top bit. SDM Vol. 1, 3.3.7.1; Vol. 3A, 4.5.3. */
  canonical(hi: number): boolean {
    const top = this.la57 ? hi >> 24 : hi >> 15;
    return top === 0 || top === -1;
  }

  /** x86 has no tags: LAM is not modelled. */
  untag(hi: number): number {
    return hi;
  }

  /** SDM Vol. 3A, 4.6.1, for every mix of the combined R/W, U/S and XD. */
  private prepareRights(): void {
    const { cr0, cr4, pkru, pkrs, ac, implicit } = this.state;
    const user = this.userAccess();
    const wp = (cr0 & CR0_WP) !== 0n;
    const smep = (cr4 & CR4_SMEP) !== 0n;
    // 4.6.1: EFLAGS.AC suspends SMAP for explicit accesses only.
    const smap = (cr4 & CR4_SMAP) !== 0n && (implicit || !ac);
    for (let rights = 0; rights < 8; rights++) {
      const w = (rights & RIGHT_W) !== 0;
      const u = (rights & RIGHT_U) !== 0;
      const x = (rights & RIGHT_X) !== 0;
      const data = user ? u : !(u && smap);
      const write = data && (w || (!user && !wp));
      const fetch = x && (user ? u : !(u && smep));
      this.allowed[rights] = (data ? PERM_R : 0) | (write ? PERM_W : 0) | (fetch ? PERM_X : 0);
    }
    // 4.6.2: a key controls data accesses only; PKRU those to user-mode addresses, IA32_PKRS the others.
    const keysOfUser = cr4 & CR4_PKE ? lo32(pkru) : 0;
    const keysOfSupervisor = cr4 & CR4_PKS ? lo32(pkrs) : 0;
    for (let at = 0; at < 32; at++) {
      const bits = (at & 16 ? keysOfUser : keysOfSupervisor) >>> ((at & 15) * 2);
      const accessDisable = (bits & 1) !== 0;
      const writeDisable = (bits & 2) !== 0 && (user || wp);
      this.denied[at] = accessDisable ? PERM_R | PERM_W : writeDisable ? PERM_W : 0;
    }
  }

  /** 4.6: accesses at CPL 3 are user-mode accesses, unless they are implicit. */
  private userAccess(): boolean {
    return this.state.cpl === 3 && !this.state.implicit;
  }

  private takeAc(ac: boolean): void {
    if (ac === this.state.ac) return;
    this.state.ac = ac;
    this.prepareRights();
  }

  grant(rights: number, _hi: number, _lo: number, kind: AccessKind): Grant {
    if ((rights & RIGHT_PRESENT) === 0) {
      this.faultVector = VECTOR_PF;
      this.faultCode = this.accessCode[kind];
      return REFUSED;
    }
    if (!this.permit(rights, kind)) return REFUSED;
    // 4.8: a write through an entry cached with D = 0 sets D in memory first.
    return kind === WRITE && (rights & RIGHTS_DIRTY) === 0 ? REWALK : GRANTED;
  }

  /** @returns true with `perms` set, or false with the fault set */
  private permit(rights: number, kind: AccessKind): boolean {
    if (this.liveAc !== null && (rights & RIGHT_U) !== 0) this.takeAc(this.liveAc());
    const denied = this.denied[((rights >>> KEY_SHIFT) & 15) | ((rights & RIGHT_U) << 3)];
    const perms = this.allowed[rights & 7] & ~denied;
    const wanted = 1 << kind;
    if ((perms & wanted) === 0) {
      this.faultVector = VECTOR_PF;
      this.faultCode = PF_P | this.accessCode[kind] | (denied & wanted ? PF_PK : 0);
      return false;
    }
    this.perms = rights & RIGHTS_DIRTY ? perms : perms & ~PERM_W;
    return true;
  }

  walk(hi: number, lo: number, kind: AccessKind, sideEffects: boolean): boolean {
    this.found = false;
    this.rights = NO_RIGHTS;
    if (!this.canonical(hi)) {
      this.faultVector = VECTOR_GP;
      this.faultCode = 0;
      return false;
    }
    this.andLo = -1;
    this.orHi = 0;
    const record = this.record;
    if (!walk(this.ram, this.geometry, this.root, hi, lo, this, record)) return this.refuse(kind);

    const leaf = record.length - 1;
    const leafLo = record.entryLo[leaf];
    const leafHi = record.entryHi[leaf];
    const rights =
      ((this.andLo & RW) >>> 1) |
      ((this.andLo >>> 1) & RIGHT_U) |
      (this.orHi < 0 ? 0 : RIGHT_X) |
      RIGHT_PRESENT |
      (((leafHi >>> 27) & 15) << KEY_SHIFT) |
      (leafLo & D ? RIGHTS_DIRTY : 0);
    this.found = true;
    this.rights = rights >>> 0;
    this.pageShift = record.shift[leaf];
    this.global = this.pge && (leafLo & G) !== 0;
    const offset = (1 << this.pageShift) - 1;
    this.pa = (leafHi & ADDRESS_HI) * TWO_32 + (((leafLo & ~offset) | (lo & offset)) >>> 0);
    if (!this.permit(rights, kind)) return false;
    if (!sideEffects) return true;
    this.setAccessedDirty(kind);
    if (kind === WRITE) {
      this.rights = (rights | RIGHTS_DIRTY) >>> 0;
      this.perms |= PERM_W;
    }
    return true;
  }

  // ---- Accessed and dirty flags ----

  /** SDM Vol. 3A, 4.8: A in every entry used, D in the one that maps the page if the access is a write. */
  private setAccessedDirty(kind: AccessKind): void {
    const { record, ram } = this;
    const leaf = record.length - 1;
    const dirty = kind === WRITE && (record.entryLo[leaf] & D) === 0;
    if ((this.andLo & A) !== 0 && !dirty) return;
    for (let step = 0; step <= leaf; step++) {
      const word = record.word[step];
      ram.setWord(word, ram.word(word) | (step === leaf && dirty ? A | D : A));
    }
  }

  // ---- Fault code ----

  /** SDM Vol. 3A, 4.7: I/D is only reported if SMEP or NXE can make a fetch differ from a read. */
  private prepareCodes(): void {
    const { cr4, efer } = this.state;
    const user = this.userAccess() ? PF_U : 0;
    this.accessCode[READ] = user;
    this.accessCode[WRITE] = user | PF_W;
    this.accessCode[FETCH] = user | (cr4 & CR4_SMEP || efer & EFER_NXE ? PF_I : 0);
  }

  private refuse(kind: AccessKind): false {
    this.faultVector = VECTOR_PF;
    if (this.refusal === RESERVED) {
      this.faultCode = PF_P | PF_RSVD | this.accessCode[kind];
      return false;
    }
    this.faultCode = this.accessCode[kind];
    this.rights = NEGATIVE;
    this.pageShift = 12;
    return false;
  }

  // ---- Inspection ----

  /** In the words of an entry's bits; `key=3` is a protection key. */
  describeRights(rights: number): string {
    if ((rights & RIGHT_PRESENT) === 0) return 'not present';
    const key = (rights >>> KEY_SHIFT) & 15;
    const words = [
      'P',
      rights & RIGHT_W ? 'RW' : '',
      rights & RIGHT_U ? 'US' : '',
      rights & RIGHTS_DIRTY ? 'D' : '',
      rights & RIGHT_X ? '' : 'XD',
      key === 0 ? '' : `key=${key}`,
    ];
    return words.filter((word) => word !== '').join(' ');
  }

  inspect(va: VirtAddr, kind: AccessKind): WalkReport {
    return inspectWalk(new X86Paging(this.ram, { ...this.state }), va, kind);
  }
}
