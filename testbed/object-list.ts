// What an object offers and needs: its functions and variables, the names that it leaves undefined and who would stand
// for them, and the kernel's tables that it brings.
import {
  ElfError,
  type ElfFile,
  readElf,
  SHF_EXECINSTR,
  SHN_ABS,
  SHN_COMMON,
  SHN_UNDEF,
  STB_LOCAL,
  STB_WEAK,
  STT_FILE,
  STT_FUNC,
  STT_GNU_IFUNC,
  STT_SECTION,
} from '../emulator/elf/read.ts';
import { isEnvironmentName } from './environment.ts';
import { type ObjectFile, ObjectFileError } from './object-file.ts';
import { isAmbient, stubText } from './stubs.ts';
import { isKernelImage, readKernelImage } from './vmlinux/image.ts';

export interface OfferedSymbol {
  readonly name: string;
  /** Section, or ABS, COMMON. */
  readonly section: string;
  /** Bytes; 0 if the object does not say. */
  readonly size: number;
  readonly binding: 'local' | 'global' | 'weak';
  /** An IFUNC: it can be neither called nor bound to. */
  readonly indirect: boolean;
  /** `EXPORT_SYMBOL`: in a module's __ksymtab. */
  readonly exported: boolean;
}

/** Who stands for an undefined name. */
export type Provider =
  /** Bound without asking: entries of compilers, per-CPU variables. */
  | 'kernel'
  /** Another member of the archive. */
  | 'archive'
  /** A built-in routine: bound by `run` of the object itself, and in scenarios if `symbols:` says so. */
  | 'stub'
  /** Weak: 0 if nothing is bound to it. */
  | 'weak'
  /** Nobody: `symbols:` must say. */
  | 'nobody';

export interface NeededSymbol {
  readonly name: string;
  readonly by: Provider;
}

export interface ObjectList {
  readonly file: string;
  readonly arch: 'x86_64' | 'arm64';
  readonly kind: 'object' | 'module' | 'image';
  readonly functions: readonly OfferedSymbol[];
  readonly variables: readonly OfferedSymbol[];
  readonly needs: readonly NeededSymbol[];
  /** Entries of the kernel's tables by section; bytes of those whose entries have no fixed size. */
  readonly tables: readonly { readonly section: string; readonly entries: number }[];
}

/** Names that compilers and the kernel's build leave beside what is meant. */
const MARK = /^(?:\$|\.L|__(?:k?symtab|kstrtab|kstrtabns|crc|pfx|UNIQUE_ID)_)/;
const GOT_SYMBOL = '_GLOBAL_OFFSET_TABLE_';

/** Bytes of an entry. `.altinstructions` has had two forms: told in bytes. */
const TABLES: readonly (readonly [string, number])[] = [
  ['__ex_table', 12],
  ['.altinstructions', 1],
  ['__jump_table', 16],
  ['__bug_table', 12],
  ['__ksymtab', 12],
  ['__ksymtab_gpl', 12],
  ['.orc_unwind_ip', 4],
  ['.retpoline_sites', 4],
  ['.return_sites', 4],
  ['__mcount_loc', 8],
  ['.debug_line', 1],
];

/** @throws ObjectFileError for a file that is no ELF object */
export function listObject(file: ObjectFile): ObjectList {
  if (isKernelImage(file.bytes)) return listImage(file);
  const elf = named(file.path, () => readElf(file.bytes));
  const exported = exportedNames(elf);
  const offered = elf.symbols
    .filter(({ name, section, type }) => {
      const isMark = MARK.test(name);
      const isReal = type !== STT_SECTION && type !== STT_FILE && section !== SHN_UNDEF;
      return name !== '' && isReal && !isMark;
    })
    .map((symbol) => ({
      isFunction:
        symbol.type === STT_FUNC || symbol.type === STT_GNU_IFUNC || isText(elf, symbol.section),
      symbol: {
        name: symbol.name,
        section: sectionName(elf, symbol.section),
        size: Number(symbol.size),
        binding: bindingName(symbol.binding),
        indirect: symbol.type === STT_GNU_IFUNC,
        exported: exported.has(symbol.name),
      },
    }));
  const functions = offered.filter((one) => one.isFunction).map(({ symbol }) => symbol);
  const variables = offered.filter((one) => !one.isFunction).map(({ symbol }) => symbol);
  return {
    file: file.path,
    arch: elf.machine,
    kind: kindOf(elf),
    functions,
    variables,
    needs: needsOf(elf, file),
    tables: TABLES.flatMap(([name, size]) => {
      const bytes = elf.sections
        .filter((s) => s.name === name)
        .reduce((n, s) => n + Number(s.size), 0);
      return bytes === 0 ? [] : [{ section: name, entries: Math.floor(bytes / size) }];
    }),
  };
}

/** A linked kernel needs nothing. Of its tables those are told that are used. */
function listImage({ path, bytes }: ObjectFile): ObjectList {
  const { machine, sections, symbols, extable, alternatives, jumpTable } = named(path, () =>
    readKernelImage(bytes),
  );
  const exported = new Set<string>();
  const all = Array.from({ length: symbols.length }, (_, i) => symbols.at(i));
  for (const { name } of all) {
    const match = /^__ksymtab_(.+)$/.exec(name);
    if (match !== null) exported.add(match[1]);
  }
  const offered = (isCode: boolean) =>
    all
      .filter((symbol) => symbol.isCode === isCode && !MARK.test(symbol.name))
      .map(({ name, address, size, binding }) => ({
        name,
        section:
          sections.find((s) => address >= s.address && address < s.address + BigInt(s.size))
            ?.name ?? 'ABS',
        size,
        binding,
        indirect: false,
        exported: exported.has(name),
      }));
  const found = { __ex_table: extable, '.altinstructions': alternatives, __jump_table: jumpTable };
  return {
    file: path,
    arch: machine,
    kind: 'image',
    functions: offered(true),
    variables: offered(false),
    needs: [],
    tables: TABLES.flatMap(([section, size]) => {
      const extent = found[section as keyof typeof found];
      return extent ? [{ section, entries: Math.floor(extent.length / size) }] : [];
    }),
  };
}

function named<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    throw new ObjectFileError(`${path}: ${error.message}`, error.remedy);
  }
}

function kindOf({ sections }: ElfFile): ObjectList['kind'] {
  return sections.some(({ name }) => name === '.modinfo') ? 'module' : 'object';
}

/** EXPORT_SYMBOL() leaves a symbol __ksymtab_NAME for each. */
const exportedNames = ({ symbols }: ElfFile): Set<string> =>
  new Set(symbols.flatMap(({ name }) => /^__ksymtab_(.+)$/.exec(name)?.[1] ?? []));

const isText = ({ sections }: ElfFile, index: number): boolean =>
  ((sections[index]?.flags ?? 0n) & SHF_EXECINSTR) !== 0n;

function sectionName({ sections }: ElfFile, index: number): string {
  if (index === SHN_ABS) return 'ABS';
  return index === SHN_COMMON ? 'COMMON' : (sections[index]?.name ?? '?');
}

const bindingName = (binding: number): OfferedSymbol['binding'] => {
  if (binding === STB_LOCAL) return 'local';
  return binding === STB_WEAK ? 'weak' : 'global';
};

function needsOf(elf: ElfFile, { library }: ObjectFile): NeededSymbol[] {
  return elf.symbols
    .filter(({ name, section }) => section === SHN_UNDEF && name !== '')
    .map(({ name, binding }): NeededSymbol => {
      if (
        isAmbient(elf.machine, name) ||
        isEnvironmentName(elf.machine, name) ||
        name === GOT_SYMBOL
      ) {
        return { name, by: 'kernel' };
      }
      if (library?.archive.definer(name)) return { name, by: 'archive' };
      if (stubText(elf.machine, name) !== null) return { name, by: 'stub' };
      return { name, by: binding === STB_WEAK ? 'weak' : 'nobody' };
    });
}
