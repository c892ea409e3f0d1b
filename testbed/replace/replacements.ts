// Compiled code in the place of functions of the kernel model: loads the objects as parts of the kernel, binds what they
// call to the model, and hands their functions to it. Left out: objects' initialisers, and what a module's loader runs.
import { FRAME_SIZE, type Pfn, type VirtAddr, virtAddr } from '../../emulator/address.ts';
import type { Assembler } from '../../emulator/assembler.ts';
import { readLayouts } from '../../emulator/elf/layouts.ts';
import { type Linked, MISSING_SIZE } from '../../emulator/elf/link.ts';
import { SHN_UNDEF, STB_WEAK } from '../../emulator/elf/read.ts';
import { CallError } from '../call-error.ts';
import type { Kernel } from '../kernel.ts';
import { bind, builtinBindings, loadObjects, readObject } from '../link-objects.ts';
import { definition } from '../load-code.ts';
import type { ObjectFile } from '../object-file.ts';
import { checkRelocated } from '../reach.ts';
import type { CpuFeatures } from '../scenario-model.ts';
import { installFunctions } from './adapters/index.ts';
import { type CalleeParts, modelledCallees } from './callees/index.ts';
import { TABLE_CALLEES } from './callees/tables.ts';
import { AREA_CALLEES } from './callees/vmalloc.ts';
import { CodeHeap } from './code-heap.ts';
import { ExceptionFrame } from './exception-frame.ts';
import { ExtableMemory } from './extable-memory.ts';
import { EXTABLE_FUNCTIONS } from './functions/extable.ts';
import { isReplaceable, REPLACEABLE, type ReplaceableName } from './functions/index.ts';
import type { Replaceable } from './functions/replaceable.ts';
import { type Callee, GuestCalls, type ReturnTraps } from './guest-calls.ts';
import { KfenceMemory } from './kfence-memory.ts';
import { KsymPlaces } from './ksym-places.ts';
import { KsymTree } from './ksym-tree.ts';
import { LaidState } from './laid-state.ts';
import { Loans } from './loans.ts';
import { mappedByIn } from './mapped-by.ts';
import { layMemSections } from './mem-section.ts';
import { OrcMemory } from './orc-memory.ts';
import { ProgExtables } from './prog-extables.ts';
import { PtRegsMemory } from './pt-regs.ts';
import { allocate, Structures } from './structures.ts';
import { layTasks } from './task.ts';
import { kernelVariables } from './variables.ts';
import { Warnings } from './warnings.ts';

/** Distance of variables and traps behind the start of the replaced functions' area, and of one trap from the next. */
const TRAPS_BEHIND = 0x200_0000n;
const TRAP_SIZE = 0x10n;
/** Room for variables before the traps. */
const VARIABLES = 0x10_0000n;

/** Distance of programs' exception tables from the variables. */
const EXTABLES = 0x8_0000n;
/** Of the kernel's own. */
const KERNEL_EXTABLE = 0x9_0000n;
/** Distance of what unwinders read of ORC. */
const ORC = 0xc_0000n;
/** Distance of an object's init_mm from our own, behind the traps, and of one from the next. */
const NEAR_TEXT = 0x100_0000n;
const NEAR_SIZE = 0x4_0000n;

/**
 * Functions that the model does even where the object has them, unless they are replaced: they go by lists and accounts of
 * memory management's, which kernels of other configurations have in other ways.
 */
const LEFT_TO_MODEL: readonly string[] = ['zap_pages', ...TABLE_CALLEES, ...AREA_CALLEES];

export interface ReplacementParts {
  readonly kernel: Kernel;
  readonly assembler: Assembler;
  readonly features: CpuFeatures;
  /** Instructions that one call may retire. */
  readonly limit: number;
  /** Objects of KFENCE's pool; 0: there is none. */
  readonly kfenceObjects: number;
}

/** An object some of whose functions stand in the model's place. */
export interface LoadedObject {
  readonly path: string;
  readonly linked: Linked;
  readonly structures: Structures;
  readonly ksyms: KsymPlaces;
  /** null: the object has no bpf_tree. */
  readonly ksymTree: KsymTree | null;
  /** struct pt_regs; null for an object that does not define it. */
  readonly ptRegs: PtRegsMemory | null;
  readonly state: LaidState;
  readonly extable: ExtableMemory;
  readonly kfence: KfenceMemory;
  readonly orc: OrcMemory;
  readonly calls: GuestCalls;
  /** Memory that functions are handed text in. */
  readonly heap: CodeHeap;
  /** Address of init_mm. */
  readonly initMm: bigint;
  /** Physical memory for what a function is handed, by CPU: three pages each. */
  readonly hand: readonly number[];
  /** Makes an address that stands for a function of the model, where code is handed a pointer to one. */
  standIn(name: string, callee: Callee): VirtAddr;
}

/** A function in compiled code. */
export interface CompiledFunction {
  readonly name: ReplaceableName;
  readonly entry: VirtAddr;
  readonly object: LoadedObject;
}

/**
 * Puts compiled functions in the place of the model's.
 * @param replace object by the name of the function
 * @throws CallError for objects that cannot stand there
 */
export function replaceFunctions(
  parts: ReplacementParts,
  replace: ReadonlyMap<ReplaceableName, ObjectFile>,
): void {
  const { kernel } = parts;
  const functions = new Map<ReplaceableName, CompiledFunction>();
  kernel.text.asKernel(() => {
    const left = LEFT_TO_MODEL.filter((name) => !isReplaceable(name) || !replace.has(name));
    const loader = new Loader(parts, left, replace);
    for (const [name, file] of replace) functions.set(name, loader.function(name, file));
    loader.finish();
  });
  installFunctions(kernel, functions);
}

class Loader {
  private readonly parts: ReplacementParts;
  private readonly modelled: ReadonlySet<string>;
  private readonly replace: ReadonlyMap<ReplaceableName, ObjectFile>;
  private readonly objects = new Map<string, LoadedObject>();
  private readonly variables: ReadonlyMap<string, bigint>;
  private readonly callees = new Map<bigint, Callee>();
  private readonly returnTraps: ReturnTraps;
  private readonly traps: VirtAddr[] = [];
  private readonly loans = new Loans();
  private nextTrap: bigint;
  private readonly push: VirtAddr;
  private readonly extables: ProgExtables;
  private readonly frame: ExceptionFrame;
  private readonly extable: ExtableMemory;
  private readonly orc: OrcMemory;

  /** @param modelled functions that the model does even where objects have them */
  constructor(
    parts: ReplacementParts,
    modelled: readonly string[],
    replace: ReadonlyMap<ReplaceableName, ObjectFile>,
  ) {
    const { kernel } = parts;
    this.modelled = new Set(modelled);
    this.parts = parts;
    this.replace = replace;
    const behind = kernel.text.next + TRAPS_BEHIND;
    const base = behind - (behind % 0x1_0000n);
    this.variables = kernelVariables(kernel, virtAddr(base));
    this.frame = new ExceptionFrame(kernel);
    this.orc = new OrcMemory(kernel, base + ORC);
    this.extables = new ProgExtables(kernel, base + EXTABLES);
    this.extable = new ExtableMemory(kernel, base + KERNEL_EXTABLE, this.extables);
    this.nextTrap = base + VARIABLES;
    const [exception, callee, idle] = [1, 2, 3].map(() => this.trap('kernel'));
    this.returnTraps = { exception, callee, idle };
    kernel.returnTraps = [exception, callee, idle];
    this.push = this.loadPush();
  }

  /** What an exception's entry does to the stack before anybody is called. */
  private loadPush(): VirtAddr {
    const { kernel, assembler } = this.parts;
    const { name: arch } = kernel.arch;
    const text = arch === 'x86_64' ? 'push rax' : 'str x0, [sp, #-16]!';
    const { bytes } = assembler.assemble(text, { arch, address: kernel.text.next });
    const at = kernel.text.load(bytes);
    kernel.symbols.add(arch === 'x86_64' ? 'error_entry' : 'kernel_entry', at, bytes.length);
    return at;
  }

  /** @throws CallError for an object that does not have it, or not all that it needs */
  function(name: ReplaceableName, file: ObjectFile): CompiledFunction {
    const { arch } = REPLACEABLE[name] as Replaceable;
    if (arch !== undefined && arch !== this.parts.kernel.arch.name) {
      throw new CallError(
        `${name} is a function of ${arch} kernels, and the scenario runs on ${this.parts.kernel.arch.name}`,
        `run it with --arch ${arch}`,
      );
    }
    const object = this.objects.get(file.path) ?? this.load(file);
    this.objects.set(file.path, object);
    const symbol = definition(object.linked, name, file.path);
    checkRelocated(this.parts.kernel, object.linked, symbol, this.modelled);
    for (const struct of REPLACEABLE[name].structs) object.structures.layout(struct);
    if (EXTABLE_FUNCTIONS.has(name)) this.extable.lay();
    return { name, entry: virtAddr(symbol.address), object };
  }

  private load(file: ObjectFile): LoadedObject {
    const { kernel } = this.parts;
    kernel.codeHeap ??= new CodeHeap(kernel);
    const heap = kernel.codeHeap;
    const layouts = readLayouts(readObject(file).elf);
    const structures = new Structures(kernel, layouts, file.path, this.extables, heap);
    const ksyms = new KsymPlaces(kernel, structures);
    const state = new LaidState(structures, heap, this.loans);
    structures.lender = state;
    layMemSections(kernel, structures, this.variables.get('mem_section')!);
    const { extable } = this;
    const swapper = this.variables.get('swapper_pg_dir')!;
    const ptRegs = PtRegsMemory.of(kernel, structures, file.path);
    this.frame.learn(ptRegs);
    const { kfenceObjects } = this.parts;
    const kfence = new KfenceMemory(kernel, structures, heap, this.variables, kfenceObjects);
    const parts: CalleeParts = {
      kernel,
      structures,
      ksyms,
      orc: this.orc,
      state,
      heap,
      ptRegs,
      extable,
      kfence,
      swapper,
      calls: null,
    };
    const known = modelledCallees(parts);
    const bound = new Map<string, bigint>();
    const laid = structures.initMm(swapper);
    const initMm = laid === null ? null : this.nearText(Number(laid - kernel.layout.directMap));
    if (initMm !== null) bound.set('init_mm', initMm);
    bound.set('__start___ex_table', extable.start);
    bound.set('__stop___ex_table', extable.stop);
    const modelled = (name: string): bigint | null => {
      const at = bound.get(name) ?? this.variables.get(name);
      if (at !== undefined) return at;
      if (EXTABLE_FUNCTIONS.has(name)) this.extable.lay();
      const callee = known.get(name);
      if (callee === undefined) return null;
      const trap = this.standIn(name, callee);
      bound.set(name, trap);
      return trap;
    };
    structures.mapMmap = modelled('arena_map_mmap') ?? 0n;
    const linkParts = { ...this.parts, places: [], partial: true, modelled };
    const builtin = [...builtinBindings(kernel.arch.name, file)];
    const own = new Map(builtin.filter(([name]) => modelled(name) === null));
    const linked = loadObjects(linkParts, [file], bind(linkParts, own, []), []);
    kernel.residentObjects.set(JSON.stringify(['replaced', file.path]), Object.freeze(linked));
    const giveWay = this.weakNames(file);
    for (const { name, address } of linked.symbols) {
      const isModelled = this.modelled.has(name) || giveWay.has(name);
      const callee = isModelled ? known.get(name) : undefined;
      if (callee === undefined) continue;
      this.callees.set(address, callee);
      this.traps.push(virtAddr(address));
    }
    for (const { kind, address, bytes } of linked.segments) {
      if (kind !== 'text') continue;
      kernel.replacedText.push({ start: address, end: address + BigInt(bytes.length) });
    }
    kfence.linked = linked;
    this.orc.learn(linked);
    const ksymTree = KsymTree.of(kernel, structures, ksyms, linked);
    const others = [...this.objects.values()].map((one) => one.structures);
    layTasks(kernel, structures, file.path, others);
    const mappedBy = mappedByIn(kernel);
    const calls = new GuestCalls({
      kernel,
      frame: this.frame,
      prepare: () => {
        ksymTree?.lay();
        extable.refresh();
      },
      returnTraps: this.returnTraps,
      push: this.push,
      callees: this.callees,
      limit: this.parts.limit,
      lockAt: (pa) => structures.lockAt(pa),
      loans: this.loans,
      structures: structures.memory,
      missing: (va) => missingAt(linked, va),
      mappedBy,
      warn: new Warnings(kernel, linked).warn,
    });
    parts.calls = calls;
    const hand = kernel.cpus.map(() => allocate(kernel, 3 * kernel.pageSize));
    return {
      path: file.path,
      linked,
      structures,
      state,
      ksyms,
      ksymTree,
      orc: this.orc,
      ptRegs,
      kfence,
      heap,
      calls,
      extable,
      initMm: initMm ?? this.variables.get('init_mm')!,
      hand,
      standIn: (name, callee) => this.standIn(name, callee),
    };
  }

  private standIn(name: string, callee: Callee): VirtAddr {
    const at = this.trap(name);
    this.callees.set(at, callee);
    return at;
  }

  /** Maps a structure of the model once more, where code reaches it as it reaches its own data. */
  private nearText(pa: number): bigint {
    const { kernel } = this.parts;
    const inPage = pa % kernel.pageSize;
    const pfn = ((pa - inPage) / FRAME_SIZE) as Pfn;
    const at = virtAddr(
      this.variables.get('init_mm')! + NEAR_TEXT + BigInt(this.objects.size) * NEAR_SIZE,
    );
    kernel.mm.mapRange(at, pfn, 2, 'PAGE_KERNEL');
    return at + BigInt(inPage);
  }

  /**
   * Functions that an object defines in case nobody else does, as kernels do for architectures that lack them, unless they
   * are what is put in the model's place.
   */
  private weakNames(file: ObjectFile): ReadonlySet<string> {
    const { symbols } = readObject(file).elf;
    const weak = symbols.filter(({ binding, section }) => {
      return binding === STB_WEAK && section !== SHN_UNDEF;
    });
    const names = weak.map(({ name }) => name);
    const isReplaced = (name: string) =>
      this.replace.get(name as ReplaceableName)?.path === file.path;
    return new Set(names.filter((name) => !isReplaced(name)));
  }

  /** What runs compiled code is told where its traps are, and what it may reach. */
  finish(): void {
    const { kernel } = this.parts;
    const all = [...this.objects.values()].map(({ structures }) => structures);
    checkPages(this.objects);
    kernel.traps = this.traps;
    kernel.replacedState.push(...all);
    kernel.pages.counted = (pfn) => all[0].pages.countPage(pfn);
    for (const { watch } of kernel.cpus) {
      watch!.host = {
        watched: (frame) => {
          if (all.some(({ memory }) => memory.holds(frame))) return 'structure';
          const first = frame - (frame % kernel.pages.framesPerPage);
          return kernel.mm.isTable(first * FRAME_SIZE) ? 'table' : null;
        },
        provide: (va) => all[0].pages.provide(va),
        silently: (action) => kernel.events.silently(action),
      };
    }
  }

  private trap(name: string): VirtAddr {
    const at = virtAddr(this.nextTrap);
    this.nextTrap += TRAP_SIZE;
    this.traps.push(at);
    this.parts.kernel.symbols.add(name, at, Number(TRAP_SIZE));
    return at;
  }
}

/** The name that stands at an address, which nothing is bound to; or null. */
function missingAt({ missing }: Linked, va: bigint): string | null {
  const found = missing.find(({ address }) => va >= address && va < address + MISSING_SIZE);
  return found === undefined ? null : found.name;
}

/** There is one array of struct page. */
function checkPages(objects: ReadonlyMap<string, LoadedObject>): void {
  const [first, ...others] = objects.values();
  for (const { path, structures } of others) {
    if (structures.pages.size === first.structures.pages.size) continue;
    throw new CallError(
      `${path}: its struct page has ${structures.pages.size} bytes, that of ${first.path} ${first.structures.pages.size}`,
      'compile them for the same kernel',
    );
  }
}
