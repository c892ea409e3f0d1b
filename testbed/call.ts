// A call of code under test: the code is loaded as kernel text (or as a BPF image), its callers are laid on the stack,
// arguments go into registers, and the vCPU runs until the code returns or cannot go on.
import type { ExtableLine as ResolvedLine } from '../arch/arch.ts';
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import type { Assembler } from '../emulator/assembler.ts';
import { hex } from '../emulator/bits.ts';
import { CallError } from './call-error.ts';
import { type CallerStack, type EntryState, layDownCallers } from './callers.ts';
import type { CostReport } from './costing.ts';
import type { Images } from './images.ts';
import type { Kernel } from './kernel.ts';
import { type LoadedCode, loadCode } from './load-code.ts';
import type { CallObserved } from './observed.ts';
import {
  type ArenaPlace,
  arenaNamed,
  type EntryArgument,
  isBuffer,
  isEntry,
  resolveValue,
} from './places.ts';
import type { Argument, CallStep, ExtableLine, World } from './scenario.ts';
import type { CallEnd, Vcpu } from './vcpu.ts';

/** The functions of ours on the stack: the outermost one, and the kernel C function between program and code. */
const ENTRY_SYMBOL = 'faultline_entry';
const CALLER_SYMBOL = 'faultline_caller';
const STUB_SIZE = 0x40;

/** EFLAGS: IF and the bit that is always set. */
const RFLAGS = 0x202n;

export { CallError };

/** What a call did, with what its document shows beyond what can be expected of it. */
export interface CallSeen extends CallObserved {
  readonly end: CallEnd;
  readonly registers: ReadonlyMap<string, bigint>;
  /** What it cost; null if nobody asked. */
  readonly cost: CostReport | null;
  /** Symbol of a place in code that ran, with offset and size; the same without; its source line, if it has one. */
  symbolAt(ip: bigint): string;
  functionAt(ip: bigint): string;
  lineAt(ip: bigint): string | null;
}

export interface CallParts {
  readonly kernel: Kernel;
  readonly images: Images;
  readonly assembler: Assembler;
  readonly places: readonly ArenaPlace[];
  readonly world: World;
}

/** One call from its loading to its report. The debugger drives the same object step by step. */
export class Call {
  readonly code: LoadedCode;
  readonly step: CallStep;
  readonly vcpu: Vcpu;
  private readonly parts: CallParts;
  private entryState!: EntryState;
  private readonly buffers: readonly (VirtAddr | null)[];
  private readonly entries: readonly (bigint | null)[];
  private firstFault = 0;
  private firstRetired = 0;
  private readonly undo: (() => void)[] = [];

  /** Loads the code and enters it. @throws AssemblyError, CallError, RangeError out of memory */
  constructor(parts: CallParts, step: CallStep, vcpu: Vcpu) {
    this.parts = parts;
    this.step = step;
    this.vcpu = vcpu;
    this.code = loadCode({ ...parts, features: parts.world.kernel }, step, this.undo);
    this.loadExtable();
    this.buffers = step.args.map((arg) =>
      isBuffer(arg) ? parts.kernel.allocBuffer(arg.bytes, arg.atEnd) : null,
    );
    this.entries = step.args.map((arg) => (isEntry(arg) ? this.entryOf(arg) : null));
    this.enter();
  }

  get limit(): number {
    return this.parts.world.limits.instructions ?? Number.POSITIVE_INFINITY;
  }

  /** Where the code returns to, and the call ends. */
  get returnAddress(): VirtAddr {
    return this.entryState.returnAddress;
  }

  /** Instructions that the call has retired so far. */
  get retired(): number {
    return this.vcpu.cpu.retired - this.firstRetired;
  }

  /** What a call that ended did. Takes the call's own symbols and tables away. */
  finish(end: CallEnd, streams: Pick<CallObserved, 'stderr' | 'stderrBytes'>): CallSeen {
    const seen = this.seen(end, streams);
    for (const undo of this.undo) undo();
    return seen;
  }

  /** What a call that ended did. */
  seen(end: CallEnd, streams: Pick<CallObserved, 'stderr' | 'stderrBytes'>): CallSeen {
    const { vcpu, firstFault } = this;
    const { kernel } = this.parts;
    const { arch } = kernel;
    const words = new BigUint64Array(arch.description.general.length);
    vcpu.cpu.readGeneral(words);
    const registers = new Map(arch.description.general.map((name, i) => [name, words[i]]));
    const count = vcpu.faults.length - firstFault;
    const instructions = this.retired;
    vcpu.cpu.drainAccesses();
    const cost =
      kernel.costing?.report(vcpu.cpu.takeEdges(), vcpu.costs!, kernel.cpus.length) ?? null;
    return {
      kind: 'call',
      outcome: end.outcome,
      end,
      ret: end.outcome === 'returned' ? (registers.get(arch.returnRegister) ?? 0n) : null,
      registers,
      faults: { length: count, at: (index) => vcpu.faults.at(firstFault + index) },
      oops: end.outcome === 'oops' ? end.lines : null,
      instructions,
      cycles: cost?.cycles ?? null,
      cost,
      ...this.namesOf(cost),
      readRegister: (name) => registers.get(name) ?? vcpu.cpu.readRegister(name),
      readArena: (arena, offset, length) => {
        const base = kernel.arenas.get(arena)?.kernVmStart ?? 0n;
        return kernel.memory.read(virtAddr(base + offset), length);
      },
      readBuffer: (arg, length) => {
        const at = this.buffers[arg] ?? null;
        return at === null ? null : kernel.memory.read(at, length);
      },
      ...streams,
    };
  }

  /** Names of places as they are while the call's own symbols are there. */
  private namesOf(cost: CostReport | null): Pick<CallSeen, 'symbolAt' | 'functionAt' | 'lineAt'> {
    const { symbols } = this.parts.kernel;
    const starts = new Map<bigint, string>();
    for (const { edge } of cost?.blocks.edges ?? []) {
      const { address } = edge.block;
      const symbol = symbols.find(virtAddr(address));
      if (symbol !== null) starts.set(symbol.start, symbol.name);
    }
    const nearest = (ip: bigint) =>
      [...starts].filter(([start]) => start <= ip).sort(([a], [b]) => (a > b ? -1 : 1))[0];
    const lines = new Map(this.code.lines.map((line) => [line.address, line]));
    return {
      symbolAt: (ip) => {
        const [start, name] = nearest(ip) ?? [0n, ''];
        return `${name}+${hex(ip - start)}`;
      },
      functionAt: (ip) => nearest(ip)?.[1] ?? hex(ip),
      lineAt: (ip) => {
        const line = lines.get(ip);
        return line === undefined ? null : `${line.line}: ${line.text.trim()}`;
      },
    };
  }

  private loadExtable(): void {
    const { kernel } = this.parts;
    const { extable, image, caller } = this.step;
    if (extable.length === 0) return;
    const lines = extable.map((line) => this.resolve(line));
    const at = kernel.text.next;
    if (image === 'kernel') {
      this.undo.push(fitting(() => kernel.addExtable(lines, at)));
      return;
    }
    const [frame] = caller.frames;
    const prog = this.parts.images.frameProgram(frame);
    const table = fitting(() => kernel.arch.buildExtable(lines, at));
    const { ksyms } = kernel.bpf;
    const entries = lines.flatMap((line) => kernel.arch.searchExtable(table, at, line.insn) ?? []);
    ksyms.setExtable(prog, entries, (place) => kernel.arch.buildExtable(lines, place));
    this.undo.push(() => ksyms.setExtable(prog, [], () => new Uint8Array()));
  }

  private resolve(line: ExtableLine): ResolvedLine {
    const insn = this.place(line.insn, line);
    const fixup = line.fixup === null ? this.behind(insn) : this.place(line.fixup, line);
    const { type, dst, arenaReg, offset, data } = line;
    return { insn, fixup, type, dst, arenaReg, offset, data };
  }

  private place(place: string | number, line: ExtableLine): VirtAddr {
    if (typeof place === 'number') return virtAddr(this.code.start + BigInt(place));
    const label = this.code.labels.get(place);
    if (label !== undefined) return virtAddr(label);
    throw new CallError(
      `extable: the code has no label ${place} (entry of type ${line.type})`,
      `define ${place}: in the code, or give a byte offset`,
      line.line,
    );
  }

  private behind(insn: VirtAddr): VirtAddr {
    const length = this.parts.kernel.instructionAt(insn)?.bytes.length ?? 1;
    return virtAddr(insn + BigInt(length));
  }

  private layDown(): EntryState {
    const { kernel, images } = this.parts;
    const { caller, image, args } = this.step;
    // The code is the innermost program's image: its frame is the code's own.
    const frames = image === 'bpf' ? caller.frames.slice(1) : caller.frames;
    const stack: CallerStack = {
      entry: { returnAddress: stubAddress(kernel, ENTRY_SYMBOL, 0) },
      programs: frames.map((f) => ({ returnAddress: images.returnAddress(f) })).reverse(),
      kernelFrame:
        caller.direct || image === 'bpf'
          ? null
          : { returnAddress: stubAddress(kernel, CALLER_SYMBOL, 1) },
      ...(kernel.finalRecord !== null && { finalRecord: kernel.finalRecord }),
      stackArguments: Math.max(0, args.length - kernel.arch.argumentRegisters.length),
    };
    const { stack: bottom, stackEnd } = this.vcpu.task;
    const linkRegister = kernel.arch.linkRegister !== null;
    return layDownCallers(stack, stackEnd, linkRegister, (va, value) => {
      if (va < bottom) {
        throw new CallError(
          `${frames.length} frames of programs do not fit on a kernel stack of ${hex(stackEnd - bottom)} bytes`,
          'give fewer frames, or a larger kernel.stack',
        );
      }
      this.writeWord(va, value);
    });
  }

  /** Values of the arguments, in order. */
  get argumentValues(): bigint[] {
    return this.step.args.map((arg, i) => this.argument(arg, i));
  }

  private argument(arg: Argument, index: number): bigint {
    if (isBuffer(arg)) return this.buffers[index]!;
    if (isEntry(arg)) return this.entries[index]!;
    if (arg.kind !== 'symbol') return resolveValue(arg, this.parts.places);
    const address = this.code.labels.get(arg.name);
    if (address !== undefined) return address;
    throw new CallError(
      `args: the code has no symbol ${arg.name}`,
      'name a function, variable or label of the code',
    );
  }

  /** Where the entry of a page lies in the direct map, or what it holds now. */
  private entryOf({ kind, arena, page }: EntryArgument): bigint {
    const { kernel, places } = this.parts;
    const { kbase, pageSize } = arenaNamed(arena, places);
    const ptep = kernel.mm.ptepAlloc(virtAddr(kbase + BigInt(page) * BigInt(pageSize)));
    if (ptep < 0)
      throw new CallError(`args: page ${page} has no table`, 'name a page of the arena');
    return kind === 'entry' ? kernel.ram.read64(ptep) : kernel.mapDirect(ptep);
  }

  private writeWord(va: VirtAddr, value: bigint): void {
    this.parts.kernel.memory.writeWord(va, value);
  }

  /** Lays the callers on the stack and sets registers and stack arguments for the code's first instruction. */
  enter(): void {
    const { kernel } = this.parts;
    this.entryState = this.layDown();
    this.firstFault = this.vcpu.faults.length;
    this.firstRetired = this.vcpu.cpu.retired;
    // What went before, the call's own set-up, is not its cost.
    this.vcpu.cpu.takeEdges();
    this.vcpu.cpu.drainAccesses();
    this.vcpu.costs?.take();
    const { arch } = kernel;
    const { cpu, regs } = this.vcpu;
    const { entryState: state, step } = this;
    cpu.readGeneral(regs.words);
    for (const name of arch.description.general) {
      if (name === 'rflags') regs.set(name, RFLAGS);
      else if (name !== 'pstate') regs.set(name, 0n);
    }
    step.args.forEach((arg, i) => {
      const value = this.argument(arg, i);
      const onStack = i - arch.argumentRegisters.length;
      if (onStack < 0) regs.set(arch.argumentRegisters[i], value);
      else this.writeWord(virtAddr(state.arguments + BigInt(onStack * 8)), value);
    });
    if (step.image === 'bpf') {
      const arena = kernel.arenas.get(step.caller.frames[0].arena ?? '');
      regs.set(arch.arenaBaseRegister, arena?.kernVmStart ?? 0n);
    }
    regs.set(arch.description.stackPointer, state.sp);
    regs.set(arch.framePointer, state.fp);
    if (arch.linkRegister !== null) regs.set(arch.linkRegister, state.returnAddress);
    regs.ip = this.code.entry;
    kernel.environment.enter(this.vcpu);
    cpu.writeGeneral(regs.words);
    this.vcpu.returnsTo = state.returnAddress;
    cpu.setExits(kernel.exits(state.returnAddress));
  }
}

/** Builds an exception table. @throws CallError for entries that no table can hold */
function fitting<T>(build: () => T): T {
  try {
    return build();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new CallError(`extable: ${error.message}`, 'change the entry');
  }
}

/** Return address in a function of ours, which has a symbol and no code: it is never run. */
function stubAddress(kernel: Kernel, name: string, index: number): VirtAddr {
  kernel.text.mapBlank(kernel.layout.text);
  const start = virtAddr(kernel.layout.text + BigInt(index * STUB_SIZE));
  if (kernel.symbols.byName(name) === null) kernel.symbols.add(name, start, STUB_SIZE);
  return virtAddr(start + BigInt(STUB_SIZE / 2));
}
