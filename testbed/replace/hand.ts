// The data that a callback of apply_to_page_range() is handed: a structure of its own, laid into memory for one walk.
import type { BpfArena } from '../../bpf/arena.ts';
import type { ApplyRangeData } from '../../bpf/arena-pte.ts';
import type { CompiledPteFn } from '../../bpf/compiled.ts';
import { type Pfn, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { StructLayout } from '../../emulator/elf/layouts.ts';
import { KernelStuck } from '../../mm/context.ts';
import { CallError } from '../call-error.ts';
import type { Kernel } from '../kernel.ts';
import { writeUint } from './laid.ts';
import { pteFn } from './pte-fn.ts';
import type { CompiledFunction } from './replacements.ts';

/** Where the structure lies, behind the pages of pointers; and a list's head behind it. */
const DATA_PAGES = 2;
const HEAD_OFFSET = 0x800;

class Hand {
  readonly layout: StructLayout;
  protected readonly kernel: Kernel;
  protected readonly compiled: CompiledFunction;
  private readonly struct: string;

  /** @throws CallError for a structure with members that the model knows nothing of */
  constructor(
    kernel: Kernel,
    compiled: CompiledFunction,
    struct: string,
    members: readonly string[],
    needed: readonly string[],
  ) {
    const { structures, path } = compiled.object;
    this.kernel = kernel;
    this.compiled = compiled;
    this.struct = struct;
    this.layout = structures.layout(struct);
    const names = [...this.layout.members.keys()];
    const unknown = names.find((name) => !members.includes(name));
    const missing = needed.find((name) => !names.includes(name));
    if (unknown === undefined && missing === undefined) return;
    throw new CallError(
      unknown === undefined
        ? `${path}: struct ${struct} has no member ${missing}, through which the model speaks`
        : `${path}: struct ${struct} has a member ${unknown}, which the model knows nothing of`,
      `its members may be ${members.join(', ')}; replace the functions that make the structure as well`,
    );
  }

  /** Physical address of this CPU's memory. */
  protected get memory(): number {
    return this.compiled.object.hand[this.kernel.context.cpu];
  }

  protected at(memory: number): number {
    return memory + DATA_PAGES * this.kernel.pageSize;
  }

  /** Writes the structure. @returns its kernel address */
  protected write(memory: number, values: Readonly<Record<string, bigint>>): bigint {
    const { kernel, layout } = this;
    const at = this.at(memory);
    kernel.ram.write(at, new Uint8Array(layout.size));
    for (const [name, { offset, size }] of layout.members) {
      writeUint(kernel, at + offset, size, values[name]);
    }
    return this.compiled.object.structures.virt(at);
  }

  protected wrong(what: string): KernelStuck {
    return new KernelStuck(`${this.compiled.name} leaves struct ${this.struct} with ${what}`);
  }
}

/** struct apply_range_data. */
export class SetHand extends Hand {
  constructor(kernel: Kernel, compiled: CompiledFunction) {
    const members = ['pages', 'i', 'scratch_page', 'arena'];
    super(kernel, compiled, 'apply_range_data', members, ['pages', 'i']);
  }

  /** The callback for one walk. */
  fn(arena: BpfArena, data: ApplyRangeData): CompiledPteFn {
    const { kernel, compiled, layout, memory } = this;
    const { structures } = compiled.object;
    data.pages.forEach((pfn, i) => {
      kernel.ram.write64(memory + i * 8, structures.page(pfn));
    });
    const at = this.write(memory, {
      pages: structures.virt(memory),
      i: BigInt(data.i),
      scratch_page: structures.page(arena.scratchPage),
      arena: layout.members.has('arena') ? structures.arena(arena) : 0n,
    });
    const fn = pteFn(compiled, at);
    const index = this.at(memory) + layout.members.get('i')!.offset;
    const takeOver = () => {
      const i = Number(BigInt.asIntN(32, kernel.ram.readUint(index, 4)));
      if (i < data.i || i > data.pages.length) throw this.wrong(`i ${i} of ${data.pages.length}`);
      data.i = i;
    };
    return {
      *call(ptep, addr) {
        const result = yield* fn.call(ptep, addr);
        takeOver();
        return result;
      },
      end() {},
      counts: structures.arenaHas('nr_pages'),
    };
  }
}

/** struct clear_range_data, and the list that it names. */
export class ClearHand extends Hand {
  private readonly nodeOffset: bigint;
  private readonly nextOffset: bigint;

  constructor(kernel: Kernel, compiled: CompiledFunction) {
    const members = ['free_pages', 'scratch_page', 'arena'];
    super(kernel, compiled, 'clear_range_data', members, ['free_pages']);
    const { structures, path } = compiled.object;
    const node = structures.layout('page').members.get('pcp_llist');
    if (node === undefined) {
      throw new CallError(
        `${path}: struct page has no member pcp_llist, by which pages are collected`,
        'compile it with the headers of a kernel from 6.14 on',
      );
    }
    this.nodeOffset = BigInt(node.offset);
    this.nextOffset = BigInt(structures.layout('llist_node').members.get('next')?.offset ?? 0);
  }

  /** The callback for one walk. @param freePages collected pages are added, the first at the end */
  fn(arena: BpfArena, freePages: Pfn[]): CompiledPteFn {
    const { kernel, compiled, layout, memory } = this;
    const { structures } = compiled.object;
    const head = this.at(memory) + HEAD_OFFSET;
    kernel.ram.write64(head, 0n);
    const at = this.write(memory, {
      free_pages: structures.virt(head),
      scratch_page: structures.page(arena.scratchPage),
      arena: layout.members.has('arena') ? structures.arena(arena) : 0n,
    });
    const fn = pteFn(compiled, at);
    let calls = 0;
    return {
      call(ptep, addr) {
        calls++;
        return fn.call(ptep, addr);
      },
      end: () => void freePages.push(...this.collected(head, calls)),
      counts: structures.arenaHas('nr_pages'),
    };
  }

  /** Pages on the list, the one that was added first in front. */
  private collected(head: number, most: number): Pfn[] {
    const { kernel, compiled, nodeOffset, nextOffset } = this;
    const { structures } = compiled.object;
    const pages: Pfn[] = [];
    let node = kernel.ram.read64(head);
    while (node !== 0n) {
      const page = structures.pfn(node - nodeOffset);
      if (page === null) throw this.wrong(`free_pages at ${hex(node)}, which is in no struct page`);
      if (pages.length === most) throw this.wrong(`a list of more pages than entries`);
      pages.push(page);
      node = kernel.memory.readWord(virtAddr(node + nextOffset)) ?? 0n;
    }
    return pages.reverse();
  }
}
