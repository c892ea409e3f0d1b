// The debugger's commands, by gdb's names and with gdb's output where it has the same thing to say.
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hex, hex16, s64 } from '../emulator/bits.ts';
import type { Debugger, DebugStop } from '../testbed/debugger.ts';
import type { FaultStep } from '../testbed/fault-steps.ts';
import type { StepRun } from '../testbed/run.ts';
import type { Scenario } from '../testbed/scenario.ts';
import { examine, parseExamine } from './debug-examine.ts';
import { evaluate } from './debug-expression.ts';
import { ALIASES, HELP } from './debug-help.ts';
import { HistoryCommands } from './debug-history.ts';
import { arenaLines, breakpointLines, faultLines, symbolText } from './debug-info.ts';
import { CliError } from './errors.ts';
import { located } from './execute.ts';
import type { Explainer } from './explain.ts';
import { placeText, stepLines } from './tell.ts';
import { tlbLines } from './tlb.ts';
import { walkLines } from './walk.ts';

type Handler = (rest: string) => void;

export class DebugCommands {
  /** Values printed so far: gdb numbers them. */
  private printed = 0;
  /** What `stepfault` said last of what a fault changes. */
  private told = '';
  private readonly debug: Debugger;
  private readonly scenario: Scenario;
  private readonly out: (text: string) => void;
  private readonly explainer: Explainer | null;
  private readonly history: HistoryCommands;
  private readonly handlers: Readonly<Record<string, Handler>>;

  /** @param explainer tells what is printed, and by whom; null: it is told plainly */
  constructor(
    debug: Debugger,
    scenario: Scenario,
    out: (text: string) => void,
    explainer: Explainer | null = null,
  ) {
    this.debug = debug;
    this.explainer = explainer;
    this.scenario = scenario;
    this.out = out;
    this.history = new HistoryCommands(debug);
    this.handlers = {
      break: (rest) => this.break(rest),
      delete: (rest) => this.delete(rest),
      stepi: (rest) => this.stepi(rest),
      continue: () => this.stopped(this.located(() => this.debug.continue())),
      'reverse-stepi': (rest) =>
        this.stopped(this.history.reverseStepi(rest === '' ? 1 : positive(rest))),
      'reverse-continue': () => this.stopped(this.history.reverseContinue()),
      checkpoint: () => this.checkpoint(),
      restart: (rest) => this.restart(rest),
      stepfault: (rest) => this.stepfault(rest),
      info: (rest) => this.info(rest),
      print: (rest) => this.print(rest),
      disassemble: () => this.disassemble(),
      backtrace: () => this.backtrace(),
      help: () => this.line(HELP.join('\n')),
    };
  }

  /** A step that was done differs from what its scenario expects. */
  get differs(): boolean {
    return this.debug.done.some(({ failures }) => failures.length > 0);
  }

  /** Enters the first call and shows where we are. */
  begin(): void {
    const done = this.located(() => this.debug.start());
    for (const step of done) this.result(step);
    if (this.debug.call === null) this.line('The scenario has ended.');
    else this.where();
  }

  /** @returns false to quit. @throws CliError for a wrong command */
  execute(line: string): boolean {
    const [, word, rest] = /^([a-z-]+)\s*(.*)$/s.exec(line.trim()) ?? [];
    if (word === 'x') {
      this.x(rest);
      return true;
    }
    const name =
      word === undefined ? undefined : resolve(word, [...Object.keys(this.handlers), 'quit']);
    if (name === 'quit') return false;
    const handler = name === undefined ? undefined : this.handlers[name];
    if (handler === undefined) throw new CliError(`unknown command: ${line}`, "try 'help'");
    handler(rest.trim());
    return true;
  }

  private break(text: string): void {
    const place = text.replace(/^\*/, '');
    const addr = place === '' ? this.debug.ip : this.address(place);
    const { replacedText } = this.debug.run.kernel;
    if (replacedText.some(({ start, end }) => addr >= start && addr < end)) {
      throw new CliError(
        `${text} is code in the place of a function of the model: nothing stops within it`,
        "'stepfault' shows what it does to page tables, locks and streams, step by step",
      );
    }
    const { id } = this.debug.addBreakpoint(addr, text);
    this.line(`Breakpoint ${id} at ${hex(addr)}`);
  }

  private print(text: string): void {
    const value = this.address(text);
    this.line(`$${++this.printed} = ${hex(value)}`);
  }

  private checkpoint(): void {
    const { ip } = this.debug;
    const { id, place } = this.history.checkpoint(`${hex(ip)} ${this.symbol(ip)}`);
    this.line(`Checkpoint ${id}: ${place}`);
  }

  private restart(text: string): void {
    const { id } = this.history.restart(text);
    this.line(`Switching to checkpoint ${id}`);
    if (this.debug.call === null) this.line('The scenario has ended.');
    else this.where();
  }

  private delete(text: string): void {
    const [, which] = /^checkpoints?\b\s*(.*)$/.exec(text) ?? [];
    if (which !== undefined) {
      this.history.delete(which);
      return;
    }
    if (text === '') {
      for (const { id } of [...this.debug.breakpoints]) this.debug.deleteBreakpoint(id);
      return;
    }
    if (!this.debug.deleteBreakpoint(Number(text))) {
      throw new CliError(`no breakpoint ${text}`, "'info breakpoints' lists them");
    }
  }

  private stepi(text: string): void {
    const count = text === '' ? 1 : positive(text);
    for (let i = 0; i < count; i++) {
      const stop = this.located(() => this.debug.stepInstruction());
      if (stop.kind !== 'stepped' || i === count - 1) {
        this.stopped(stop);
        return;
      }
    }
  }

  private stepfault(text: string): void {
    const count = text === 'all' ? Number.POSITIVE_INFINITY : text === '' ? 1 : positive(text);
    for (let i = 0; i < count; i++) {
      const step = this.located(() => this.debug.stepFault());
      if ('kind' in step) {
        this.stopped(step);
        return;
      }
      this.tellFaultStep(step);
    }
  }

  private tellFaultStep({ title, detail }: FaultStep): void {
    this.line(`${title.padEnd(28)}  ${detail}`.trimEnd());
    const state = this.state();
    if (state !== this.told) this.line(`${' '.repeat(28)}  [${state}]`);
    this.told = state;
  }

  /** The state that a fault's way changes: the entry, the instruction pointer, the report stream. */
  private state(): string {
    const { run, vcpu, faultAddr } = this.debug;
    const { mm, ram, symbols } = run.kernel;
    const ptep = faultAddr === null ? null : mm.ptepOffset(faultAddr);
    const entry = ptep === null ? null : ram.read64(ptep);
    const pte = entry === null ? 'no table' : hex(entry);
    const kind = entry !== null && mm.format.pteNone(entry) ? ' (none)' : '';
    const stream = run.program(null).mainProg.streams[1].peek().length;
    return `pte ${pte}${kind}, ip ${symbols.format(this.debug.ip)}, retired ${vcpu.cpu.retired}, stderr ${stream} bytes`;
  }

  private info(text: string): void {
    const [what, ...rest] = text.split(/\s+/);
    const tellers: Readonly<Record<string, () => void>> = {
      registers: () => this.registers(rest),
      walk: () => this.walk(rest.join(' ')),
      arena: () => this.lines(arenaLines(this.debug.run)),
      faults: () => this.lines(faultLines(this.debug)),
      breakpoints: () => this.lines(breakpointLines(this.debug)),
      checkpoints: () => this.lines(this.history.lines()),
    };
    const name = resolve(what, Object.keys(tellers));
    if (name === undefined) {
      throw new CliError(
        `info: cannot tell of ${what || 'nothing'}`,
        'give registers, walk ADDRESS, arena, faults, breakpoints or checkpoints',
      );
    }
    tellers[name]();
  }

  private registers(names: readonly string[]): void {
    const { description } = this.debug.run.kernel.arch;
    for (const wanted of names.map((name) => name.replace(/^\$/, ''))) this.registerLine(wanted);
    if (names.length === 0) for (const name of description.general) this.registerLine(name);
  }

  private registerLine(name: string): void {
    const value = this.register(name);
    this.line(`${name.padEnd(14)} ${hex(value).padEnd(18)} ${s64(value)}`);
  }

  private walk(text: string): void {
    if (text === '') throw new CliError('info walk: no address', 'give an address: info walk $rdi');
    const report = this.debug.vcpu.paging.inspect(this.address(text), 0);
    this.line(`read of ${hex(report.va)}, ${placeText(this.debug.run, report.va)}`);
    this.lines([...walkLines(report), ...tlbLines(this.debug.run, report.va)]);
  }

  private x(rest: string): void {
    const { format, expression } = parseExamine(rest);
    const at = expression === '' ? this.debug.ip : this.address(expression);
    this.lines(examine(this.debug.run.kernel, at, format));
  }

  private disassemble(): void {
    const { call, ip, run } = this.debug;
    if (call === null) throw new CliError('no call is running', 'the scenario has ended');
    const end = call.code.start + BigInt(call.code.size);
    for (let at: bigint = call.code.start; at < end; ) {
      const insn = run.kernel.instructionAt(virtAddr(at));
      if (insn === null) break;
      this.line(`${at === ip ? '=>' : '  '} ${hex(at)} ${this.symbol(virtAddr(at))}: ${insn.text}`);
      at += BigInt(insn.bytes.length);
    }
  }

  private backtrace(): void {
    const { vcpu, run } = this.debug;
    const { kernel } = run;
    vcpu.cpu.readGeneral(vcpu.regs.words);
    let frame = 0;
    const tell = (ip: VirtAddr) => {
      this.line(`#${frame++}  0x${hex16(ip)} in ${kernel.symbols.format(ip)}`);
      return true;
    };
    kernel.arch.archBpfStackWalk(vcpu.faultContext, vcpu.regs, tell);
    if (frame === 0) tell(this.debug.ip);
  }

  private stopped(stop: DebugStop): void {
    switch (stop.kind) {
      case 'stepped':
        this.where();
        return;
      case 'breakpoint':
        this.line(`Breakpoint ${stop.breakpoint.id}, ${this.symbol(stop.breakpoint.addr)}`);
        this.where();
        return;
      case 'ended':
        this.result(stop.result);
        this.begin();
        return;
      case 'start':
        this.line('No more reverse-execution history.');
        if (this.debug.call !== null) this.where();
        return;
      case 'over':
        this.line('The scenario has ended.');
    }
  }

  private where(): void {
    const { ip, run } = this.debug;
    const text = run.kernel.instructionAt(ip)?.text ?? 'not readable';
    this.line(`=> ${hex(ip)} ${this.symbol(ip)}: ${text}`);
  }

  private result(step: StepRun): void {
    this.lines(stepLines(this.debug.run, step, undefined, this.explainer?.take()));
  }

  private symbol(ip: VirtAddr): string {
    return symbolText(this.debug.run, ip);
  }

  private register(name: string): bigint {
    const { arch } = this.debug.run.kernel;
    const { description } = arch;
    const generic: Readonly<Record<string, string>> = {
      pc: description.instructionPointer,
      sp: description.stackPointer,
      fp: arch.framePointer,
    };
    const own = description.general.includes(name) ? name : (generic[name] ?? name);
    if (!description.general.includes(own)) {
      throw new CliError(
        `no register ${name}`,
        `the registers are ${description.general.join(' ')}`,
      );
    }
    return this.debug.vcpu.cpu.readRegister(own);
  }

  /** @throws CliError */
  private address(text: string): VirtAddr {
    const { kernel } = this.debug.run;
    const value = evaluate(text, {
      register: (name) => this.register(name),
      named: (name) =>
        kernel.symbols.byName(name)?.start ??
        this.debug.call?.code.labels.get(name) ??
        kernel.arenas.get(name)?.kernVmStart,
    });
    return virtAddr(value);
  }

  private lines(texts: readonly string[]): void {
    for (const text of texts) this.line(text);
  }

  private line(text: string): void {
    this.out(`${text}\n`);
  }

  private located<T>(action: () => T): T {
    return located(this.scenario, this.debug.step, action);
  }
}

/** The name that `word` stands for: itself, an alias, or the one that it begins. @throws CliError if it begins several */
function resolve(word: string, names: readonly string[]): string | undefined {
  const name = ALIASES[word] ?? word;
  if (names.includes(name)) return name;
  const begun = word === '' ? [] : names.filter((candidate) => candidate.startsWith(word));
  if (begun.length > 1) throw new CliError(`${word} is ambiguous`, `give ${begun.join(' or ')}`);
  return begun[0];
}

function positive(text: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) {
    throw new CliError(`${text} is no count`, 'give a whole number from 1');
  }
  return Number(text);
}
