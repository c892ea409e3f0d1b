// KFENCE's variables and objects (struct kfence_metadata) in memory, where an object's code has them: laid down for a call,
// and taken back after it. Left out: canaries, tracks of who allocated and freed, locks' holders.
import { type VirtAddr, virtAddr } from '../../emulator/address.ts';
import { hex } from '../../emulator/bits.ts';
import type { StructLayout } from '../../emulator/elf/layouts.ts';
import type { Linked } from '../../emulator/elf/link.ts';
import { type Activity, KernelStuck } from '../../mm/context.ts';
import type { Kfence, KfenceMetadata, KfenceState } from '../../mm/kfence.ts';
import type { Kernel } from '../kernel.ts';
import type { CodeHeap } from './code-heap.ts';
import { writeUint } from './laid.ts';
import { allocate, type Structures } from './structures.ts';

/** enum kfence_object_state. One that waits for RCU (2) is the model's allocated one. */
const STATES: Readonly<Record<KfenceState, bigint>> = { unused: 0n, allocated: 1n, freed: 3n };
/** Of struct list_head. */
const PREV = 8n;
const POINTER = 8;

export class KfenceMemory {
  /** The object as it lies in memory; null until it does. */
  linked: Linked | null = null;
  /** Whose objects they are: also while the pool is made, before the kernel knows it. */
  kfence: Kfence | null = null;
  /** What chance is to say: an object goes to the end of its page. */
  right = false;
  /** By CPU: the code that a report is about. */
  readonly blamed: (VirtAddr | null)[] = [];
  private readonly kernel: Kernel;
  private readonly structures: Structures;
  private readonly heap: CodeHeap;
  private readonly variables: ReadonlyMap<string, bigint>;
  /** Memory for the array of objects; null for an object that does not define the structure. */
  private readonly memory: bigint | null;
  private readonly caches = new Map<string, bigint>();

  /** @param variables addresses of those that an object leaves undefined. @param objects how many there will be */
  constructor(
    kernel: Kernel,
    structures: Structures,
    heap: CodeHeap,
    variables: ReadonlyMap<string, bigint>,
    objects: number,
  ) {
    this.kernel = kernel;
    this.structures = structures;
    this.heap = heap;
    this.variables = variables;
    const layout = structures.optional('kfence_metadata');
    const bytes = objects * (layout?.size ?? 0);
    this.memory = bytes === 0 ? null : structures.virt(allocate(kernel, bytes));
  }

  /** A call of a function `name`, which finds what KFENCE has and may change it. */
  *during<T>(name: string, kfence: Kfence, call: () => Activity<T>): Activity<T> {
    this.lay(kfence);
    const result = yield* call();
    this.takeBack(name, kfence);
    this.kernel.context.endLine();
    return result;
  }

  /** The same for an access or a free by the code at `ip`, which a report tells of. */
  *blaming<T>(ip: VirtAddr, name: string, kfence: Kfence, call: () => Activity<T>): Activity<T> {
    const { cpu } = this.kernel.context;
    const outer = this.blamed[cpu] ?? null;
    this.blamed[cpu] = ip;
    try {
      return yield* this.during(name, kfence, call);
    } finally {
      this.blamed[cpu] = outer;
    }
  }

  /** Address of an object's structure. */
  addressOf({ index }: KfenceMetadata): bigint {
    return this.array + BigInt(index * this.layout.size);
  }

  /** The object whose structure lies at an address; null for 0. @throws KernelStuck for any other */
  metadataAt(name: string, kfence: Kfence, address: bigint): KfenceMetadata | null {
    if (address === 0n) return null;
    const found = kfence.metadata.find((meta) => this.addressOf(meta) === address);
    if (found !== undefined) return found;
    const objects = kfence.metadata.length;
    const why = `hands on ${hex(address)}, which is none of the ${objects} objects’ struct kfence_metadata`;
    throw new KernelStuck(`${name} ${why}: is it built for CONFIG_KFENCE_NUM_OBJECTS=${objects}?`);
  }

  /** struct kmem_cache of a cache. */
  cacheAt(name: string, align = 8): bigint {
    if (name === '') return 0n;
    const key = `${name} ${align}`;
    const layout = this.structures.optional('kmem_cache');
    const text = new TextEncoder().encode(`${name}\0`);
    const size = layout?.size ?? POINTER;
    const at = this.caches.get(key) ?? this.heap.alloc(size + text.length);
    if (at === 0n) throw new KernelStuck('there is no room for a struct kmem_cache');
    const textAt = at + BigInt(size);
    const bytes = new Uint8Array(size + text.length);
    bytes.set(text, size);
    this.kernel.ram.write(this.structures.physical(at)!, bytes);
    if (layout !== null) {
      this.put(layout, at, 'name', textAt);
      this.put(layout, at, 'align', BigInt(align));
    }
    this.caches.set(key, at);
    return at;
  }

  lay(kfence: Kfence): void {
    this.kfence = kfence;
    this.write('__kfence_pool', kfence.pool);
    this.writeByte('kfence_enabled', kfence.enabled ? 1 : 0);
    if (this.memory === null) return;
    if (this.array === this.memory) this.write('kfence_metadata', this.memory);
    for (const meta of kfence.metadata) {
      const at = this.addressOf(meta);
      this.put(this.layout, at, 'state', STATES[meta.state]);
      this.put(this.layout, at, 'addr', meta.addr);
      this.put(this.layout, at, 'size', BigInt(meta.size));
      this.put(this.layout, at, 'cache', this.cacheAt(meta.cache));
      this.put(this.layout, at, 'unprotected_page', meta.unprotectedPage);
    }
    this.layList(kfence);
  }

  /** @param name the function that has changed it */
  takeBack(name: string, kfence: Kfence): void {
    if (this.memory === null) return;
    for (const meta of kfence.metadata) this.takeOne(name, kfence, meta);
    const head = this.addressFor('kfence_freelist');
    if (head === null) return;
    const link = this.linkOffset;
    const found: KfenceMetadata[] = [];
    for (let at = this.word(head); at !== head; at = this.word(at)) {
      const meta = kfence.metadata.find((one) => this.addressOf(one) + link === at);
      if (meta === undefined || found.length === kfence.metadata.length) {
        throw new KernelStuck(`${name} leaves kfence_freelist with ${hex(at)}`);
      }
      found.push(meta);
    }
    kfence.freelist.splice(0, kfence.freelist.length, ...found);
  }

  private takeOne(name: string, kfence: Kfence, meta: KfenceMetadata): void {
    const at = this.addressOf(meta);
    const member = (which: string) => this.get(at, which);
    const wrong = (which: string) =>
      new KernelStuck(
        `${name} leaves kfence_metadata[${meta.index}].${which} ${hex(member(which))}`,
      );
    const state = member('state');
    const [known] = Object.entries(STATES).find(([, value]) => value === state) ?? [];
    if (known === undefined && state !== 2n) throw wrong('state');
    if (!kfence.isKfenceAddress(member('addr'))) throw wrong('addr');
    if (member('size') > BigInt(this.kernel.pageSize)) throw wrong('size');
    const page = member('unprotected_page');
    if (page !== 0n && !kfence.isKfenceAddress(page)) throw wrong('unprotected_page');
    const cache = member('cache');
    const [key] = [...this.caches].find(([, place]) => place === cache) ?? [];
    if (cache !== 0n && key === undefined) throw wrong('cache');
    Object.assign(meta, {
      state: known ?? 'allocated',
      addr: virtAddr(member('addr')),
      size: Number(member('size')),
      cache: key?.replace(/ \d+$/, '') ?? '',
      unprotectedPage: page,
    });
  }

  private layList({ freelist }: Kfence): void {
    const head = this.addressFor('kfence_freelist');
    if (head === null) return;
    const nodes = [head, ...freelist.map((meta) => this.addressOf(meta) + this.linkOffset)];
    nodes.forEach((node, i) => {
      const next = nodes[(i + 1) % nodes.length];
      this.writeAt(node, next);
      this.writeAt(next + PREV, node);
    });
  }

  private get layout(): StructLayout {
    return this.structures.layout('kfence_metadata');
  }

  private get linkOffset(): bigint {
    return BigInt(this.layout.members.get('list')?.offset ?? 0);
  }

  /** Where the array is: the object's own, or memory that the pointer is set to. */
  private get array(): bigint {
    const own = this.linked?.symbols.find(({ name }) => name === 'kfence_metadata');
    return own !== undefined && own.size > POINTER ? own.address : (this.memory ?? 0n);
  }

  private addressFor(name: string): bigint | null {
    const own = this.linked?.symbols.find((symbol) => symbol.name === name);
    return own?.address ?? this.variables.get(name) ?? null;
  }

  private write(name: string, value: bigint): void {
    const at = this.addressFor(name);
    if (at !== null) this.writeAt(at, value);
  }

  private writeByte(name: string, value: number): void {
    const at = this.addressFor(name);
    if (at !== null) this.kernel.memory.write(virtAddr(at), Uint8Array.of(value));
  }

  private writeAt(at: bigint, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.writeBytes(at, bytes);
  }

  /** Memory of the direct map need not be mapped by now. */
  private writeBytes(at: bigint, bytes: Uint8Array): void {
    const pa = this.structures.physical(at);
    if (pa === null) this.kernel.memory.write(virtAddr(at), bytes);
    else this.kernel.ram.write(pa, bytes);
  }

  private word(at: bigint): bigint {
    const pa = this.structures.physical(at);
    const { ram, memory } = this.kernel;
    if (pa !== null && pa % 8 === 0 && ram.contains(pa, 8)) return ram.read64(pa);
    return memory.readWord(virtAddr(at)) ?? 0n;
  }

  private put(layout: StructLayout, at: bigint, name: string, value: bigint): void {
    const member = layout.members.get(name);
    if (member === undefined) return;
    writeUint(this.kernel, this.structures.physical(at)! + member.offset, member.size, value);
  }

  private get(at: bigint, name: string): bigint {
    const member = this.layout.members.get(name);
    if (member === undefined) return 0n;
    return this.kernel.ram.readUint(this.structures.physical(at)! + member.offset, member.size);
  }
}
