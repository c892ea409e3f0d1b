// The steps of a loaded scenario: what each does, with every default filled in.
import type {
  AllocExpect,
  CallExpect,
  DestroyExpect,
  FreedExpect,
  PlainExpect,
  PteExpect,
  ResultExpect,
  StreamExpect,
  UserExpect,
} from './expect-model.ts';
import type { ObjectFile } from './object-file.ts';
import type {
  ArchName,
  ArenaFlag,
  Argument,
  KernelPage,
  UserPage,
  Value,
} from './scenario-model.ts';

export type Step =
  | CallStep
  | AllocStep
  | FreeStep
  | ReserveStep
  | UserStep
  | WorkerStep
  | DestroyStep
  | PteStep
  | StreamReadStep
  | StreamPrintStep
  | CreateStep
  | LockStep
  | UnlockStep;

interface StepBase {
  /** Where the step stands in the file, from 1. */
  readonly line: number;
}

export interface CallStep extends StepBase {
  readonly kind: 'call';
  readonly code: Code;
  /** What the code's undefined symbols are bound to. */
  readonly symbols: ReadonlyMap<string, SymbolBinding>;
  readonly extable: readonly ExtableLine[];
  /** `bpf`: the code is itself the image of the innermost program. */
  readonly image: 'kernel' | 'bpf';
  readonly args: readonly Argument[];
  readonly caller: Caller;
  readonly expect: CallExpect;
}

export type Code =
  /** Assembly: Intel syntax on x86. */
  | {
      readonly kind: 'text';
      readonly text: string;
      /** Where the text begins in its file, from 1. */
      readonly line: number;
      /** Label at which it is entered; null: its first instruction. */
      readonly symbol: string | null;
    }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** `symbol` null: the object's only function. */
  | {
      readonly kind: 'object';
      readonly file: ObjectFile;
      readonly symbol: string | null;
    };

export type SymbolBinding =
  | { readonly kind: 'value'; readonly value: Value }
  /** What the object defines under the name `symbol`. */
  | { readonly kind: 'object'; readonly file: ObjectFile; readonly symbol: string }
  /** A routine that the testbed brings along, such as memcpy. */
  | { readonly kind: 'stub'; readonly name: string };

/** A line of the exception table. Places in the code are labels, or byte offsets from its start. */
export interface ExtableLine {
  /** Line of the file, from 1. */
  readonly line: number;
  readonly insn: string | number;
  /** null for the types that go on behind the instruction (bpf). */
  readonly fixup: string | number | null;
  readonly type: ExtableType;
  /** bpf: register to clear after a load; null for a store. Other types: the register that the type works on. */
  readonly dst: string | null;
  /** bpf: register that holds the arena address; null: no arena access, nothing is reported. */
  readonly arenaReg: string | null;
  /** bpf: the instruction's s16 offset. */
  readonly offset: number;
  /** Bits of the entry's data word beside the type, for every type but `default` and `bpf`. */
  readonly data: number;
}

/** Handler types without EX_TYPE_, in lower case: asm/extable_fixup_types.h (x86), asm/asm-extable.h (arm64). */
export const EXTABLE_TYPES = {
  x86_64: [
    ...['none', 'default', 'fault', 'uaccess', 'clear_fs', 'fpu_restore', 'bpf', 'wrmsr', 'rdmsr'],
    ...['wrmsr_safe', 'rdmsr_safe', 'wrmsr_in_mce', 'rdmsr_in_mce', 'default_mce_safe'],
    ...['fault_mce_safe', 'pop_reg', 'imm_reg', 'fault_sgx', 'ucopy_len', 'zeropad', 'eretu'],
  ],
  arm64: [
    ...['none', 'default', 'bpf', 'uaccess_err_zero', 'kaccess_err_zero', 'uaccess_cpy'],
    'load_unaligned_zeropad',
  ],
} as const satisfies Record<ArchName, readonly string[]>;
export type ExtableType = (typeof EXTABLE_TYPES)[ArchName][number];

/** BPF programs on the stack of a call. */
export interface Caller {
  /** true: no kernel C frame lies between the innermost program and the code. */
  readonly direct: boolean;
  /** Innermost first; empty: only kernel functions are on the stack. */
  readonly frames: readonly BpfFrame[];
}

export interface BpfFrame {
  /** Name of the main program; frames with one name are one program. */
  readonly prog: string;
  /** aux->arena; null: none. */
  readonly arena: string | null;
  /** The frame is one of the program's subprograms. */
  readonly subprogram: boolean;
  /** The call is the last instruction: the return address is the end of the frame's ksym. */
  readonly atEnd: boolean;
}

interface OnArena extends StepBase {
  /** Name of the arena that the step works on. */
  readonly arena: string;
}

export interface AllocStep extends OnArena {
  readonly kind: 'alloc';
  /** null: no hint. */
  readonly page: UserPage | null;
  readonly count: number;
  readonly sleepable: boolean;
  readonly expect: AllocExpect;
}

export interface FreeStep extends OnArena {
  readonly kind: 'free';
  readonly page: UserPage;
  readonly count: number;
  readonly sleepable: boolean;
  readonly expect: FreedExpect;
}

export interface ReserveStep extends OnArena {
  readonly kind: 'reserve';
  readonly page: UserPage;
  readonly count: number;
  readonly expect: ResultExpect;
}

export interface UserStep extends OnArena {
  readonly kind: 'user';
  readonly page: UserPage;
  /** Bytes into the page; the access is 8 bytes wide. */
  readonly offset: number;
  readonly access: 'read' | 'write';
  /** What a write stores. */
  readonly value: bigint;
  readonly expect: UserExpect;
}

export interface WorkerStep extends OnArena {
  readonly kind: 'worker';
  readonly expect: FreedExpect;
}

export interface DestroyStep extends OnArena {
  readonly kind: 'destroy';
  readonly expect: DestroyExpect;
}

export interface PteStep extends OnArena {
  readonly kind: 'pte';
  readonly page: KernelPage;
  /** Raw value to store; null: only read. */
  readonly set: bigint | null;
  readonly expect: PteExpect;
}

export interface StreamReadStep extends StepBase {
  readonly kind: 'streamRead';
  /** Main program whose stderr it is; null: the innermost program's of the scenario's calls. */
  readonly prog: string | null;
  /** Bytes of the reader's buffer. */
  readonly length: number;
  readonly expect: StreamExpect;
}

export interface StreamPrintStep extends StepBase {
  readonly kind: 'streamPrint';
  readonly prog: string | null;
  readonly text: string;
  readonly count: number;
  readonly expect: StreamExpect;
}

/** The CPU takes arena->spinlock, as a tracing program finds it that runs inside the arena's own functions. */
export interface LockStep extends OnArena {
  readonly kind: 'lock';
  readonly expect: ResultExpect;
}

/** It lets go of it. */
export interface UnlockStep extends OnArena {
  readonly kind: 'unlock';
  readonly expect: PlainExpect;
}

/** arena_map_alloc() with attributes as given: the kernel may refuse them. */
export interface CreateStep extends StepBase {
  readonly kind: 'create';
  /** max_entries, a u32. */
  readonly pages: number;
  /** map_extra. */
  readonly userVmStart: bigint;
  /** Names are set beside BPF_F_MMAPABLE; a number is the whole map_flags. */
  readonly flags: readonly ArenaFlag[] | number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly expect: ResultExpect;
}
