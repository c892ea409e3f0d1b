// The code under test, from the forms a scenario gives it in to kernel text (or a BPF image) with symbols: assembly,
// bytes, or compiled objects.

import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import type { Assembled } from '../emulator/assembler.ts';
import { demangleRust } from '../emulator/elf/demangle-rust.ts';
import type { Linked, LinkedSymbol } from '../emulator/elf/link.ts';
import { CallError } from './call-error.ts';
import { type Images, imageName } from './images.ts';
import { bind, type LinkParts, loadObjects, loadOnce } from './link-objects.ts';
import type { ObjectFile } from './object-file.ts';
import { checkReachable } from './reach.ts';
import { nearest } from './scenario-error.ts';
import type { CallStep, Code } from './step-model.ts';
import { isKernelImage } from './vmlinux/image.ts';
import { imageSymbol, openImage } from './vmlinux/load.ts';

/** Name under which assembly and raw bytes appear in traces. */
export const CODE_SYMBOL = 'kfunc';

/** Code in memory, ready to be entered. */
export interface LoadedCode {
  /** First byte. */
  readonly start: VirtAddr;
  /** First instruction to run. */
  readonly entry: VirtAddr;
  readonly size: number;
  /** Labels of assembly, symbols of objects. */
  readonly labels: { get(name: string): bigint | undefined };
  /** Source lines of assembly. */
  readonly lines: Assembled['lines'];
}

/** Assembly or bytes: all labels are known. */
interface LoadedText extends LoadedCode {
  readonly labels: ReadonlyMap<string, bigint>;
}

export interface LoadParts extends LinkParts {
  readonly images: Images;
}

/**
 * Loads a call's code.
 * @param undo what takes its symbols and tables away again is added to it
 * @throws AssemblyError, CallError, OutOfMemory
 */
export function loadCode(parts: LoadParts, step: CallStep, undo: (() => void)[]): LoadedCode {
  const { kernel, images } = parts;
  const { code, image, caller } = step;
  const text = code.kind === 'object' ? null : loadText(parts, step, undo);
  const loaded = code.kind === 'object' ? loadObject(parts, step, code) : text!;
  if (image === 'bpf') {
    const [frame] = caller.frames;
    const prog = images.frameProgram(frame);
    undo.push(images.addKsym(imageName(prog.name), loaded.start, loaded.size, prog));
  } else if (text !== null) {
    addSymbols(parts, text, undo);
  }
  kernel.codeChanged();
  return loaded;
}

function loadText(parts: LoadParts, step: CallStep, undo: (() => void)[]): LoadedText {
  const { kernel } = parts;
  const { bytes, labels, lines } = assemble(parts, step, undo);
  if (bytes.length === 0) throw new CallError('the code is empty', 'give at least a return: ret');
  const start = kernel.text.load(bytes);
  return { start, entry: entryOf(step.code, start, labels), size: bytes.length, labels, lines };
}

function assemble(
  parts: LoadParts,
  { code, symbols: given }: CallStep,
  undo: (() => void)[],
): Pick<Assembled, 'bytes' | 'labels' | 'lines'> {
  const { kernel, assembler } = parts;
  if (code.kind === 'object') throw new TypeError('objects are linked, not assembled');
  if (code.kind === 'bytes') {
    return { bytes: code.bytes, labels: new Map(), lines: [] };
  }
  const bindings = bind(parts, given, undo);
  const symbols: Record<string, bigint> = Object.fromEntries(bindings.addresses);
  if (bindings.objects.size > 0) {
    const linked = loadObjects(parts, [], bindings, undo);
    for (const [name, { file, symbol }] of bindings.objects) {
      symbols[name] = definition(linked, symbol, file.path).address;
    }
  }
  const address = kernel.text.next;
  return assembler.assemble(code.text, { arch: kernel.arch.name, address, symbols });
}

function entryOf(code: Code, start: VirtAddr, labels: ReadonlyMap<string, bigint>): VirtAddr {
  if (code.kind !== 'text' || code.symbol === null) return start;
  const label = labels.get(code.symbol);
  if (label !== undefined) return virtAddr(label);
  const known = [...labels.keys()].join(', ');
  throw new CallError(
    `the code defines no label ${code.symbol}`,
    known === '' ? 'leave --symbol out, or define the label' : `its labels are ${known}`,
  );
}

function loadObject(
  parts: LoadParts,
  step: CallStep,
  code: Extract<Code, { kind: 'object' }>,
): LoadedCode {
  if (isKernelImage(code.file.bytes)) return inImage(code.file, code.symbol);
  const linked = loadOnce(parts, code.file, step.symbols);
  const [text] = linked.segments;
  if (text?.kind !== 'text') {
    throw new CallError(
      `${code.file.path}: holds no code`,
      'compile it from a file with a function',
    );
  }
  const entry = entryFunction(linked, code);
  checkReachable(parts.kernel, linked, entry);
  return {
    start: virtAddr(text.address),
    entry: virtAddr(entry.address),
    size: text.bytes.length,
    labels: new Map(linked.symbols.map(({ name, address }) => [name, address])),
    lines: [],
  };
}

/** A function of the kernel image, which is there since the machine started. */
function inImage(file: ObjectFile, symbol: string | null): LoadedCode {
  const image = openImage(file);
  if (symbol === null) {
    throw new CallError(
      `${file.path}: defines ${image.symbols.length} symbols`,
      'say which function is meant with `symbol:`',
    );
  }
  return {
    start: virtAddr(image.start),
    entry: virtAddr(imageSymbol(file, symbol).address),
    size: Number(image.end - image.start),
    labels: image.symbols,
    lines: [],
  };
}

/** The function that is called: the one named, or the object's only one. */
function entryFunction(linked: Linked, { file, symbol }: Extract<Code, { kind: 'object' }>) {
  const { path } = file;
  if (symbol !== null) return definition(linked, symbol, path);
  const own = linked.symbols.filter(({ object, isFunction }) => object.name === path && isFunction);
  const global = own.filter(({ isGlobal }) => isGlobal);
  const [only, ...others] = global.length > 0 ? global : own;
  if (only === undefined) throw new CallError(`${path}: defines no function`, 'give `symbol:`');
  if (others.length === 0) return only;
  const names = global.map(({ name }) => name).join(', ');
  throw new CallError(`${path}: defines several functions: ${names}`, 'say which with `symbol:`');
}

/** A Rust function by the name that people write. @throws CallError where several have it */
function byRustName(
  symbols: readonly LinkedSymbol[],
  name: string,
  path: string,
): LinkedSymbol | undefined {
  const [found, ...others] = symbols.filter((symbol) => demangleRust(symbol.name) === name);
  if (others.length === 0) return found;
  throw new CallError(
    `${path}: ${name} is the name of several functions`,
    `give the symbol of one: ${[found, ...others].map((symbol) => symbol.name).join(', ')}`,
  );
}

/** What an object defines under a name. @throws CallError if it does not */
export function definition({ symbols }: Linked, name: string, path: string) {
  const own = symbols.filter(({ object }) => object.name === path);
  const found = own.find((symbol) => symbol.name === name) ?? byRustName(own, name, path);
  if (found?.isIndirect) {
    throw new CallError(
      `${path}: ${name} is an indirect function (IFUNC), which a program's loader resolves`,
      'name one of its implementations, which have objects of their own',
    );
  }
  if (found !== undefined) return found;
  const known = own.filter(({ isFunction }) => isFunction).map((symbol) => symbol.name);
  throw new CallError(`${path}: does not define ${name}`, otherFunctions(name, known));
}

/** Functions up to which an error names them all. */
const FEW = 12;

/** What an object has that does not define a function. */
function otherFunctions(name: string, known: readonly string[]): string {
  const clone = known.find((one) => one.startsWith(`${name}.`));
  if (clone !== undefined) {
    return `it has ${clone}, which the compiler made of it: compile it with noipa`;
  }
  if (known.length === 0) return 'it defines no function';
  if (known.length <= FEW) return `its functions are ${known.join(', ')}`;
  const near = nearest(name, known);
  const hint = near === null ? '' : `did you mean ${near}? `;
  return `${hint}compilers put static functions into their callers: compile it with noinline`;
}

/** The code's own symbol, and one for each label that is called: functions, as the unwinder needs them. */
function addSymbols(
  { kernel: { symbols } }: LoadParts,
  { start, size, labels, lines }: LoadedText,
  undo: (() => void)[],
): void {
  const called = new Set(
    lines.flatMap(({ text }) => /^\s*(?:call|bl)\s+([A-Za-z_.$][\w.$]*)/.exec(text)?.[1] ?? []),
  );
  const starts = [...labels]
    .filter(([name, at]) => called.has(name) && at !== start)
    .sort((a, b) => (a[1] < b[1] ? -1 : 1));
  const end = start + BigInt(size);
  const all: [string, bigint][] = [[CODE_SYMBOL, start], ...starts];
  all.forEach(([name, at], i) => {
    const next = all[i + 1]?.[1] ?? end;
    const symbol = symbols.add(name, virtAddr(at), Number(next - at));
    undo.push(() => symbols.remove(symbol));
  });
}
