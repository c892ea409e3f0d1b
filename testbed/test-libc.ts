// A plain model of C string and memory routines over an arena whose unallocated pages are all one scratch page, and what
// the tests run of each.
const PAGE = 0x1000;

/** Arena memory as a program sees it: allocated pages of their own, everything else one page. */
export class ModelArena {
  private readonly pages = new Map<number, Uint8Array>();
  readonly scratch = new Uint8Array(PAGE);
  /** Pages that were written to. */
  readonly written = new Set<number>();

  constructor(allocated: readonly number[]) {
    for (const page of allocated) this.pages.set(page, new Uint8Array(PAGE));
  }

  page(number: number): Uint8Array {
    return this.pages.get(number) ?? this.scratch;
  }

  get(at: number): number {
    return this.page(Math.floor(at / PAGE))[at % PAGE];
  }

  set(at: number, value: number): void {
    const page = Math.floor(at / PAGE);
    this.page(page)[at % PAGE] = value;
    this.written.add(page);
  }

  read(at: number, length: number): Uint8Array {
    return Uint8Array.from({ length }, (_, i) => this.get(at + i));
  }

  write(at: number, bytes: ArrayLike<number>): void {
    for (let i = 0; i < bytes.length; i++) this.set(at + i, bytes[i]);
  }

  /** Bytes up to the first 0, which is not counted. */
  length(at: number): number {
    let n = 0;
    while (this.get(at + n) !== 0) n++;
    return n;
  }

  string(at: number): Uint8Array {
    return this.read(at, this.length(at));
  }
}

/** An argument: an offset into the arena, or a plain number, or the address of a function. */
export type LibcArgument = { readonly at: number } | number | { readonly symbol: string };

/** What a call must return: an offset into the arena, NULL, a number, a sign only, or nothing that matters. */
export type LibcResult =
  | { readonly at: number }
  | { readonly value: bigint; readonly bits: 32 | 64 }
  | { readonly sign: -1 | 0 | 1 }
  | null;

export interface LibcCase {
  readonly args: readonly LibcArgument[];
  /** Changes the model as the call must change the arena. */
  model(arena: ModelArena): LibcResult;
}

/** Two places for a routine's operands; `a` is what it writes, if it writes. */
export interface Placement {
  readonly name: string;
  readonly a: number;
  readonly b: number;
  /** Address of the arena's first byte. */
  readonly base: bigint;
}

export interface Routine {
  readonly name: string;
  /** What must stand where before the call. */
  prepare(at: Placement): readonly { readonly at: number; readonly bytes: Uint8Array }[];
  cases(at: Placement): readonly LibcCase[];
}

const text = (value: string) => Uint8Array.from([...value].map((c) => c.charCodeAt(0)));
const zeroTerminated = (value: string) => Uint8Array.from([...text(value), 0]);
const pattern = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, i) => (i * 37 + seed * 11 + (i >> 3)) & 0xff);
const at = (offset: number) => ({ at: offset });
const int = (value: number): LibcResult => ({ value: BigInt(value), bits: 32 });
const long = (value: number): LibcResult => ({ value: BigInt(value), bits: 64 });
const pointer = (offset: number | null): LibcResult => (offset === null ? long(0) : at(offset));
const order = (x: ArrayLike<number>, y: ArrayLike<number>): LibcResult => {
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const difference = (x[i] ?? 0) - (y[i] ?? 0);
    if (difference !== 0) return { sign: difference < 0 ? -1 : 1 };
  }
  return { sign: 0 };
};

/** Long enough for every routine's widest loop, and short enough for half a page. */
const SIZE = 300;
const STRING = 'the quick brown fox, jumps over; the lazy dog '.repeat(3);
const NEEDLE = 'over';

const memory = (name: string, cases: (p: Placement) => readonly LibcCase[]): Routine => ({
  name,
  prepare: ({ a, b }) => [
    { at: a, bytes: pattern(SIZE, 1) },
    { at: b, bytes: pattern(SIZE, 2) },
  ],
  cases,
});

/** @param first what stands at `a` */
const string = (
  name: string,
  cases: (p: Placement) => readonly LibcCase[],
  first = STRING,
  second = STRING,
): Routine => ({
  name,
  prepare: ({ a, b }) => [
    { at: a, bytes: zeroTerminated(first) },
    { at: b, bytes: zeroTerminated(second) },
  ],
  cases,
});

const one = (args: readonly LibcArgument[], model: LibcCase['model']): LibcCase => ({
  args,
  model,
});

function copied(arena: ModelArena, to: number, from: number, length: number): void {
  arena.write(to, arena.read(from, length));
}

const find = (arena: ModelArena, from: number, length: number, byte: number): number | null => {
  for (let i = 0; i < length; i++) if (arena.get(from + i) === byte) return from + i;
  return null;
};

const copies = (name: string, result: (a: number, n: number) => number) =>
  memory(name, ({ a, b }) =>
    [0, 7, 33, SIZE].map((n) =>
      one([at(a), at(b), n], (arena) => {
        copied(arena, a, b, n);
        return at(result(a, n));
      }),
    ),
  );

const moves = memory('memmove', ({ a, b }) => [
  ...[0, 31, SIZE].map((n) =>
    one([at(a), at(b), n], (arena) => {
      copied(arena, a, b, n);
      return at(a);
    }),
  ),
  // Over itself, up and down.
  ...[5, -5, 64, -64].map((by) =>
    one([at(a + 80 + by), at(a + 80), 150], (arena) => {
      copied(arena, a + 80 + by, a + 80, 150);
      return at(a + 80 + by);
    }),
  ),
]);

const copiedString = (arena: ModelArena, to: number, from: number, most: number): number => {
  const length = Math.min(arena.length(from), most);
  copied(arena, to, from, length);
  return length;
};

const wordOf = (arena: ModelArena, from: number, size: number): number[] => [
  ...arena.read(from, size),
];

export const ROUTINES: readonly Routine[] = [
  copies('memcpy', (a) => a),
  copies('mempcpy', (a, n) => a + n),
  moves,
  memory('memset', ({ a }) =>
    [0, 3, 100, SIZE].map((n) =>
      one([at(a), 0x1a5, n], (arena) => {
        arena.write(a, new Uint8Array(n).fill(0xa5));
        return at(a);
      }),
    ),
  ),
  memory('bzero', ({ a }) => [
    one([at(a), 77], (arena) => {
      arena.write(a, new Uint8Array(77));
      return null;
    }),
  ]),
  memory('memcmp', ({ a, b }) => [
    one([at(a), at(b), SIZE], (m) => order(m.read(a, SIZE), m.read(b, SIZE))),
    one([at(a), at(a), SIZE], () => ({ sign: 0 })),
    one([at(a), at(b), 0], () => ({ sign: 0 })),
    one([at(b + 1), at(a + 1), 40], (m) => order(m.read(b + 1, 40), m.read(a + 1, 40))),
  ]),
  memory('memchr', ({ a }) =>
    [0, 0x25, 0x7f, 0xfe].map((byte) =>
      one([at(a), byte, SIZE], (m) => pointer(find(m, a, SIZE, byte))),
    ),
  ),
  memory('memrchr', ({ a }) =>
    [0x25, 0x7f].map((byte) =>
      one([at(a), byte, SIZE], (m) => {
        const last = m.read(a, SIZE).lastIndexOf(byte);
        return pointer(last < 0 ? null : a + last);
      }),
    ),
  ),
  memory('memccpy', ({ a, b }) => [
    one([at(a), at(b), pattern(SIZE, 2)[50], SIZE], (m) => {
      const stop = m.read(b, SIZE).indexOf(pattern(SIZE, 2)[50]);
      copied(m, a, b, stop + 1);
      return at(a + stop + 1);
    }),
    one([at(a), at(b), 0x1ff, 4], (m) => {
      copied(m, a, b, 4);
      return pointer(m.read(b, 4).includes(0xff) ? a + m.read(b, 4).indexOf(0xff) + 1 : null);
    }),
  ]),
  memory('memmem', ({ a, b }) => [
    one([at(a), SIZE, at(a + 100), 9], (m) => {
      const whole = Buffer.from(m.read(a, SIZE));
      const found = whole.indexOf(Buffer.from(m.read(a + 100, 9)));
      return pointer(found < 0 ? null : a + found);
    }),
    one([at(a), 20, at(b), 8], (m) => {
      const found = Buffer.from(m.read(a, 20)).indexOf(Buffer.from(m.read(b, 8)));
      return pointer(found < 0 ? null : a + found);
    }),
  ]),
  memory('swab', ({ a, b }) => [
    one([at(b), at(a), 10], (m) => {
      const bytes = m.read(b, 10);
      m.write(
        a,
        bytes.map((_, i) => bytes[i ^ 1]),
      );
      return null;
    }),
  ]),
  string('strlen', ({ a }) =>
    [0, 1, 30, STRING.length].map((skip) => one([at(a + skip)], (m) => long(m.length(a + skip)))),
  ),
  string('strnlen', ({ a }) =>
    [0, 5, 1000].map((most) => one([at(a), most], (m) => long(Math.min(most, m.length(a))))),
  ),
  string(
    'strcpy',
    ({ a, b }) => [
      one([at(a), at(b)], (m) => {
        copied(m, a, b, m.length(b) + 1);
        return at(a);
      }),
      one([at(a), at(b + 40)], (m) => {
        copied(m, a, b + 40, m.length(b + 40) + 1);
        return at(a);
      }),
    ],
    '',
  ),
  string(
    'stpcpy',
    ({ a, b }) => [
      one([at(a), at(b)], (m) => {
        const length = m.length(b);
        copied(m, a, b, length + 1);
        return at(a + length);
      }),
    ],
    '',
  ),
  string(
    'strncpy',
    ({ a, b }) =>
      [0, 10, 200].map((most) =>
        one([at(a), at(b), most], (m) => {
          const length = copiedString(m, a, b, most);
          m.write(a + length, new Uint8Array(most - length));
          return at(a);
        }),
      ),
    '',
  ),
  string(
    'stpncpy',
    ({ a, b }) =>
      [10, 200].map((most) =>
        one([at(a), at(b), most], (m) => {
          const length = copiedString(m, a, b, most);
          m.write(a + length, new Uint8Array(most - length));
          return at(a + length);
        }),
      ),
    '',
  ),
  string(
    'strlcpy',
    ({ a, b }) =>
      [10, 200].map((size) =>
        one([at(a), at(b), size], (m) => {
          const length = copiedString(m, a, b, size - 1);
          m.set(a + length, 0);
          return long(m.length(b));
        }),
      ),
    '',
  ),
  string(
    'strcat',
    ({ a, b }) => [
      one([at(a), at(b)], (m) => {
        copied(m, a + m.length(a), b, m.length(b) + 1);
        return at(a);
      }),
    ],
    'head of it: ',
  ),
  string(
    'strncat',
    ({ a, b }) =>
      [7, 200].map((most) =>
        one([at(a), at(b), most], (m) => {
          const end = a + m.length(a);
          const length = copiedString(m, end, b, most);
          m.set(end + length, 0);
          return at(a);
        }),
      ),
    'head: ',
  ),
  string(
    'strcmp',
    ({ a, b }) =>
      [0, 1, 44].map((skip) =>
        one([at(a), at(b + skip)], (m) => order(m.string(a), m.string(b + skip))),
      ),
    STRING,
    STRING.replace(/dog $/, 'dot '),
  ),
  string(
    'strncmp',
    ({ a, b }) =>
      [0, 20, 500].map((most) =>
        one([at(a), at(b), most], (m) =>
          order(m.string(a).slice(0, most), m.string(b).slice(0, most)),
        ),
      ),
    STRING,
    STRING.replace(/dog $/, 'dot '),
  ),
  string(
    'strcasecmp',
    ({ a, b }) => [
      one([at(a), at(b)], () => ({ sign: 0 })),
      one([at(a + 1), at(b)], () => ({ sign: -1 })),
    ],
    STRING,
    STRING.toUpperCase(),
  ),
  string('strchr', ({ a }) =>
    ['q', 'z', '#', '\0'].map((c) =>
      one([at(a), c.charCodeAt(0)], (m) => pointer(find(m, a, m.length(a) + 1, c.charCodeAt(0)))),
    ),
  ),
  string('strrchr', ({ a }) =>
    ['q', 't', '#', '\0'].map((c) =>
      one([at(a), c.charCodeAt(0)], (m) => {
        const last = m.read(a, m.length(a) + 1).lastIndexOf(c.charCodeAt(0));
        return pointer(last < 0 ? null : a + last);
      }),
    ),
  ),
  string('strchrnul', ({ a }) =>
    ['q', '#'].map((c) =>
      one([at(a), c.charCodeAt(0)], (m) =>
        at(find(m, a, m.length(a), c.charCodeAt(0)) ?? a + m.length(a)),
      ),
    ),
  ),
  string(
    'strstr',
    ({ a, b }) => [
      one([at(a), at(b)], (m) => {
        const found = Buffer.from(m.string(a)).indexOf(Buffer.from(m.string(b)));
        return pointer(found < 0 ? null : a + found);
      }),
      one([at(b), at(a)], () => pointer(null)),
    ],
    STRING,
    NEEDLE,
  ),
  string('strspn', ({ a, b }) => [one([at(a), at(b)], () => long(10))], STRING, 'the quick'),
  string('strcspn', ({ a, b }) => [one([at(a), at(b)], () => long(19))], STRING, ';,'),
  string('strpbrk', ({ a, b }) => [one([at(a), at(b)], () => at(a + 19))], STRING, ';,'),
  string('atoi', ({ a }) => [one([at(a)], () => int(-90210))], '  -90210 apples'),
  string(
    'strtol',
    ({ a, b, base }) => [
      one([at(a), at(b + 0x40), 0], (m) => {
        const end = new Uint8Array(8);
        new DataView(end.buffer).setBigUint64(0, base + BigInt(a + 8), true);
        m.write(b + 0x40, end);
        return { value: -0x1234n, bits: 64 };
      }),
    ],
    ' -0x1234g',
  ),
  string(
    'strtoul',
    ({ a }) => [
      one([at(a), 0, 16], () => ({ value: 0xdead_beefn, bits: 64 })),
      one([at(a + 1), 0, 36], () => ({ value: BigInt(Number.parseInt('eadbeef', 36)), bits: 64 })),
    ],
    'deadbeef!',
  ),
  {
    // Strings of 8 bytes, sorted by strcmp.
    name: 'qsort',
    prepare: ({ a }) => [{ at: a, bytes: sortable() }],
    cases: ({ a }) => [
      one([at(a), 24, 8, { symbol: 'strcmp' }], (m) => {
        const words = Array.from({ length: 24 }, (_, i) => wordOf(m, a + i * 8, 8));
        words.sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
        m.write(a, words.flat());
        return null;
      }),
    ],
  },
  {
    name: 'bsearch',
    prepare: ({ a, b }) => [
      { at: a, bytes: sorted() },
      { at: b, bytes: zeroTerminated('g0') },
    ],
    cases: ({ a, b }) => [
      one([at(b), at(a), 24, 8, { symbol: 'strcmp' }], () => at(a + 8 * 6)),
      one([at(b + 1), at(a), 24, 8, { symbol: 'strcmp' }], () => pointer(null)),
    ],
  },
];

const key = (i: number) => `${String.fromCharCode(97 + i)}${i % 3}`.padEnd(8, '\0');
const sorted = () => text(Array.from({ length: 24 }, (_, i) => key(i)).join(''));
const sortable = () => text(Array.from({ length: 24 }, (_, i) => key((i * 7) % 24)).join(''));
