// ORC entries for code under test. A kernel has them from objtool, which follows the control flow of each function and
// tracks the stack pointer; here the same is done on demand, with an injected decoder. Left out: jump tables and other
// indirect jumps (code reached only by them has no entry), stacks kept in registers other than rsp and rbp, .cold
// parts, functions that never return, and a CFA behind a pointer. Where two ways meet with different stacks the first
// one found stands.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { DerivedMap, VerifiedMap } from '../../emulator/snapshot.ts';
import type { OrcEntry, OrcLookup } from '../unwind.ts';

/** One instruction, with capstone's Intel-syntax text. */
export interface DecodedInsn {
  /** Bytes, 1 to 15. */
  readonly length: number;
  readonly mnemonic: string;
  readonly operands: string;
}

/** Where code lies: its first instruction, and the first address behind it. */
interface FunctionBounds {
  readonly start: VirtAddr;
  readonly end: VirtAddr;
}

/** What {@link DerivedOrc} asks. */
export interface OrcSource {
  /** The function that holds `ip`; null for code that has no ORC data, such as BPF images. */
  functionAt(ip: bigint): FunctionBounds | null;
  /** The bytes of a function; null if not all of them can be read. */
  read(bounds: FunctionBounds): Uint8Array | null;
  /** The instruction at `va`, or null if there is none. */
  decode(va: VirtAddr): DecodedInsn | null;
}

/** Distances are CFA minus register or slot, in bytes; null where they are not known. */
interface FrameState {
  readonly sp: number | null;
  /** Of rbp as frame pointer. */
  readonly bp: number | null;
  /** Of the slot that holds the caller's rbp. */
  readonly saved: number | null;
  /** rbp still holds (or holds again) the caller's value. */
  readonly bpIntact: boolean;
}

/** At a function's entry the return address is all there is between rsp and the CFA. */
const ENTRY: FrameState = { sp: 8, bp: null, saved: null, bpIntact: true };

/** Instructions followed in one function at most. */
const MAX_INSNS = 65536;

const ENDS = /^(ret[fq]?|iret[dq]?|ud[012]|hlt|int3|sysret[q]?|jmp)$/;
const BRANCHES = /^(j|loop|xbegin)/;
/** Instructions whose first operand is read only. */
const READS_FIRST = /^(cmp|test|push|call|bt$|j|nop|out|prefetch|mul|div)/;

type OrcTable = readonly (OrcEntry | undefined)[];

/** Entries derived from code, once per function. */
export class DerivedOrc implements OrcLookup {
  private readonly source: OrcSource;
  /** By the start of a function, with the bytes that a table follows from. */
  private readonly tables = new VerifiedMap<bigint, { code: Uint8Array; table: OrcTable }>();
  private readonly found = new DerivedMap<bigint, OrcEntry | null>();

  constructor(source: OrcSource) {
    this.source = source;
  }

  find(ip: bigint): OrcEntry | null {
    const known = this.found.get(ip);
    if (known !== undefined) return known;
    const entry = this.look(ip);
    this.found.set(ip, entry);
    return entry;
  }

  /** Code was loaded or changed: what is kept is compared with it before it is believed. */
  clear(): void {
    this.found.clear();
  }

  private look(ip: bigint): OrcEntry | null {
    const bounds = this.source.functionAt(ip);
    if (bounds === null) return null;
    const code = this.source.read(bounds);
    const known = this.tables.get(bounds.start);
    const same = known && code && Buffer.compare(known.code, code) === 0;
    const table = same ? known.table : deriveTable(bounds, this.source);
    if (!same && code) this.tables.set(bounds.start, { code, table });
    return table[Number(ip - bounds.start)] ?? null;
  }
}

/** Where to go on following, and with which frame. */
interface Way {
  readonly ip: bigint;
  readonly state: FrameState;
}

/** The entry of every byte of a function's instructions, since a lookup may name the last byte of a call. */
function deriveTable(bounds: FunctionBounds, source: OrcSource): OrcTable {
  const table: (OrcEntry | undefined)[] = [];
  const visited = new Set<bigint>();
  const open: Way[] = [{ ip: bounds.start, state: ENTRY }];
  // A call may never return, and the code behind it then belongs to somebody else's branch: those ways come last.
  const behindCalls: Way[] = [];
  for (let way = open.pop(); way !== undefined; way = open.pop() ?? behindCalls.shift()) {
    let { ip, state } = way;
    while (ip >= bounds.start && ip < bounds.end && !visited.has(ip)) {
      if (visited.size >= MAX_INSNS) return table;
      visited.add(ip);
      const insn = source.decode(virtAddr(ip));
      if (insn === null) break;
      const entry = entryOf(state);
      const at = Number(ip - bounds.start);
      for (let i = at; i < at + insn.length; i++) table[i] = entry;
      const mnemonic = lastWord(insn.mnemonic);
      const target = BRANCHES.test(mnemonic) ? branchTarget(insn.operands) : null;
      if (target !== null) open.push({ ip: target, state });
      if (ENDS.test(mnemonic)) break;
      state = follow(state, insn);
      ip += BigInt(insn.length);
      if (mnemonic === 'call') {
        behindCalls.push({ ip, state });
        break;
      }
    }
  }
  return table;
}

function entryOf(state: FrameState): OrcEntry | undefined {
  const bpSlot = state.bpIntact || state.saved === null ? null : BigInt(state.saved);
  if (state.sp !== null) return { base: 'sp', offset: BigInt(state.sp), bpSlot };
  if (state.bp !== null) return { base: 'bp', offset: BigInt(state.bp), bpSlot };
  return undefined;
}

/** Prefixes such as `bnd`, `rep` and `notrack` come first in capstone's mnemonic. */
const lastWord = (mnemonic: string): string => mnemonic.slice(mnemonic.lastIndexOf(' ') + 1);

function branchTarget(operands: string): bigint | null {
  return /^(0x[0-9a-f]+|[0-9]+)$/.test(operands) ? BigInt(operands) : null;
}

/**
 * The state behind one instruction, after objtool's update_cfi_state().
 * @kernel update_cfi_state tools/objtool/check.c read - on demand, for code under test; no stack that is switched, or
 *   realigned through a register (DRAP)
 */
function follow(state: FrameState, insn: DecodedInsn): FrameState {
  const [first = '', second = ''] = insn.operands.split(/,(?![^[]*\])/).map((part) => part.trim());
  const { sp, bp } = state;
  const mnemonic = lastWord(insn.mnemonic);
  switch (mnemonic) {
    case 'push':
      return push(state, first === 'rbp', first);
    case 'pushfq':
      return push(state, false, 'rflags');
    case 'pop':
      return pop(state, first);
    case 'popfq':
      return moveSp(state, -8);
    case 'leave':
      return leave(state);
    case 'sub':
    case 'add':
      if (first !== 'rsp') break;
      return { ...state, sp: shifted(sp, immediate(second), mnemonic === 'sub' ? 1 : -1) };
    case 'lea':
      if (first === 'rsp' || first === 'rbp') return load(state, first, second);
      break;
    case 'mov':
      if (first === 'rbp' && second === 'rsp') return { ...state, bp: sp, bpIntact: false };
      if (first === 'rsp') return { ...state, sp: second === 'rbp' ? bp : null };
      if (second === 'rbp') return saveBp(state, stackSlot(state, first));
      if (first === 'rbp') return restoreBp(state, stackSlot(state, second));
      break;
    case 'xchg':
      if (second === 'rsp' || second === 'rbp') return clobber(state, second);
      break;
  }
  if (READS_FIRST.test(mnemonic)) return state;
  return clobber(state, first);
}

const moveSp = (state: FrameState, by: number): FrameState => ({
  ...state,
  sp: shifted(state.sp, by, 1),
});

const shifted = (from: number | null, by: number | null, sign: number): number | null =>
  from === null || by === null ? null : from + sign * by;

function push(state: FrameState, isBp: boolean, operand: string): FrameState {
  // A 16-bit push moves rsp by 2; it names a 16-bit register or a word in memory.
  const size = /^([a-d]x|[sd]i|[sb]p|r\d+w|word .*)$/.test(operand) ? 2 : 8;
  const pushed = moveSp(state, size);
  return isBp ? saveBp(pushed, pushed.sp) : pushed;
}

function pop(state: FrameState, operand: string): FrameState {
  const popped = moveSp(state, -8);
  if (operand === 'rsp') return { ...state, sp: null };
  return operand === 'rbp' ? restoreBp(popped, state.sp) : popped;
}

function leave(state: FrameState): FrameState {
  return pop({ ...state, sp: state.bp }, 'rbp');
}

/** rbp is stored at `slot`: the caller's value, if rbp still holds it and no slot does yet. */
const saveBp = (state: FrameState, slot: number | null): FrameState =>
  state.bpIntact && state.saved === null && slot !== null ? { ...state, saved: slot } : state;

/** rbp is loaded from `slot`: the caller's value again if that is where it was saved. */
function restoreBp(state: FrameState, slot: number | null): FrameState {
  const back = slot !== null && slot === state.saved;
  return { ...state, bp: null, bpIntact: back, saved: back ? null : state.saved };
}

function clobber(state: FrameState, register: string): FrameState {
  if (/^(rsp|esp)$/.test(register)) return { ...state, sp: null };
  return /^(rbp|ebp|bp|bpl)$/.test(register) ? { ...state, bp: null, bpIntact: false } : state;
}

function load(state: FrameState, register: 'rsp' | 'rbp', memory: string): FrameState {
  const distance = stackSlot(state, memory);
  return register === 'rsp'
    ? { ...state, sp: distance }
    : { ...state, bp: distance, bpIntact: false };
}

/** CFA minus the address of a memory operand `[rsp + 0x10]`, `[rbp - 8]`; null for any other. */
function stackSlot(state: FrameState, memory: string): number | null {
  const parts = /\[(rsp|rbp)(?: ([+-]) (0x[0-9a-f]+|\d+))?\]$/.exec(memory);
  if (parts === null) return null;
  const displacement = parts[3] === undefined ? 0 : Number(parts[3]);
  return shifted(parts[1] === 'rsp' ? state.sp : state.bp, displacement, parts[2] === '-' ? 1 : -1);
}

/** An immediate as capstone prints it: 0x20, 8, -0x80, or a 64-bit two's complement. */
function immediate(text: string): number | null {
  const parts = /^(-?)(0x[0-9a-f]+|\d+)$/.exec(text);
  if (parts === null) return null;
  const value = Number(BigInt.asIntN(64, BigInt(parts[2])));
  return parts[1] === '-' ? -value : value;
}
