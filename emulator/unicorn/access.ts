// From a refused page to the fault that hardware would report: the library names the page and the kind of its own
// first access, the instruction says where the access begins and whether it is a write in the end.
import { type AccessForm, type AccessKind, READ, WRITE } from '../engine.ts';
import type { CodeMap } from './code-map.ts';

/** General registers as 32-bit halves. */
export interface GeneralHalves {
  lo(index: number): number;
  hi(index: number): number;
}

const TWO_32 = 2 ** 32;

/** Answers by fields, so that a fault makes no garbage. */
export class AccessJudge {
  private readonly code: CodeMap;
  private readonly general: GeneralHalves;
  /** First byte that the hardware names, after {@link judge} found one. */
  hi = 0;
  lo = 0;
  kind: AccessKind = READ;
  /** The access itself begins here, after {@link judge}. */
  startHi = 0;
  startLo = 0;
  /** It was the access's second page that was refused, after {@link judge}. */
  crosses = false;

  constructor(code: CodeMap, general: GeneralHalves) {
    this.code = code;
    this.general = general;
  }

  /**
   * Finds the access of the instruction at `ip` that a refused fill of kind `fill` for the page hi:lo belongs to.
   * @returns null if no access with a known address does
   */
  judge(ip: bigint, hi: number, lo: number, fill: AccessKind): AccessForm | null {
    const forms = this.code.accesses(ip);
    for (let i = 0; i < forms.length; i++) {
      const form = forms[i];
      if (form.exact && (form.kind === fill || fill === READ) && this.touches(form, hi, lo)) {
        this.kind = form.kind;
        return form;
      }
    }
    return null;
  }

  /**
   * Kind of the fault where the address does not matter: that of an access without a known address.
   * @returns `fill` if the instruction says nothing else
   */
  kindAt(ip: bigint, fill: AccessKind): AccessKind {
    const forms = this.code.accesses(ip);
    const vague = forms.some((form) => !form.exact && form.kind === WRITE);
    return vague && forms.every((form) => form.kind === WRITE) ? WRITE : fill;
  }

  /** True if the access reaches into the page hi:lo; sets {@link hi} and {@link lo}. */
  private touches(form: AccessForm, hi: number, lo: number): boolean {
    this.locate(form);
    const page = (lo & ~0xfff) >>> 0;
    const startsThere = this.startHi === hi && (this.startLo & ~0xfff) >>> 0 === page;
    const endLo = this.startLo + form.size - 1;
    const endHi = endLo >= TWO_32 ? (this.startHi + 1) >>> 0 : this.startHi;
    const endsThere = endHi === hi && (endLo & ~0xfff) >>> 0 === page;
    this.crosses = !startsThere;
    if (startsThere) {
      this.hi = this.startHi;
      this.lo = this.startLo;
      return true;
    }
    this.hi = hi;
    this.lo = page;
    return endsThere;
  }

  /** Sets {@link startHi} and {@link startLo} to the first byte of an access with a known address. */
  locate(form: AccessForm): void {
    let lo = form.displacementLo;
    let hi = form.displacementHi;
    if (form.base >= 0) {
      lo += this.general.lo(form.base);
      hi += this.general.hi(form.base);
    }
    if (form.index >= 0) {
      const scale = 1 << form.shift;
      const indexLo = this.general.lo(form.index);
      lo += indexLo * scale;
      if (form.extend === 'none') hi += this.general.hi(form.index) * scale;
      else if (form.extend === 'sxtw' && indexLo >= 0x8000_0000) hi -= scale;
    }
    this.startLo = lo >>> 0;
    this.startHi = (hi + Math.floor(lo / TWO_32)) >>> 0;
  }
}
