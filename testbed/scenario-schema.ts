// The scenario format: every key, what it accepts and what an editor says about it. Defaults, names that must exist
// and referenced files are scenario-load.ts's business.
import * as z from 'zod/mini';
import { INVARIANTS, MEMORY_MODELS } from './scenario-model.ts';
import { callKeys, path, value } from './scenario-schema-call.ts';
import { arenaFlags, callExpect, page, steps } from './scenario-schema-steps.ts';
import {
  count,
  hexBytes,
  mapping,
  may,
  must,
  once,
  perArch,
  textOf,
  unsigned,
  word,
} from './scenario-values.ts';

const arch = once(() => z.enum(['x86_64', 'arm64']));

const init = () =>
  mapping({
    offset: must('Bytes from kern_vm_start.', word()),
    hex: may('Bytes.', hexBytes()),
    file: may('File with the bytes.', path()),
    pointer: may('An 8-byte kernel pointer.', value()),
  });

const arena = once(() =>
  mapping({
    pages: may('max_entries: 1 to 1048576, the default (4 GiB).', count(0, 0xffff_ffff)),
    user_vm_start: may('map_extra (default 0x7f0000000000).', unsigned()),
    flags: may('Map flags beside MMAPABLE.', arenaFlags()),
    alloc: may(
      '[first page from user_vm_start, count], allocated in order.',
      z.array(z.tuple([page(), count(0, 0xffff_ffff)])),
    ),
    init: may('Contents of allocated pages.', z.array(init())),
  }),
);

const kernel = () =>
  mapping({
    vm_start: may(
      'kern_vm_start of the first arena, by architecture.',
      mapping({
        x86_64: may('Page aligned.', unsigned()),
        arm64: may('Page aligned.', unsigned()),
      }),
    ),
    scratch_pfn: may('Frame of the first arena’s scratch page (0x1234).', count(1, 2 ** 40 - 1)),
    page_size: may('arm64: 4096 (default), 16384 or 65536.', count(0, 0xffff_ffff)),
    la57: may('x86: five levels of tables (false).', z.boolean()),
    pti: may('x86 PTI, arm64 KPTI (false).', z.boolean()),
    contpte: may('arm64: CONFIG_ARM64_CONTPTE (true).', z.boolean()),
    unwinder: may('x86: orc by default.', z.enum(['orc', 'frame_pointer', 'none'])),
    kfence: may(
      'KFENCE pool; off by default.',
      mapping({
        pool: must('Where it lies.', perArch(value())),
        objects: may('CONFIG_KFENCE_NUM_OBJECTS (255).', count(1, 65535)),
      }),
    ),
    arena_lock: may(
      'What arena->spinlock is: rqspinlock (default), or a raw_spinlock, which hangs where the other gives up.',
      z.enum(['rqspinlock', 'raw_spinlock']),
    ),
    hafdbs: may('arm64: TCR_EL1.HA and HD (false).', z.boolean()),
    bpf_syscall: may('false: the hook is the stub that returns false (true).', z.boolean()),
    erms: may('x86: CPU feature that alternatives ask for (true).', z.boolean()),
    cpucaps: may(
      'arm64: capabilities of the CPU that alternatives ask for, by their numbers in the kernel’s cpucaps.h (none).',
      z.array(count(0, 0x7fff)),
    ),
    stack: may('Kernel stack in bytes (0x4000).', count(0, 0xffff_ffff)),
    tlb: may(
      'What the TLBs may do beyond the rule; reports name each that is on.',
      mapping({
        negative: may(
          'on: a refused translation is kept for one access, as under a hypervisor (off).',
          z.enum(['off', 'on']),
        ),
      }),
    ),
    replace: may(
      'Objects whose functions take the place of the model’s, by the name of the function.',
      z.record(z.string(), perArch(path())),
    ),
  });

const inject = () =>
  z.array(
    mapping({
      at: must(
        'Where the kernel fails.',
        z.enum(['alloc_page', 'range_node', 'spinlock', 'populate', 'span']),
      ),
      nth: may('Which call fails, from 1 (default 1).', count(1, 0xffff_ffff)),
      errno: may(
        'The error, by name (ENOMEM; ETIMEDOUT for the spinlock).',
        textOf(/^-?E[A-Z0-9]+$/, 'the name of an errno', 'write it as ENOMEM'),
      ),
    }),
  );

const limits = () =>
  mapping({
    instructions: may(
      'Retired instructions, or none (default 10000000).',
      z.union([count(1, Number.MAX_SAFE_INTEGER), z.literal('none')]),
    ),
  });

const schedule = () =>
  z.union([
    mapping({ seed: must('Seed of a random schedule.', unsigned()) }),
    textOf(/^\s*\d+:(\d+|\*)(\s+\d+:(\d+|\*))*\s*$/, 'a schedule', 'write "0:3 1:2 0:*"'),
  ]);

/** The whole file. */
export const scenarioSchema = once(() =>
  mapping({
    name: may('What the scenario shows, in a few words.', z.string()),
    arch: may(
      'Architectures: the scenario runs once for each.',
      z.union([arch(), z.array(arch())]),
    ),
    series: may('Revision of the patch: mainline by default.', z.enum(['v2', 'mainline'])),
    arena: may('The arena.', arena()),
    arenas: may('Several arenas by name, instead of `arena`.', z.record(z.string(), arena())),
    ...callKeys(),
    expect: may('What must come of the call.', callExpect()),
    limits: may('When a run is ended.', limits()),
    kernel: may('Configuration of the modelled kernel.', kernel()),
    inject: may('Failures to make.', inject()),
    steps: may('Several steps in order, instead of one call.', steps()),
    cpus: may('Lists of steps, one for each CPU.', z.array(steps())),
    schedule: may('Which CPU goes when: {seed: n}, or "cpu:steps" in turn.', schedule()),
    memory: may(
      'sc (default); x86: tso, plain stores wait in a buffer of their CPU; arm64: vmsa, walkers and TLBs see stores to tables late, vmsa-ets2 the same with FEAT_ETS2.',
      z.enum(MEMORY_MODELS),
    ),
    bound: may(
      'How far `explore` looks.',
      mapping({ preemptions: may('Preemptions in a schedule at most.', count(0, 1000)) }),
    ),
    without: may('Invariants that `explore` leaves out.', z.array(z.enum(INVARIANTS))),
  }),
);

/** The file as the schema lets it through. */
export type Raw = z.output<ReturnType<typeof scenarioSchema>>;
