// The part of the scenario format that says what a call runs: code, what it is bound to, its arguments, and who calls
// it. The same keys stand at the top of a short scenario and in a `call` step.
import * as z from 'zod/mini';
import {
  count,
  hexBytes,
  integer,
  mapping,
  may,
  must,
  once,
  perArch,
  textOf,
  unsigned,
  word,
} from './scenario-values.ts';
import { EXTABLE_TYPES } from './step-model.ts';

/** A name that `in:`, frames and programs may have. */
export const name = once(() =>
  textOf(/^[A-Za-z_]\w*$/, 'a name', 'use letters, digits and _, not beginning with a digit'),
);
export const inArena = once(() =>
  may('Which arena is meant, by its key in `arenas`; the first by default.', name()),
);

export const path = once(() => textOf(/^[^\0]+$/, 'a path', 'give a path relative to this file'));

/** The forms of an address beside the plain number. */
const relative = once(
  () =>
    [
      mapping({
        arena: must('Bytes from the arena’s kern_vm_start: a kernel address.', word()),
        in: inArena(),
      }),
      mapping({
        user: must('Bytes from the arena’s user_vm_start: a user address.', word()),
        in: inArena(),
      }),
      mapping({ va: must('A virtual address.', unsigned()) }),
    ] as const,
);

/** An integer, or an address relative to an arena. */
export const value = once(() => z.union([word(), ...relative()]));

const pageNumber = once(() => count(0, 0x10_0007));

const atEnd = () =>
  may('The last byte, not the first, lies at a page boundary: an overrun faults.', z.boolean());

const argument = () =>
  z.union([
    word(),
    ...relative(),
    mapping({
      buffer: must(
        'Kernel memory with these bytes; the argument is its address, page aligned.',
        z.union([hexBytes(), mapping({ file: must('File with the bytes.', path()) })]),
      ),
      at_end: atEnd(),
    }),
    mapping({
      buffer_size: must('Kernel memory of so many bytes, all zero.', count(1, 0x1000_0000)),
      at_end: atEnd(),
    }),
    mapping({ symbol: must('Address of a function or variable of the code.', functionName()) }),
    mapping({
      pte: must(
        'Address, in the direct map, of the entry of this page from kern_vm_start.',
        pageNumber(),
      ),
      in: inArena(),
    }),
    mapping({
      entry: must(
        'The entry of this page from kern_vm_start, as it is at the start.',
        pageNumber(),
      ),
      in: inArena(),
    }),
  ]);

const label = once(() => textOf(/^[A-Za-z_.$][\w.$]*$/, 'a label', 'name a label of the code'));
const place = once(() => z.union([label(), count(0, 0xffff_ffff)]));
const register = once(() =>
  textOf(/^[a-z]\w*$/, 'a register', 'use the manual’s name in lower case'),
);

const extableTypes = [...new Set([...EXTABLE_TYPES.x86_64, ...EXTABLE_TYPES.arm64])];

const extableLine = once(() =>
  mapping({
    insn: must(
      'Instruction that may fault: a label, or bytes from the start of the code.',
      place(),
    ),
    fixup: may('Where to go on; type bpf goes on behind the instruction.', place()),
    type: may('Handler, without EX_TYPE_; `default` by default.', z.enum(extableTypes)),
    dst: may(
      'Type bpf: register that a load clears; none for a store. A register may differ by architecture.',
      perArch(register()),
    ),
    arena_reg: may('Type bpf: register with the arena address.', perArch(register())),
    offset: may('Type bpf: the instruction’s own offset.', integer(-0x8000n, 0x7fffn)),
    data: may('Data word beside the type, for all types but default and bpf.', word()),
  }),
);

const bpfFrame = once(() =>
  mapping({
    prog: must('Name of the program; frames of one name are one program.', name()),
    arena: may('The program’s arena, or none; the first by default.', name()),
    subprogram: may('The frame belongs to a subprogram.', z.boolean()),
    at_end: may('Its return address is the end of its ksym.', z.boolean()),
  }),
);

export const caller = once(() =>
  z.union([
    z.enum(['bpf', 'bpf_without_arena', 'kernel']),
    mapping({
      frames: may('BPF programs on the stack, innermost first.', z.array(bpfFrame())),
      direct: may(
        'No kernel C frame lies between the innermost program and the code.',
        z.boolean(),
      ),
    }),
  ]),
);

const symbol = () =>
  z.union([
    word(),
    ...relative(),
    mapping({
      object: must('ELF object that defines the symbol.', path()),
      symbol: may('The name that it has there, if it is another.', functionName()),
    }),
    textOf(/^[^\s{}]+$/, 'an address, a built-in stub or an object', 'such as memcpy, or other.o'),
  ]);

const bytes = once(() =>
  mapping({
    x86_64: may('For x86_64.', hexBytes()),
    arm64: may('For arm64.', hexBytes()),
  }),
);
const object = once(() => perArch(path()));
const functionName = once(() =>
  textOf(/^\S+$/, 'the name of a function', 'name a function of the object'),
);

/** Code by architecture, or the other forms gathered under the key. */
const code = once(() =>
  mapping({
    x86_64: may('Assembly in Intel syntax.', z.string()),
    arm64: may('Assembly.', z.string()),
    bytes: may('Machine code in hex, by architecture.', bytes()),
    object: may('ELF object, relative to this file.', object()),
    symbol: may('Function of the object to call.', functionName()),
  }),
);

/** Keys of a call, at the top of the file and in a step alike. */
export const callKeys = once(() => ({
  code: may('What runs in kernel mode: assembly by architecture.', code()),
  bytes: may('Machine code in hex, by architecture, instead of `code`.', bytes()),
  object: may('ELF object with the code, relative to this file, instead of `code`.', object()),
  symbol: may('Function of the object to call.', functionName()),
  symbols: may(
    'What undefined symbols are bound to: an address, another object, or a built-in stub such as memcpy.',
    z.record(z.string(), symbol()),
  ),
  extable: may('Exception table of the code.', perArch(z.array(extableLine()))),
  image: may(
    'bpf: the code is itself the image of the innermost program.',
    z.enum(['kernel', 'bpf']),
  ),
  args: may('Arguments of the call, in order.', z.array(argument())),
  caller: may('Who is on the stack: by default a BPF program that uses the arena.', caller()),
}));

export type RawValue = z.output<ReturnType<typeof value>>;
export type RawArgument = z.output<ReturnType<typeof argument>>;
export type RawCaller = z.output<ReturnType<typeof caller>>;
export type RawExtableLine = z.output<ReturnType<typeof extableLine>>;
export type RawSymbol = z.output<ReturnType<typeof symbol>>;
/** Keys of a call as the schema lets them through. */
export type RawCall = { [K in keyof CallKeys]?: z.output<CallKeys[K]> };
type CallKeys = ReturnType<typeof callKeys>;
