// A second, slow walker for tests: one access as SDM Vol. 3A, chapter 4 tells it, in bigints and over a map of entries,
// rule by rule. It shares no code with the paging unit. Where the manual leaves a choice, the choice is the unit's: no
// accessed flag is set by a refused page, and of two pages that fault the lower is reported.

/** Registers by name, and what CPUID says. */
export interface ManualState {
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  readonly pkru: bigint;
  readonly pkrs: bigint;
  readonly cpl: number;
  readonly ac: boolean;
  readonly implicit: boolean;
  readonly maxPhysAddr: number;
  readonly page1g: boolean;
}

export interface ManualAccess {
  readonly kind: 'read' | 'write' | 'rmw' | 'fetch';
  readonly va: bigint;
  readonly size: number;
  readonly stack: boolean;
}

export type ManualOutcome =
  | { readonly fault: null; readonly pa: bigint }
  | { readonly fault: { vector: number; code: number; cr2: bigint | null } };

/** Entries by physical address; other memory is 0. Accessed and dirty flags are set in it. */
export type ManualMemory = Map<bigint, bigint>;

/** Nothing answers above: a PC reads all ones. */
const MEMORY_END = 1n << 40n;
const ALL_ONES = (1n << 64n) - 1n;

const bit = (word: bigint, at: number): boolean => ((word >> BigInt(at)) & 1n) === 1n;
const bits = (word: bigint, high: number, low: number): bigint =>
  (word >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);

interface Page {
  readonly pa: bigint;
  readonly used: readonly bigint[];
}

class PageFault {
  readonly code: number;
  constructor(code: number) {
    this.code = code;
  }
}

export function manualAccess(
  memory: ManualMemory,
  state: ManualState,
  { kind, va, size, stack }: ManualAccess,
): ManualOutcome {
  // Vol. 1, 3.3.7.1: every byte of an operand must be canonical. Vol. 3A, 6.15: #SS for stack references, else #GP.
  // An instruction is not an operand: its length is not known before its first bytes are there.
  const width = bit(state.cr4, 12) ? 57 : 48;
  const bytes = Array.from({ length: size }, (_, i) => BigInt.asUintN(64, va + BigInt(i)));
  const canonical = (address: bigint) =>
    BigInt.asUintN(64, BigInt.asIntN(width, address)) === address;
  const notCanonical = {
    fault: { vector: stack && kind !== 'fetch' ? 12 : 13, code: 0, cr2: null },
  };
  if (kind !== 'fetch' && !bytes.every(canonical)) return notCanonical;
  // The access is split at the page boundary; CR2 is the lowest byte that could not be translated (4.7).
  const parts = bytes.filter((byte, i) => i === 0 || bits(byte, 11, 0) === 0n);
  const pages: Page[] = [];
  for (const part of parts) {
    if (!canonical(part)) return notCanonical;
    const page = translate(memory, state, part, kind);
    if (page instanceof PageFault) return { fault: { vector: 14, code: page.code, cr2: part } };
    // 4.8: A in each entry used, D in the one that maps the page if it is written.
    for (const [level, at] of page.used.entries()) {
      const dirty = level === page.used.length - 1 && (kind === 'write' || kind === 'rmw');
      memory.set(at, memory.get(at)! | 0x20n | (dirty ? 0x40n : 0n));
    }
    pages.push(page);
  }
  return { fault: null, pa: pages[0].pa };
}

function translate(
  memory: ManualMemory,
  state: ManualState,
  va: bigint,
  kind: ManualAccess['kind'],
): Page | PageFault {
  const { cr0, cr4, efer, maxPhysAddr } = state;
  const nxe = bit(efer, 11);
  // 4.6: at CPL 3 explicit accesses are user-mode accesses; all others are supervisor-mode accesses.
  const userMode = state.cpl === 3 && !state.implicit;
  const write = kind === 'write' || kind === 'rmw';
  const fetch = kind === 'fetch';
  // 4.7, figure 4-12. I/D needs CR4.SMEP = 1, or NXE = 1 with PAE paging.
  const code = (present: boolean, reserved: boolean, key: boolean) =>
    new PageFault(
      (present ? 1 : 0) |
        (write ? 2 : 0) |
        (userMode ? 4 : 0) |
        (reserved ? 8 : 0) |
        (fetch && (bit(cr4, 20) || nxe) ? 16 : 0) |
        (key ? 32 : 0),
    );

  const used: bigint[] = [];
  const entries: bigint[] = [];
  let table = bits(state.cr3, maxPhysAddr - 1, 12) << 12n;
  let low = bit(cr4, 12) ? 48 : 39;
  for (; ; low -= 9) {
    const at = table + 8n * bits(va, low + 8, low);
    const entry = at < MEMORY_END ? (memory.get(at) ?? 0n) : ALL_ONES;
    if (!bit(entry, 0)) return code(false, false, false);
    const ps = low !== 12 && bit(entry, 7);
    // Tables 4-14 to 4-20.
    const reserved =
      bits(entry, 51, maxPhysAddr === 52 ? 52 : maxPhysAddr) !== 0n ||
      (bit(entry, 63) && !nxe) ||
      (ps && low >= 39) ||
      (ps && low === 30 && (!state.page1g || bits(entry, 29, 13) !== 0n)) ||
      (ps && low === 21 && bits(entry, 20, 13) !== 0n);
    if (reserved) return code(true, true, false);
    used.push(at);
    entries.push(entry);
    if (low === 12 || ps) break;
    table = bits(entry, 51, 12) << 12n;
  }
  const leaf = entries[entries.length - 1];
  const pa = (bits(leaf, 51, low) << BigInt(low)) | bits(va, low - 1, 0);

  // 4.6.1: a user-mode address has U/S = 1 in every entry.
  const userAddress = entries.every((entry) => bit(entry, 2));
  const writable = entries.every((entry) => bit(entry, 1));
  const executeDisable = nxe && entries.some((entry) => bit(entry, 63));
  const [wp, smep, smap] = [bit(cr0, 16), bit(cr4, 20), bit(cr4, 21)];

  // 4.6.2: PKRU for user-mode addresses (CR4.PKE), IA32_PKRS for the others (CR4.PKS); data accesses only.
  let keyDenies = false;
  const enabled = userAddress ? bit(cr4, 22) : bit(cr4, 24);
  if (enabled && !fetch) {
    const key = Number(bits(leaf, 62, 59));
    const rights = bits(userAddress ? state.pkru : state.pkrs, 2 * key + 1, 2 * key);
    const [accessDisable, writeDisable] = [bit(rights, 0), bit(rights, 1)];
    keyDenies = accessDisable || (write && writeDisable && (userMode || wp));
  }
  let allowed: boolean;
  if (userMode) {
    allowed = userAddress && (fetch ? !executeDisable : !write || writable);
  } else if (fetch) {
    allowed = !executeDisable && !(userAddress && smep);
  } else {
    const smapDenies = userAddress && smap && (state.implicit || !state.ac);
    allowed = !smapDenies && (!write || writable || !wp);
  }
  if (!allowed || keyDenies) return code(true, false, keyDenies);
  return { pa, used };
}
