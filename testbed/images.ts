// BPF programs of a scenario: each name is one program, each kind of frame of it one JITed image. Images are blank: a
// program's code is only ever on the stack, as a return address.
import { BpfProg } from '../bpf/prog.ts';
import type { VirtAddr } from '../emulator/address.ts';
import { virtAddr } from '../emulator/address.ts';
import { KernelStuck } from '../mm/context.ts';
import { CallError } from './call-error.ts';
import type { Kernel } from './kernel.ts';
import type { BpfFrame } from './step-model.ts';

/** Bytes of an image, and where in it the call returns to. */
const IMAGE_SIZE = 0x80;
const RETURN_OFFSET = 0x40;

interface Image {
  readonly start: VirtAddr;
  readonly prog: BpfProg;
}

export class Images {
  private readonly kernel: Kernel;
  private readonly programs = new Map<string, BpfProg>();
  private readonly subprograms = new Map<string, BpfProg>();
  private readonly images = new Map<string, Image>();

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  /** The main program of a name, loaded when it is first asked for. @param arena name, or null for none */
  program(name: string, arena: string | null): BpfProg {
    const known = this.programs.get(name);
    if (known !== undefined) return known;
    const prog = new BpfProg(name, arena === null ? null : (this.kernel.arenas.get(arena) ?? null));
    this.programs.set(name, prog);
    this.initStreams(prog);
    return prog;
  }

  /** @throws CallError if compiled code in the model's place does not make them */
  private initStreams(prog: BpfProg): void {
    try {
      this.kernel.bpf.compiled?.bpfProgStreamInit?.(prog);
    } catch (error) {
      if (!(error instanceof KernelStuck)) throw error;
      throw new CallError(
        `while program ${prog.name} is loaded, ${error.message}`,
        'mend the code that stands in the model’s place, or do without it',
      );
    }
  }

  /** A program that was loaded before; null if there is none of this name. */
  loaded(name: string): BpfProg | null {
    return this.programs.get(name) ?? null;
  }

  /** The program whose image a frame lies in: the main program, or its subprogram. */
  frameProgram(frame: BpfFrame): BpfProg {
    const main = this.program(frame.prog, frame.arena);
    if (!frame.subprogram) return main;
    const name = `${frame.prog}_subprog`;
    const known = this.subprograms.get(name);
    if (known !== undefined) return known;
    const prog = new BpfProg(name, null, main);
    this.subprograms.set(name, prog);
    this.initStreams(prog);
    return prog;
  }

  /** Where a frame's call returns to. */
  returnAddress(frame: BpfFrame): VirtAddr {
    const { start } = this.image(frame);
    return virtAddr(start + BigInt(frame.atEnd ? IMAGE_SIZE : RETURN_OFFSET));
  }

  private image(frame: BpfFrame): Image {
    const key = `${frame.prog}/${frame.subprogram}`;
    const known = this.images.get(key);
    if (known !== undefined) return known;
    const prog = this.frameProgram(frame);
    const start = this.kernel.text.loadBlankImage();
    this.addKsym(imageName(prog.name), start, IMAGE_SIZE, prog);
    const image = { start, prog };
    this.images.set(key, image);
    return image;
  }

  /** Registers an image. @returns a function that removes it */
  addKsym(name: string, start: VirtAddr, size: number, prog: BpfProg): () => void {
    const { bpf, symbols } = this.kernel;
    const ksym = { name, start, end: virtAddr(start + BigInt(size)), prog };
    bpf.ksyms.add(ksym);
    const symbol = symbols.add(name, start, size);
    return () => {
      bpf.ksyms.remove(ksym);
      symbols.remove(symbol);
    };
  }
}

/** bpf_get_prog_name(): the program's tag, here a hash of its name, and its name. */
export function imageName(name: string): string {
  const known = imageNames.get(name);
  if (known !== undefined) return known;
  let hash = 0xcbf2_9ce4_8422_2325n;
  for (const byte of new TextEncoder().encode(name)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100_0000_01b3n);
  }
  const made = `bpf_prog_${hash.toString(16).padStart(16, '0')}_${name}`;
  if (imageNames.size >= MOST_NAMES) imageNames.clear();
  imageNames.set(name, made);
  return made;
}

/** Names made so far: a suite loads the same few programs again and again. */
const imageNames = new Map<string, string>();
const MOST_NAMES = 256;
