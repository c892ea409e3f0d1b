// The part of the scenario format that says what happens and what must come of it: steps, each with its expectations.
import * as z from 'zod/mini';
import { callKeys, inArena, name, value } from './scenario-schema-call.ts';
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

const arenaKey = once(() => ({ in: inArena() }));

/** Pages far outside every arena are legal: the kernel wraps or refuses them. */
const FAR = 2 ** 40;
export const page = once(() => count(-FAR, FAR));
const pageCount = once(() => count(0, 0xffff_ffff));

const errno = once(() =>
  z.union([
    integer(-4095n, 0n),
    textOf(/^-?E[A-Z0-9]+$/, '0 or the name of an errno', 'write it as -EBUSY'),
  ]),
);

const range = once(() =>
  z.union([
    count(0, Number.MAX_SAFE_INTEGER),
    mapping({
      min: may('At least so many.', count(0, Number.MAX_SAFE_INTEGER)),
      max: may('At most so many.', count(0, Number.MAX_SAFE_INTEGER)),
    }),
  ]),
);

const commonExpect = once(() => ({
  stderr: may(
    'The whole stderr of the innermost program (in a step: what the step added). {re:…} matches by regular expression, a line of … skips lines.',
    z.string(),
  ),
  stderr_bytes: may('Bytes pending in that stream.', range()),
}));

/** Steps other than calls. */
const plainExpect = once(() => ({
  ...commonExpect(),
  outcome: may(
    'budget: the kernel never comes out of the step (returned by default).',
    z.enum(['returned', 'budget']),
  ),
}));

const fault = once(() =>
  mapping({
    page: may(
      'Page from kern_vm_start of the arena that contains it; null outside every arena.',
      z.union([page(), z.null()]),
    ),
    access: may('What was tried.', z.enum(['read', 'write', 'fetch'])),
    resolution: may(
      'What became of it.',
      z.enum(['scratch', 'extable', 'kfence', 'spurious', 'oops']),
    ),
    count: may('So many such faults in a row.', count(1, 0xffff_ffff)),
    step: may('Pages from each of them to the next.', page()),
    addr: may('Faulting address.', perArch(value())),
    ip: may('Address of the instruction.', perArch(value())),
    code: may('x86 error code, or the whole ESR_EL1.', perArch(unsigned())),
  }),
);

const sha256 = once(() =>
  textOf(/^[0-9a-fA-F]{64}$/, 'a SHA-256 sum', 'give the 64 hex digits that sha256sum prints'),
);

const memory = once(() =>
  mapping({
    offset: must('Bytes from kern_vm_start.', word()),
    ...arenaKey(),
    hex: may('The bytes that must be there.', hexBytes()),
    pointer: may('The 8-byte kernel pointer that must be there.', perArch(value())),
    length: may('How many bytes `sha256` is of.', count(0, 0x1_0000_8000)),
    sha256: may('SHA-256 sum of `length` bytes.', sha256()),
  }),
);

const buffer = once(() =>
  mapping({
    arg: must('Which argument, from 0.', count(0, 7)),
    hex: may('The bytes that it must begin with.', hexBytes()),
    length: may(
      'How many bytes `sha256` is of; the whole buffer by default.',
      count(0, 0x1000_0000),
    ),
    sha256: may('SHA-256 sum of the buffer.', sha256()),
  }),
);

const registers = once(() => z.record(z.string(), value()));

/** What a call must come to. */
export const callExpect = once(() =>
  mapping({
    outcome: may(
      'How it ends: `returned` by default, `oops` where `oops` lists lines.',
      perArch(z.enum(['returned', 'oops', 'budget', 'halted', 'engine'])),
    ),
    ret: may('Value returned; leave it out for a void function.', perArch(value())),
    faults: may(
      'Exactly these faults, in this order; leave it out to accept any.',
      perArch(z.array(fault())),
    ),
    memory: may('Arena memory afterwards, read as the kernel would.', perArch(z.array(memory()))),
    buffers: may('Buffers of the arguments afterwards.', perArch(z.array(buffer()))),
    registers: may(
      'Registers afterwards, by architecture.',
      mapping({
        x86_64: may('By the manual’s names in lower case: rax to r15.', registers()),
        arm64: may('By the manual’s names in lower case: x0 to x30.', registers()),
      }),
    ),
    ...commonExpect(),
    oops: may(
      'null: no report. Or whole lines that the report must hold, in order; {re:…} is allowed.',
      perArch(z.union([z.null(), z.string(), z.array(z.string())])),
    ),
    instructions: may('Instructions retired.', perArch(range())),
    cycles: may('Modelled cycles.', perArch(range())),
  }),
);

const result = once(() => may('0, or the errno returned, such as -EBUSY.', errno()));
const freed = once(() => may('Data pages given back; the scratch page never counts.', pageCount()));

const resultExpect = once(() => mapping({ result: result(), ...plainExpect() }));
const freedExpect = once(() => mapping({ freed: freed(), ...plainExpect() }));

const sleepable = once(() =>
  may('The sleepable variant of the kfunc (default true).', z.boolean()),
);
const pages = once(() => must('How many pages.', pageCount()));

const step = <K extends string, T extends z.core.$ZodType, E extends z.core.SomeType>(
  kind: K,
  description: string,
  takes: T,
  expect: E,
) =>
  mapping({
    [kind]: must(description, takes),
    expect: may('What must come of this step.', expect),
  } as Record<K, T> & { expect: z.ZodMiniOptional<E> });

const alloc = () =>
  mapping({
    page: may('Hint: page from user_vm_start.', page()),
    count: pages(),
    sleepable: sleepable(),
    ...arenaKey(),
  });

const allocExpect = () =>
  mapping({
    result: may(
      'First page allocated, or null.',
      z.union([mapping({ page: must('From user_vm_start.', page()) }), z.null()]),
    ),
    ...plainExpect(),
  });

const free = () =>
  mapping({
    page: must('From user_vm_start.', page()),
    count: pages(),
    sleepable: sleepable(),
    ...arenaKey(),
  });

const reserve = () =>
  mapping({ page: must('From user_vm_start.', page()), count: pages(), ...arenaKey() });

const user = () =>
  mapping({
    page: must('From user_vm_start.', page()),
    offset: may('Bytes into the page.', count(0, 0xfff8)),
    access: must('read or write.', z.enum(['read', 'write'])),
    value: may('What a write stores (default 0).', word()),
    ...arenaKey(),
  });

const userExpect = () =>
  mapping({
    result: may('What became of it.', z.enum(['ok', 'SIGSEGV', 'SIGBUS', 'RETRY'])),
    value: may('What a read gives.', perArch(word())),
    ...plainExpect(),
  });

/** Steps without parameters may be written `worker:` as well. */
const nothing = () => z.union([mapping(arenaKey()), z.null()]);

const destroyExpect = () =>
  mapping({
    freed: freed(),
    leaked: may('Pages that nobody gave back.', pageCount()),
    ...plainExpect(),
  });

const pte = () =>
  mapping({
    page: must('From kern_vm_start.', page()),
    set: may('Raw value to store.', perArch(unsigned())),
    ...arenaKey(),
  });

const pteExpect = () =>
  mapping({
    value: may('The raw entry.', perArch(unsigned())),
    kind: may('What it maps.', z.enum(['none', 'scratch', 'page', 'other'])),
    ...plainExpect(),
  });

const stream = () =>
  mapping({
    read: may('Reads with a buffer of so many bytes.', count(0, 0x7fff_ffff)),
    print: may('The program prints this text,', z.string()),
    count: may('so many times, or until it is refused (default 1).', count(1, 0xffff_ffff)),
    prog: may('Which program; the innermost by default.', name()),
  });

const streamExpect = () =>
  mapping({
    result: result(),
    bytes: may('Bytes read, or taken by the stream.', count(0, Number.MAX_SAFE_INTEGER)),
    ...plainExpect(),
  });

export const arenaFlags = once(() => z.array(z.enum(['SEGV_ON_FAULT', 'NO_USER_CONV'])));

const create = () =>
  mapping({
    pages: may('max_entries.', count(0, 0xffff_ffff)),
    user_vm_start: may('map_extra.', unsigned()),
    flags: may(
      'Names, set beside MMAPABLE; or the whole map_flags as a number.',
      z.union([arenaFlags(), count(0, 0xffff_ffff)]),
    ),
    key_size: may('0 by default.', count(0, 0xffff_ffff)),
    value_size: may('0 by default.', count(0, 0xffff_ffff)),
  });

/** One step: what it does under the key that names it, and what must come of it. */
export const steps = once(() =>
  z.array(
    z.union([
      step('call', 'Runs kernel code.', mapping(callKeys()), callExpect()),
      step('alloc', 'bpf_arena_alloc_pages().', alloc(), allocExpect()),
      step('free', 'bpf_arena_free_pages().', free(), freedExpect()),
      step('reserve', 'bpf_arena_reserve_pages().', reserve(), resultExpect()),
      step('user', 'User-space access of 8 bytes.', user(), userExpect()),
      step('worker', 'Runs the deferred free worker.', nothing(), freedExpect()),
      step('destroy', 'arena_map_free().', nothing(), destroyExpect()),
      step('pte', 'Reads a kernel PTE, or sets it raw.', pte(), pteExpect()),
      step('stream', 'Reads or writes a program’s stderr stream.', stream(), streamExpect()),
      step(
        'lock',
        'Takes arena->spinlock, as a program inside the arena’s own functions finds it.',
        nothing(),
        resultExpect(),
      ),
      step('unlock', 'Lets go of arena->spinlock.', nothing(), mapping(plainExpect())),
      step('create', 'arena_map_alloc(), which may refuse.', create(), resultExpect()),
    ]),
  ),
);

export type RawStep = z.output<ReturnType<typeof steps>>[number];
export type RawCallExpect = z.output<ReturnType<typeof callExpect>>;
export type RawRange = z.output<ReturnType<typeof range>>;
