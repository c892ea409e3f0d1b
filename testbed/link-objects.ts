// Compiled objects put into the modelled kernel: linked where the next code lies, with the built-in routines that they
// ask for, their exception tables added and, on x86, their alternatives applied.
import { sortExtable } from '../arch/extable.ts';
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import type { Assembler } from '../emulator/assembler.ts';
import { LinkError, type Linked, type LinkInput, link } from '../emulator/elf/link.ts';
import { ElfError, type ElfFile, readElf, SHN_UNDEF } from '../emulator/elf/read.ts';
import { CallError } from './call-error.ts';
import type { Kernel } from './kernel.ts';
import { pullMembers } from './library.ts';
import type { ObjectFile } from './object-file.ts';
import { patchCode } from './patch-code.ts';
import { type ArenaPlace, resolveValue } from './places.ts';
import { nearest } from './scenario-error.ts';
import type { ArchName, CpuFeatures } from './scenario-model.ts';
import type { SymbolBinding } from './step-model.ts';
import { isAmbient, stubNames, stubText } from './stubs.ts';
import { isKernelImage } from './vmlinux/image.ts';
import { imageSymbol } from './vmlinux/load.ts';

export interface LinkParts {
  readonly kernel: Kernel;
  readonly assembler: Assembler;
  readonly places: readonly ArenaPlace[];
  readonly features: CpuFeatures;
  /** The objects are parts of something larger: only what is reached of them must be bound. */
  readonly partial?: boolean;
  /** Addresses that stand for functions and variables of the modelled kernel. */
  readonly modelled?: (name: string) => bigint | null;
}

/** What a scenario's `symbols:` come to. */
export interface Bindings {
  /** Addresses of what is bound to a value or a built-in routine. */
  readonly addresses: ReadonlyMap<string, bigint>;
  /** The objects that other names are bound to, and what they call them. */
  readonly objects: ReadonlyMap<string, { readonly file: ObjectFile; readonly symbol: string }>;
}

/**
 * Resolves values and loads built-in routines as kernel text.
 * @param undo what takes the routines' symbols away again is added to it
 * @throws CallError for a routine that there is none of
 */
export function bind(
  parts: LinkParts,
  symbols: ReadonlyMap<string, SymbolBinding>,
  undo: (() => void)[],
): Bindings {
  const addresses = new Map<string, bigint>();
  const objects = new Map<string, { file: ObjectFile; symbol: string }>();
  for (const [name, binding] of symbols) {
    if (binding.kind === 'value') addresses.set(name, resolveValue(binding.value, parts.places));
    else if (binding.kind !== 'object') addresses.set(name, loadStub(parts, binding.name, undo));
    else if (isKernelImage(binding.file.bytes)) {
      addresses.set(name, imageSymbol(binding.file, binding.symbol).address);
    } else objects.set(name, binding);
  }
  return { addresses, objects };
}

function loadStub({ kernel, assembler }: LinkParts, name: string, undo: (() => void)[]): VirtAddr {
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
  const { bytes } = assembler.assemble(text, { arch, address: kernel.text.next });
  const at = kernel.text.load(bytes);
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
  const bound = [...bindings.objects.values()].map(({ file }) => file);
  const byPath = new Map([...files, ...bound].map((file) => [file.path, file]));
  const inputs = new Map([...byPath].map(([path, file]) => [path, readObject(file)]));
  const isBound = (name: string) => bindings.addresses.has(name) || bindings.objects.has(name);
  for (const { library } of byPath.values()) {
    if (library !== null) pullMembers(library, inputs, isBound);
  }
  const ambient = new Map<string, bigint>();
  for (const name of undefinedNames([...inputs.values()])) {
    if (isBound(name)) continue;
    const address =
      parts.modelled?.(name) ??
      kernel.symbols.image?.named(name)?.address ??
      (isAmbient(kernel.arch.name, name)
        ? loadStub(parts, name, undo)
        : kernel.environment.address(name));
    if (address !== null) ambient.set(name, address);
  }
  const linked = linking(() =>
    link([...inputs.values()], {
      address: kernel.text.next,
      pageSize: kernel.pageSize,
      percpu: kernel.environment.percpuTemplate,
      resolve: (name) => {
        const object = bindings.objects.get(name);
        if (object !== undefined) {
          return { object: inputs.get(object.file.path)!, name: object.symbol };
        }
        return bindings.addresses.get(name) ?? ambient.get(name) ?? null;
      },
      partial: parts.partial || [...inputs.values()].some(isPartOfMore),
    }),
  );
  patchCode(linked, kernel.arch.name, parts.features);
  kernel.environment.use();
  kernel.text.loadSegments(linked);
  for (const { name, address, bytes } of linked.sections) {
    if (name !== '__ex_table' || bytes.length === 0) continue;
    undo.push(kernel.addExtableBytes(sortExtable(bytes), virtAddr(address)));
  }
  const [text] = linked.segments;
  for (const { ips, entries } of linked.orc) {
    if (text?.kind === 'text') {
      undo.push(kernel.addOrcTable(ips, entries, text.address + BigInt(text.bytes.length)));
    }
  }
  addSymbols(kernel, linked, undo);
  return linked;
}

/**
 * True for a kernel module or a member of an archive: made for a whole of which most is not here. What it uses of that
 * must be bound only as far as the called function can reach.
 */
const isPartOfMore = ({ name, elf }: LinkInput): boolean =>
  name.endsWith(')') || elf.sections.some((section) => section.name === '.modinfo');

function undefinedNames(inputs: readonly LinkInput[]): Set<string> {
  return new Set(
    inputs.flatMap(({ elf }) =>
      elf.symbols.filter(({ section }) => section === SHN_UNDEF).map(({ name }) => name),
    ),
  );
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
export function builtinBindings(arch: ArchName, file: ObjectFile): Map<string, SymbolBinding> {
  if (isKernelImage(file.bytes)) return new Map();
  try {
    const names = readElf(file.bytes)
      .symbols.filter(({ section, name }) => {
        return section === SHN_UNDEF && stubText(arch, name) !== null && !inLibrary(file, name);
      })
      .map(({ name }): [string, SymbolBinding] => [name, { kind: 'stub', name }]);
    return new Map(names);
  } catch (error) {
    // Loading it will tell what is wrong.
    if (error instanceof ElfError) return new Map();
    throw error;
  }
}

const inLibrary = ({ library }: ObjectFile, name: string): boolean =>
  library !== null && library.archive.definer(name) !== null;

const bindingKey = (binding: SymbolBinding): unknown => {
  if (binding.kind === 'stub') return binding.name;
  if (binding.kind === 'object') return [binding.file.path, binding.symbol];
  const { value } = binding;
  return value.kind === 'integer'
    ? String(value.value)
    : [value.kind, value.arena, String(value.offset)];
};

/** Objects are read again for every world that they run in. */
const read = new WeakMap<Uint8Array, ElfFile>();

/** @throws CallError for what is no object */
export function readObject({ path, bytes }: ObjectFile): LinkInput {
  try {
    const elf = read.get(bytes) ?? readElf(bytes);
    read.set(bytes, elf);
    return { name: path, elf };
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    throw new CallError(`${path}: ${error.message}`, error.remedy);
  }
}

/** @throws CallError instead of LinkError */
export function linking<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    throw new CallError(error.message, error.remedy);
  }
}

/** Functions, for traces and unwinding; one whose size the object does not say reaches to the next symbol. */
function addSymbols(kernel: Kernel, linked: Linked, undo: (() => void)[]): void {
  const { symbols, segments, missing } = linked;
  const add = (name: string, at: bigint, size: number) => {
    const symbol = kernel.symbols.add(name, virtAddr(at), size);
    undo.push(() => kernel.symbols.remove(symbol));
  };
  for (const { name, address } of missing) add(name, address, 1);
  const [text] = segments;
  if (text?.kind !== 'text') return;
  const end = text.address + BigInt(text.bytes.length);
  const inText = symbols.filter(({ address }) => address >= text.address && address < end);
  inText.forEach(({ name, address, size, isFunction, isGlobal }, i) => {
    // Assemblers' local labels, and the marks between code and data that arm64 compilers leave.
    if ((!isFunction && !isGlobal) || /^(?:\$|\.L)/.test(name)) return;
    let next = i + 1;
    while (next < inText.length && inText[next].address <= address) next++;
    const to = inText[next]?.address ?? end;
    // What an object says of sizes is not to be relied on: no function reaches past the text.
    add(name, address, Math.min(size || Number(to - address), Number(end - address)));
  });
}
