// The stack of `current` as BPF looks at it: to find the running program (bpf_prog_find_from_stack()) and to print a
// trace into a stream (bpf_stream_stage_dump_stack()). One walk serves both, since nothing moves the stack of a task in
// between; the kernel walks twice. The text of a trace is kept while the same stack is printed again.
import type { StackFrame } from '../arch/unwind.ts';
import type { VirtAddr } from '../emulator/address.ts';
import type { KernelContext } from '../mm/context.ts';
import type { BpfKsyms, BpfProg } from './prog.ts';
import { BpfStreamStage } from './stream.ts';

/** What a trace needs of the kernel; {@link BpfHost} has it. */
export interface TraceHost {
  readonly kernel: KernelContext;
  stackWalk(): readonly VirtAddr[];
  stackFrames(): readonly StackFrame[];
  formatSymbol(ip: VirtAddr): string;
  current(): { readonly comm: string; readonly pid: number; readonly uid: number };
}

export class StackTrace {
  private readonly host: TraceHost;
  private readonly ksyms: BpfKsyms;
  /** Addresses that the last walk found. */
  private ips: readonly VirtAddr[] = [];
  /** All that it found, if compiled code wants it. */
  private frames: readonly StackFrame[] = [];

  // The main program of the innermost frame among `progIps`, looked up in that generation of symbols.
  private prog: BpfProg | null = null;
  private progIps: readonly VirtAddr[] | null = null;
  private progGeneration = 0;

  // What the kept dump was made from.
  private dump: BpfStreamStage | null = null;
  private dumpIps: readonly VirtAddr[] = [];
  private dumpCpu = 0;
  private dumpPid = 0;
  private dumpUid = 0;
  private dumpComm = '';
  private dumpGeneration = 0;

  constructor(host: TraceHost, ksyms: BpfKsyms) {
    this.host = host;
    this.ksyms = ksyms;
  }

  /** Walks the stack; the other methods speak of it until the next walk. */
  walk(): void {
    this.walkAgain();
    this.host.kernel.work.frames += this.ips.length;
  }

  /** The same walk once more: others have walked their own stacks since. It is no work of the kernel's. */
  walkAgain(): void {
    if (this.ksyms.compiled === null) {
      this.ips = this.host.stackWalk();
      return;
    }
    this.frames = this.host.stackFrames();
    this.ips = this.frames.map(({ ip }) => ip);
  }

  /** Walks for compiled code. @returns what arch_bpf_stack_walk() offers, innermost first */
  walkFrames(): readonly StackFrame[] {
    this.walk();
    return this.frames;
  }

  /** What the last walk offered, for compiled code. */
  get offered(): readonly StackFrame[] {
    return this.frames;
  }

  /**
   * bpf_prog_find_from_stack() on the last walk: the main program of the innermost BPF frame.
   * @returns null without a frame of a program
   * @kernel bpf_prog_find_from_stack kernel/bpf/core.c read
   */
  findProg(): BpfProg | null {
    const { ips, ksyms } = this;
    if (ksyms.compiled?.findFromStackCb) return ksyms.compiled.findFromStackCb(this.frames);
    // Compiled code is asked each time, as the kernel does.
    if (ksyms.compiled || ips !== this.progIps || ksyms.generation !== this.progGeneration) {
      this.prog = null;
      for (const ip of ips) {
        const prog = ksyms.findProg(ip);
        if (prog === null) continue;
        this.prog = prog.mainProg;
        break;
      }
      this.progIps = ips;
      this.progGeneration = ksyms.generation;
    }
    return this.prog;
  }

  /**
   * bpf_stream_stage_dump_stack() of the last walk. The result is shared: do not add to it.
   * @kernel bpf_stream_stage_dump_stack kernel/bpf/stream.c read
   */
  dumpStack(): BpfStreamStage {
    if (!this.dump || this.ksyms.compiled || !this.sameAsDumped()) this.dump = this.makeDump();
    return this.dump;
  }

  /** Forgets the text of symbols: call it after code, and so %pS of an address, has changed. */
  forgetSymbols(): void {
    this.dump = null;
  }

  private sameAsDumped(): boolean {
    const { kernel } = this.host;
    if (this.dumpCpu !== kernel.cpu || this.dumpGeneration !== this.ksyms.generation) return false;
    if (this.dumpIps !== this.ips && !this.sameIps(this.dumpIps)) return false;
    const { pid, uid, comm } = this.host.current();
    return pid === this.dumpPid && uid === this.dumpUid && comm === this.dumpComm;
  }

  private sameIps(others: readonly VirtAddr[]): boolean {
    const { ips } = this;
    return ips.length === others.length && ips.every((ip, i) => ip === others[i]);
  }

  private makeDump(): BpfStreamStage {
    const { kernel } = this.host;
    const { pid, uid, comm } = this.host.current();
    this.dumpIps = this.ips;
    this.dumpCpu = kernel.cpu;
    this.dumpPid = pid;
    this.dumpUid = uid;
    this.dumpComm = comm;
    this.dumpGeneration = this.ksyms.generation;
    const stage = new BpfStreamStage(kernel);
    let err = stage.printk(this.head());
    if (!err) err = stage.printk('Call trace:\n');
    for (let i = 0; i < this.ips.length && !err; i++) {
      err = stage.printk(this.frameText(this.ips[i]));
    }
    if (!err) stage.printk('\n');
    return stage;
  }

  /** The first line of a dump. */
  head(): string {
    const { pid, uid, comm } = this.host.current();
    return `CPU: ${this.host.kernel.cpu} UID: ${uid} PID: ${pid} Comm: ${comm}\n`;
  }

  /** @kernel dump_stack_cb kernel/bpf/stream.c read */
  frameText(ip: VirtAddr): string {
    const symbol = this.host.formatSymbol(ip);
    const info = this.ksyms.findProg(ip)?.lineInfo(ip);
    return info ? `${symbol}\n  ${info.line} @ ${info.file}:${info.num}\n` : `${symbol}\n`;
  }
}
