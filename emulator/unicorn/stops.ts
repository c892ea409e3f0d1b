// Why an entry into the library ended, told from its error code and what the callbacks heard: in the manual's terms,
// with the instruction pointer where hardware would leave it.
import { type VirtAddr, virtAddr } from '../address.ts';
import { hi32, join, lo32 } from '../bits.ts';
import { type AccessForm, type AccessKind, FETCH, READ, type Stop, WRITE } from '../engine.ts';
import { AccessJudge, type GeneralHalves } from './access.ts';
import { UC_ERR_EXCEPTION, UC_ERR_INSN_INVALID, UC_ERR_OK } from './binding.ts';
import type { Core } from './core.ts';
import type { Counter } from './counter.ts';
import { forgetException } from './exception-memory.ts';

const address = (hi: number, lo: number): VirtAddr => join(hi, lo) as VirtAddr;

/** A data access that faults, as the hardware reports it. */
export interface JudgedFault {
  readonly va: VirtAddr;
  readonly kind: AccessKind;
}

export class StopReader {
  private readonly core: Core;
  private readonly counter: Counter | null;
  private readonly judge: AccessJudge;

  constructor(core: Core, counter: Counter | null) {
    this.core = core;
    this.counter = counter;
    this.judge = new AccessJudge(core.code, core.window ?? halvesByCall(core));
  }

  /** What {@link explain} looked at last only has to be begun again. */
  again = false;

  /**
   * @param error what uc_emu_start returned
   * @param declined the fault that a handler was already asked about and would not repair
   * @returns null if nothing stopped the core but a count, or a trapped instruction was passed
   */
  explain(error: number, declined: JudgedFault | null): Stop | null {
    const { core } = this;
    const ip = core.ip();
    this.again = core.fills.takeReconsidered();
    if (this.again) return this.reconsider(ip);
    if (core.fills.trouble !== null)
      return this.refusedAsWrite(ip) ?? this.cannot(ip, core.fills.trouble);
    if (core.fills.refusedKind >= 0 && error === UC_ERR_EXCEPTION) {
      const fault =
        core.fills.refusedKind === FETCH ? fetchFault(core) : (declined ?? this.fault(ip));
      if (core.fills.refusedKind !== FETCH) this.leave(ip, fault);
      return { reason: 'fault', ip: virtAddr(ip), ...fault };
    }
    if (core.exception >= 0) return this.exception(ip, core.exception);
    if (error === UC_ERR_INSN_INVALID) {
      this.counter?.leftAt(ip);
      return { reason: 'exception', ip: virtAddr(ip), ...core.recipe.invalidInstruction };
    }
    if (error !== UC_ERR_OK) return this.cannot(ip, core.binding.errorText(error));
    if (core.stepping) return null;
    // The next instruction, whatever it is, is not to run any more.
    if (this.counter !== null && this.counter.remaining <= 0) return null;
    // Translation ended before what the core would not survive, or might not.
    if (core.code.fatal.has(ip)) return core.mayTranslate(ip) ? null : this.trap(ip);
    return this.cannot(ip, 'the core stopped and does not tell why');
  }

  /**
   * A read-modify-write is a write from the start: where that is refused, it does not matter that its read led nowhere.
   * @returns null if it is none, or not refused
   */
  private refusedAsWrite(ip: bigint): Stop | null {
    const { fills } = this.core;
    if (fills.refusedKind !== READ) return null;
    const fault = this.fault(ip);
    if (fault.kind !== WRITE || fills.probe(hi32(fault.va), lo32(fault.va), WRITE)) return null;
    this.leave(ip, fault);
    return { reason: 'fault', ip: virtAddr(ip), ...fault };
  }

  /** The fault behind a refused fill inside the callback. @returns null if only a restart can tell */
  judgeInPlace(hi: number, lo: number, kind: AccessKind): JudgedFault | null {
    const { judge, core } = this;
    const form = judge.judge(core.ip(), hi, lo, kind);
    if (form === null) return null;
    const va = this.reported(form);
    // The translator's record of its last failure is to be of the access that faults.
    if (judge.kind !== kind || form.lastByteFirst) core.fills.probe(hi32(va), lo32(va), judge.kind);
    return { va, kind: judge.kind };
  }

  private fault(ip: bigint): JudgedFault {
    const { core, judge } = this;
    const refused = core.fills.refusedKind as AccessKind;
    const form = judge.judge(ip, core.fills.refusedHi, core.fills.refusedLo, refused);
    if (!form) {
      const kind = judge.kindAt(ip, refused);
      const va = virtAddr(core.faultAddressNow() ?? core.fills.refusedPage());
      if (kind !== refused) core.fills.probe(hi32(va), lo32(va), kind);
      return { va, kind };
    }
    // The library's own address is that of the piece it began with, for a BCD the last.
    const va = this.reported(form);
    if (judge.kind !== refused || form.lastByteFirst)
      core.fills.probe(hi32(va), lo32(va), judge.kind);
    return { va, kind: judge.kind };
  }

  /** The address that the hardware reports for the access that was just judged. */
  private reported(form: AccessForm): VirtAddr {
    const { judge, core } = this;
    if (form.lastByteFirst) {
      const last = virtAddr(address(judge.startHi, judge.startLo) + BigInt(form.size - 1));
      if (!core.fills.probe(hi32(last), lo32(last), form.kind)) return last;
    }
    return address(judge.hi, judge.lo);
  }

  /** The instruction at `ip` is left for good: nothing of it may stay. */
  private leave(ip: bigint, fault: JudgedFault): void {
    this.counter?.leftAt(ip);
    if (this.undo(ip)) this.core.fills.probe(hi32(fault.va), lo32(fault.va), fault.kind);
  }

  /** Takes back what a store left on the page before the one that was refused. */
  private undo(ip: bigint): boolean {
    const { core, judge } = this;
    const refused = core.fills.refusedKind as AccessKind;
    if (refused !== WRITE) return false;
    const form = judge.judge(ip, core.fills.refusedHi, core.fills.refusedLo, refused);
    if (!form || !judge.crosses) return false;
    core.undoStore(judge.startHi, judge.startLo, form);
    return true;
  }

  private exception(ip: bigint, number: number): Stop {
    const { core } = this;
    this.counter?.leftAt(ip);
    if (core.recipe.remembersExceptions) forgetException(core);
    const name = core.recipe.exceptionName(number);
    return { reason: 'exception', ip: virtAddr(ip), number, name };
  }

  /** The core and the instruction set do not agree where the instruction at `ip` ends. */
  misread(ip: bigint): Stop {
    return this.cannot(ip, 'the core takes this instruction for a longer one');
  }

  private cannot(ip: bigint, why: string): Stop {
    this.counter?.leftAt(ip);
    return { reason: 'engine', ip: virtAddr(ip), bytes: this.core.code.instruction(ip), why };
  }

  /** The instruction at `ip` is begun again, in newly judged blocks. */
  private reconsider(ip: bigint): null {
    this.counter?.leftAt(ip);
    this.undo(ip);
    if (this.counter) this.counter.forgetBlocks();
    else this.core.dropBlocks();
    return null;
  }

  /** What {@link trap} looked at last is to be run by the core. */
  mayRun = false;

  /**
   * Deals with an instruction that must not reach the core, or that somebody wants to see first.
   * @returns null if it was passed, or is none, or {@link mayRun}
   */
  trap(ip: bigint): Stop | null {
    const { code } = this.core;
    const trap = code.trap(ip);
    this.mayRun = false;
    if (trap?.action === 'intercept') return this.intercept(virtAddr(ip));
    if (trap?.action === 'touch') return this.touch(ip);
    if (trap === null) return null;
    const { invalidInstruction } = this.core.recipe;
    if (trap.action === 'invalid') {
      return { reason: 'exception', ip: virtAddr(ip), ...invalidInstruction };
    }
    if (trap.action === 'halt') return { reason: 'halt', ip: virtAddr(ip), name: trap.name };
    return { reason: 'engine', ip: virtAddr(ip), bytes: code.instruction(ip), why: trap.why };
  }

  private intercept(ip: VirtAddr): Stop | null {
    const { code } = this.core;
    const made = code.interceptor!.intercept(ip, code.instruction(ip));
    switch (made.action) {
      case 'run':
        this.mayRun = true;
        return null;
      case 'done':
        return this.pass(ip);
      case 'fault':
        return { reason: 'fault', ip, va: made.va, kind: made.kind };
      case 'exception':
        return { reason: 'exception', ip, number: made.number, name: made.name };
    }
  }

  private pass(ip: bigint): null {
    const { core } = this;
    const { length } = core.code.instruction(ip);
    core.setIp(ip + BigInt(length));
    this.counter?.charge(ip, length);
    return null;
  }

  /** Makes the accesses of an instruction that the core would leave out, and passes it. */
  private touch(ip: bigint): Stop | null {
    const { judge, core } = this;
    for (const form of core.code.accesses(ip)) {
      judge.locate(form);
      if (!core.fills.probe(judge.startHi, judge.startLo, form.kind)) {
        const va = address(judge.startHi, judge.startLo);
        return { reason: 'fault', ip: virtAddr(ip), va, kind: form.kind };
      }
    }
    return this.pass(ip);
  }
}

/** An instruction that begins before the refused page runs into it; any other is at its own first byte there. */
function fetchFault(core: Core): JudgedFault {
  const ip = core.ip();
  const page = core.fills.refusedPage();
  return { va: virtAddr(ip >> 12n === page >> 12n ? ip : page), kind: FETCH };
}

/** General registers by a call of the library, where its memory cannot be looked at. */
function halvesByCall(core: Core): GeneralHalves {
  const words = new BigUint64Array(core.description.general.length);
  const halves = new Uint32Array(words.buffer);
  return {
    lo: (index) => {
      core.registers.readGeneral(words);
      return halves[index * 2];
    },
    hi: (index) => {
      core.registers.readGeneral(words);
      return halves[index * 2 + 1];
    },
  };
}
