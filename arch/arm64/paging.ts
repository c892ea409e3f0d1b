// The AArch64 paging unit: stage 1 translation of the EL1&0 regime with VMSAv8-64 descriptors, after the pseudocode
// AArch64.S1Translate() and AArch64.S1Walk() (DDI 0487, J1.1.5) and chapter D8: granules of 4K, 16K and 64K, LPA and
// LPA2, blocks, hierarchical and leaf permissions, PAN, WXN, E0PD, access flag and dirty state in hardware. One call
// translates an access within one page; access.ts makes whole accesses of it, mm/tlb.ts remembers.
// Left out: stage 2 (so S1PTW is 0), permission indirection and overlays, GPT checks. CONSTRAINED UNPREDICTABLE choices:
// Device memory executes as Normal Non-cacheable; a permission or alignment fault leaves the access flag
// alone; a contiguous group is walked entry by entry, which a well-formed group cannot tell.
import type { VirtAddr } from '../../emulator/address.ts';
import { type AccessKind, FETCH, PERM_R, PERM_W, PERM_X } from '../../emulator/engine.ts';
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
  WalkRecord,
  walk,
} from '../../mm/walk.ts';
import { type AccessType, AS_EL0, PLAIN, PRESENT_EL, UNPRIVILEGED } from './access-type.ts';
import {
  dataAbort,
  FSC_ACCESS_FLAG,
  FSC_ADDRESS_SIZE,
  FSC_ALIGNMENT,
  FSC_PERMISSION,
  FSC_TLB_CONFLICT,
  FSC_TRANSLATION,
  FSC_WALK_ABORT,
  faultStatus,
  faultStatusName,
  instructionAbort,
} from './fault-code.ts';
import { inspectWalk } from './inspect.ts';
import type { Arm64PagingState } from './paging-state.ts';
import { AP2, allowedAt, combinedRights, HI_DBM, hiddenByPan, rightsText } from './permissions.ts';
import { type AddressHalf, isDevice, outputHi, prepareRegime, type Regime } from './regime.ts';

// ---- Registers and state ----

// They are described in paging-state.ts; what TCR_EL1 and the TTBRs make of an address in regime.ts.
export * from './paging-state.ts';

// ---- Geometry ----

const TWO_32 = 2 ** 32;

// Bits of a descriptor's lower half (DDI 0487, D8.3.1 and D8.3.2); permissions.ts has those of its upper half.
const VALID = 1 << 0;
const TABLE_OR_PAGE = 1 << 1;
const AF = 1 << 10;
const NG = 1 << 11;

// Rights that a TLB entry keeps: those of permissions.ts in bits 5:0, Device memory, and the level of the leaf.
const RIGHT_DEVICE = 1 << 6;
const RIGHT_VALID = 1 << 7;
const LEVEL_SHIFT = 8;
/** A negative entry: the fault status stands in the level's place. */
const NEGATIVE = 1 << 14;

const OUTER_SHAREABLE = 2;

/** The AArch64 paging unit of one vCPU over tables in `ram`. */
export class Arm64Paging implements Paging, EntryRules {
  readonly state: Arm64PagingState;
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
  translating = false;
  nextTable = 0;
  readonly faultInvalidates = false;
  readonly spaceName = 'ASID';
  readonly conflictRights = NEGATIVE | (FSC_TLB_CONFLICT << LEVEL_SHIFT);
  /** DFSC or IFSC of the last refusal: the low bits of `faultCode`, and PAR_EL1.FST. */
  faultStatus = 0;
  /** Memory attributes of the last translation as a MAIR_EL1 byte, and its SH field. */
  memAttr = 0;
  shareability = 0;

  /**
   * What the next accesses are, for callers that know more than the engine's three kinds (access.ts); null for plain
   * loads, stores and fetches.
   */
  access: AccessType | null = null;
  /**
   * Tells PSTATE.PAN where a program can change it without anybody noticing. It is asked when it matters: at an access of
   * EL1 to what EL0 can reach. null: {@link state} holds what is true.
   */
  livePan: (() => boolean) | null = null;
  /** The last translation reached Device memory, whether it was granted or not. */
  device = false;

  /** The next accesses are not aligned to their size, which Device memory refuses. */
  unaligned = false;

  /** The descriptors that the last walk read, the half of the address space it was in, and why it stopped: an FSC_ value. */
  readonly record = new WalkRecord();
  half!: AddressHalf;
  stopKind = 0;

  /** {@link state} in the form that walks read. */
  regime!: Regime;
  /** Upper halves of the table descriptors of the walk under way, ORed. */
  private tableHi = 0;

  constructor(ram: Ram, state: Arm64PagingState) {
    this.ram = ram;
    this.state = state;
    this.configure();
  }

  /**
   * Takes over {@link state}, which the walks read in a prepared form only. It flushes no TLB.
   * @throws RangeError as {@link prepareRegime}
   */
  configure(): void {
    this.regime = prepareRegime(this.state);
    this.half = this.regime.lower;
    this.translating = this.regime.translating;
    this.space = this.regime.asid;
  }

  /** AArch64.GetVARange(): VA[55] chooses the half. */
  halfOf(hi: number): AddressHalf {
    return (hi & 0x0080_0000) === 0 ? this.regime.lower : this.regime.upper;
  }

  /** DDI 0487, D8.9 (address tagging): the byte that TBI ignores is replaced by copies of VA[55]. */
  untag(hi: number, kind: AccessKind): number {
    const half = this.halfOf(hi);
    if (!(kind === FETCH ? half.tbiFetch : half.tbi)) return hi;
    return ((hi & 0x00ff_ffff) | (half.sign & 0xff00_0000)) >>> 0;
  }

  // ---- Entry rules ----

  /**
   * AArch64.S1Walk(), one descriptor: its type (AArch64.DecodeDescriptorType()), then the size of the address it holds,
   * then the access flag.
   */
  visit(record: WalkRecord, step: number): Verdict {
    const half = this.half;
    const lo = record.entryLo[step];
    const hi = record.entryHi[step];
    const level = half.startLevel + step;
    if ((lo & VALID) === 0) {
      return this.stop(record.word[step] === OUTSIDE_RAM ? FSC_WALK_ABORT : FSC_TRANSLATION);
    }
    if ((lo & TABLE_OR_PAGE) === 0 && (level < half.blockLevel || level === 3)) {
      return this.stop(FSC_TRANSLATION);
    }
    const table = (lo & TABLE_OR_PAGE) !== 0 && level !== 3;
    const shift = record.shift[step];
    // AArch64.LeafBase(): the bits below a block's size are no part of its address.
    const oaHi = outputHi(half.oaFormat, hi, lo) & (table || shift < 32 ? -1 : -1 << (shift - 32));
    if ((oaHi & half.oaOutOfRange) !== 0) return this.stop(FSC_ADDRESS_SIZE);
    if (table) {
      this.tableHi |= hi;
      this.nextTable = oaHi * TWO_32 + ((lo & half.tableMask) >>> 0);
      return DESCEND;
    }
    return (lo & AF) === 0 && !this.regime.ha ? this.stop(FSC_ACCESS_FLAG) : LEAF;
  }

  private stop(kind: number): Verdict {
    this.stopKind = kind;
    return STOP;
  }

  // ---- Access rights ----

  private asEl0(access: AccessType): boolean {
    if (access.privilege === PRESENT_EL) return this.regime.el0;
    if (access.privilege === UNPRIVILEGED) return this.regime.el0 || !this.regime.uao;
    return access.privilege === AS_EL0;
  }

  /**
   * AArch64.S1HasAlignmentFault(), then S1HasPermissionsFault().
   * @returns true with `perms` set, or false with the fault set
   */
  private permit(rights: number, access: AccessType, el0: boolean): boolean {
    const device = (rights & RIGHT_DEVICE) !== 0;
    this.device = device;
    if (device && !access.fetch && (access.zeroes || this.unaligned)) {
      return this.refuse(FSC_ALIGNMENT, access);
    }
    const allowed = allowedAt(rights, el0, this.regime.wxn);
    const shown = !el0 && hiddenByPan(rights) && this.panNow() ? allowed & PERM_X : allowed;
    const needs = access.needsAtEl0Only && !el0 ? 0 : access.needs;
    const missing = needs & ~(access.pan ? shown : allowed);
    if (missing !== 0) {
      const status = FSC_PERMISSION + ((rights >>> LEVEL_SHIFT) & 3);
      return this.refuse(status, access, access.WnR || (missing & PERM_R) === 0);
    }
    this.perms = (rights & RIGHTS_DIRTY) !== 0 ? shown : shown & ~PERM_W;
    return true;
  }

  private panNow(): boolean {
    if (this.livePan === null) return this.regime.pan;
    return this.state.features.pan && this.livePan();
  }

  grant(rights: number, hi: number, _lo: number, kind: AccessKind): Grant {
    const access = this.access ?? PLAIN[kind];
    const el0 = this.asEl0(access);
    if (el0 && this.halfOf(hi).e0pd) {
      this.refuse(FSC_TRANSLATION, access);
      return REFUSED;
    }
    if ((rights & NEGATIVE) !== 0) {
      this.refuse((rights >>> LEVEL_SHIFT) & 0x3f, access);
      return REFUSED;
    }
    if (!this.permit(rights, access, el0)) return REFUSED;
    return access.dirties && (rights & RIGHTS_DIRTY) === 0 ? REWALK : GRANTED;
  }

  walk(hi: number, lo: number, kind: AccessKind, sideEffects: boolean): boolean {
    this.found = false;
    this.device = false;
    this.rights = NO_RIGHTS;
    this.record.length = 0;
    const access = this.access ?? PLAIN[kind];
    if (!this.translating) return this.flat(hi, lo, access);
    const half = this.halfOf(hi);
    const el0 = this.asEl0(access);
    // AArch64.VAIsOutOfRange(), then E0PD, EPD and the TTBR's own size, all reported at level 0.
    const check = access.fetch ? half.checkHiFetch : half.checkHi;
    const outside = ((hi ^ half.sign) & check) | ((lo ^ half.sign) & half.checkLo);
    if (outside !== 0 || half.disabled || (el0 && half.e0pd)) {
      return this.refuse(FSC_TRANSLATION, access);
    }
    if (half.rootOutOfRange) return this.refuse(FSC_ADDRESS_SIZE, access);
    this.half = half;
    this.tableHi = 0;
    const record = this.record;
    if (!walk(this.ram, half.geometry, half.root, hi, lo, this, record)) {
      return this.refuseWalk(access);
    }
    return this.finish(hi, lo, access, el0, sideEffects);
  }

  /** The part of AArch64.S1Translate() after the walk, which found the leaf in the record's last step. */
  private finish(
    hi: number,
    lo: number,
    access: AccessType,
    el0: boolean,
    sideEffects: boolean,
  ): boolean {
    const { record, half } = this;
    const leaf = record.length - 1;
    const leafHi = record.entryHi[leaf];
    const leafLo = record.entryLo[leaf];
    this.memAttr = this.regime.attrs[(leafLo >>> 2) & 7];
    this.shareability = half.sh >= 0 ? half.sh : (leafLo >>> 8) & 3;
    let rights =
      combinedRights(leafHi, leafLo, half.hpd ? 0 : this.tableHi, this.regime.hd) |
      (isDevice(this.memAttr) ? RIGHT_DEVICE : 0) |
      RIGHT_VALID |
      ((half.startLevel + leaf) << LEVEL_SHIFT);
    const clean = this.regime.hd && (leafLo & AP2) !== 0 && (leafHi & HI_DBM) !== 0;
    if (!clean || (sideEffects && access.dirties)) rights |= RIGHTS_DIRTY;
    this.found = true;
    this.rights = rights >>> 0;
    this.pageShift = record.shift[leaf];
    this.global = (leafLo & NG) === 0;
    this.pa = this.outputAddress(leafHi, leafLo, hi, lo);
    if (!this.permit(rights, access, el0)) {
      if (clean) this.rights = (rights & ~RIGHTS_DIRTY) >>> 0;
      return false;
    }
    if (sideEffects) this.updateLeaf(clean && access.dirties);
    return true;
  }

  /** StageOA(): the descriptor's address with the offset of the page or block. */
  private outputAddress(leafHi: number, leafLo: number, hi: number, lo: number): number {
    const shift = this.pageShift;
    const oaHi = outputHi(this.half.oaFormat, leafHi, leafLo);
    if (shift < 32) {
      const page = -1 << shift;
      return oaHi * TWO_32 + (((leafLo & page) | (lo & ~page)) >>> 0);
    }
    const block = -1 << (shift - 32);
    return ((oaHi & block) | (hi & ~block)) * TWO_32 + lo;
  }

  /** AArch64.S1DisabledOutput(): flat, Device-nGnRnE for data; only the physical address size can be exceeded. */
  private flat(hi: number, lo: number, access: AccessType): boolean {
    const check = access.fetch ? this.regime.flatCheckFetch : this.regime.flatCheck;
    if ((hi & check) !== 0) return this.refuse(FSC_ADDRESS_SIZE, access);
    if (!access.fetch && (access.zeroes || this.unaligned)) {
      return this.refuse(FSC_ALIGNMENT, access);
    }
    this.found = true;
    this.memAttr = 0;
    this.device = true;
    this.shareability = OUTER_SHAREABLE;
    this.pa = (hi & 0xf_ffff) * TWO_32 + lo;
    this.perms = PERM_R | PERM_W | PERM_X;
    this.pageShift = 12;
    this.global = true;
    return true;
  }

  // ---- Access flag and dirty state ----

  /** AArch64.S1Translate(): AF where TCR_EL1.HA asks for it, and AP[2] cleared on the first write, as one store. */
  private updateLeaf(makeDirty: boolean): void {
    const { record } = this;
    const leaf = record.length - 1;
    const before = record.entryLo[leaf];
    let after = this.regime.ha ? before | AF : before;
    if (makeDirty) after &= ~AP2;
    if (after >>> 0 !== before) this.ram.setWord(record.word[leaf], after);
  }

  // ---- Fault code ----

  /** AArch64.FaultSyndrome() of an abort taken to EL1. @returns false */
  private refuse(status: number, access: AccessType, WnR = access.WnR): false {
    this.faultStatus = status;
    this.faultCode = access.fetch
      ? instructionAbort(this.regime.el0, status)
      : dataAbort(this.regime.el0, status, WnR, access.CM);
    this.faultVector = this.faultCode >>> 26;
    return false;
  }

  private refuseWalk(access: AccessType): false {
    const level = this.half.startLevel + this.record.length - 1;
    const status = faultStatus(this.stopKind, level);
    if (this.stopKind === FSC_TRANSLATION) {
      this.rights = NEGATIVE | (status << LEVEL_SHIFT);
      this.pageShift = this.half.granuleShift;
    }
    return this.refuse(status, access);
  }

  // ---- Inspection ----

  /** What either exception level may do, before PAN and WXN; `clean`: a write sets dirty state first. */
  describeRights(rights: number): string {
    if ((rights & NEGATIVE) !== 0) return faultStatusName((rights >>> LEVEL_SHIFT) & 0x3f);
    const device = (rights & RIGHT_DEVICE) !== 0 ? ', Device' : '';
    return `${rightsText(rights)}${device}${(rights & RIGHTS_DIRTY) === 0 ? ', clean' : ''}`;
  }

  inspect(va: VirtAddr, kind: AccessKind): WalkReport {
    return inspectWalk(new Arm64Paging(this.ram, { ...this.state }), va, kind);
  }
}
