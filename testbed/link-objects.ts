// Compiled objects put into the modelled kernel: linked where the next code lies, with the built-in routines that they
// ask for, their exception tables added and, on x86, their alternatives applied.
import { sortExtable } from '../arch/extable.ts';
import { applyAlternatives } from '../arch/x86/alternatives.ts';
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import type { Assembler } from '../emulator/assembler.ts';
import { LinkError, type Linked, type LinkInput, link } from '../emulator/elf/link.ts';
import { ElfError, readElf, SHN_UNDEF } from '../emulator/elf/read.ts';
import { CallError } from './call-error.ts';
import type { Kernel } from './kernel.ts';
import { type ArenaPlace, resolveValue } from './places.ts';
import { nearest } from './scenario-error.ts';
import type { ArchName } from './scenario-model.ts';
import type { SymbolBinding } from './step-model.ts';
import { stubNames, stubText } from './stubs.ts';

export interface LinkParts {
  readonly kernel: Kernel;
  readonly assembler: Assembler;
  readonly places: readonly ArenaPlace[];
  /** CPU feature that alternatives ask for. */
  readonly erms: boolean;
}

/** An object by the path that the scenario gives. */
export interface ObjectFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What a scenario's `symbols:` come to. */
export interface Bindings {
  /** Addresses of what is bound to a value or a built-in routine. */
  readonly addresses: ReadonlyMap<string, bigint>;
  /** Paths of the objects that other names are bound to. */
  readonly objects: ReadonlyMap<string, ObjectFile>;
}

/**
 * Resolves values and loads built-in routines as kernel text.
 * @param undo what takes the routines' symbols away again is added to it
 * @throws CallError for a routine that there is none of
 */
export function bind(
  { kernel, assembler, places }: LinkParts,
  symbols: ReadonlyMap<string, SymbolBinding>,
  undo: (() => void)[],
): Bindings {
  const addresses = new Map<string, bigint>();
  const objects = new Map<string, ObjectFile>();
  for (const [name, binding] of symbols) {
    if (binding.kind === 'value') addresses.set(name, resolveValue(binding.value, places));
    else if (binding.kind === 'object') objects.set(name, binding);
    else addresses.set(name, loadStub(kernel, assembler, binding.name, undo));
  }
  return { addresses, objects };
}

function loadStub(
  kernel: Kernel,
  assembler: Assembler,
  name: string,
  undo: (() => void)[],
): VirtAddr {
  const { name: arch } = kernel.arch;
  const text = stubText(arch, name);
  if (text === null) {
    const known = stubNames(arch);
    const near = nearest(name, known);
    throw new CallError(
      `symbols: there is no built-in stub ${name} for ${arch}`,
      near === null
        ? `give an address or an object; stubs are ${known.slice(0, 5).join(', ')}`
        : `did you mean ${near}?`,
    );
  }
  const { bytes } = assembler.assemble(text, { arch, address: kernel.codeAddress });
  const at = kernel.loadText(bytes);
  const symbol = kernel.symbols.add(name, at, bytes.length);
  undo.push(() => kernel.symbols.remove(symbol));
  return at;
}

/**
 * Links objects and loads them.
 * @param files the first is the one whose functions are meant where none is named
 * @throws CallError for objects that cannot be put together
 */
export function loadObjects(
  parts: LinkParts,
  files: readonly ObjectFile[],
  bindings: Bindings,
  undo: (() => void)[],
): Linked {
  const { kernel } = parts;
  const inputs = new Map<string, LinkInput>();
  for (const file of [...files, ...bindings.objects.values()]) {
    if (!inputs.has(file.path)) inputs.set(file.path, readObject(file));
  }
  const linked = linking(() =>
    link([...inputs.values()], {
      address: kernel.codeAddress,
      pageSize: kernel.pageSize,
      resolve: (name) => {
        const object = bindings.objects.get(name);
        return bindings.addresses.get(name) ?? (object && inputs.get(object.path)!) ?? null;
      },
    }),
  );
  if (kernel.arch.name === 'x86_64') patch(linked, parts.erms);
  kernel.loadSegments(linked.segments);
  for (const { name, address, bytes } of linked.sections) {
    if (name !== '__ex_table' || bytes.length === 0) continue;
    undo.push(kernel.addExtableBytes(sortExtable(bytes), virtAddr(address)));
  }
  addSymbols(kernel, linked, undo);
  return linked;
}

/**
 * The object as it was loaded before with the same bindings, or newly loaded: its data lives as long as the kernel.
 * @throws CallError
 */
export function loadOnce(
  parts: LinkParts,
  file: ObjectFile,
  symbols: ReadonlyMap<string, SymbolBinding>,
): Linked {
  const known = parts.kernel.residentObjects;
  const bound = [...symbols].map(([name, binding]) => [name, bindingKey(binding)]);
  const key = JSON.stringify([file.path, bound]);
  const linked = known.get(key) ?? loadObjects(parts, [file], bind(parts, symbols, []), []);
  known.set(key, Object.freeze(linked));
  return linked;
}

/** The names that an object uses and does not define, bound to the built-in routines that there are. */
export function builtinBindings(arch: ArchName, bytes: Uint8Array): Map<string, SymbolBinding> {
  try {
    const names = readElf(bytes)
      .symbols.filter(({ section, name }) => section === SHN_UNDEF && stubText(arch, name) !== null)
      .map(({ name }): [string, SymbolBinding] => [name, { kind: 'stub', name }]);
    return new Map(names);
  } catch (error) {
    // Loading it will tell what is wrong.
    if (error instanceof ElfError) return new Map();
    throw error;
  }
}

const bindingKey = (binding: SymbolBinding): unknown => {
  if (binding.kind === 'stub') return binding.name;
  if (binding.kind === 'object') return { object: binding.path };
  const { value } = binding;
  return value.kind === 'integer'
    ? String(value.value)
    : [value.kind, value.arena, String(value.offset)];
};

function readObject({ path, bytes }: ObjectFile): LinkInput {
  try {
    return { name: path, elf: readElf(bytes) };
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    throw new CallError(`${path}: ${error.message}`, error.remedy);
  }
}

function linking<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    throw new CallError(error.message, error.remedy);
  }
}

function patch({ sections }: Linked, erms: boolean): void {
  const code = sections.filter(({ name }) =>
    /^\.(?:text|altinstr_replacement|init|noinstr|entry)/.test(name),
  );
  for (const table of sections.filter(({ name }) => name === '.altinstructions')) {
    try {
      applyAlternatives(table, code, erms);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new CallError(`${table.object.name}: ${error.message}`, 'compile it for 5.12 or later');
    }
  }
}

/** Functions, for traces and unwinding; one whose size the object does not say reaches to the next symbol. */
function addSymbols(kernel: Kernel, { symbols, segments }: Linked, undo: (() => void)[]): void {
  const [text] = segments;
  if (text?.kind !== 'text') return;
  const end = text.address + BigInt(text.bytes.length);
  const inText = symbols.filter(({ address }) => address >= text.address && address < end);
  inText.forEach(({ name, address, size, isFunction, isGlobal }, i) => {
    if (!isFunction && !isGlobal) return;
    const next = inText.slice(i + 1).find((other) => other.address > address)?.address ?? end;
    const symbol = kernel.symbols.add(name, virtAddr(address), size || Number(next - address));
    undo.push(() => kernel.symbols.remove(symbol));
  });
}
