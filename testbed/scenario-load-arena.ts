// Loads arenas. One that arena_map_alloc() would refuse is an error here: the step `create` is for those.
import { type VirtAddr, virtAddr } from '../emulator/address.ts';
import { hex, lo32 } from '../emulator/bits.ts';
import type { Path } from './scenario-error.ts';
import { DEFAULT_PAGES, DEFAULT_USER_VM_START } from './scenario-load-steps.ts';
import type { Loader } from './scenario-loader.ts';
import type {
  ArenaContents,
  ArenaOffset,
  ArenaOptions,
  PageRange,
  UserPage,
} from './scenario-model.ts';
import type { Raw } from './scenario-schema.ts';

type RawArena = NonNullable<Raw['arena']>;

const SZ_4G = 0x1_0000_0000;

/** What the key `arena:` calls its arena. */
const ONLY_ARENA = 'arena';

/** Names and options of the arenas as the file gives them, the first first. */
export function namedArenas(raw: Raw): { name: string; options: RawArena; path: Path }[] {
  const several = Object.entries(raw.arenas ?? {});
  if (several.length === 0)
    return [{ name: ONLY_ARENA, options: raw.arena ?? {}, path: ['arena'] }];
  return several.map(([name, options]) => ({ name, options, path: ['arenas', name] }));
}

export function loadArenas(raw: Raw, loader: Loader): ArenaOptions[] {
  if (raw.arena && raw.arenas) {
    const remedy = 'put it among `arenas`';
    loader.complain(['arena'], '`arena` and `arenas` exclude each other', remedy, 'key');
  }
  if (raw.arenas && Object.keys(raw.arenas).length === 0) {
    loader.complain(['arenas'], 'there is no arena in it', 'give one, or leave the key out');
  }
  return namedArenas(raw).map(({ name, options, path }) => {
    if (name === 'none' || !/^[A-Za-z_]\w*$/.test(name)) {
      const remedy = 'use letters, digits and _; `none` means no arena';
      loader.complain(path, `${name} is no name for an arena`, remedy, 'key');
    }
    return loadArena(name, options, path, loader);
  });
}

function loadArena(name: string, raw: RawArena, path: Path, loader: Loader): ArenaOptions {
  const { pageSize } = loader;
  const pages = raw.pages ?? DEFAULT_PAGES / (pageSize / 4096);
  const userVmStart = virtAddr(raw.user_vm_start ?? DEFAULT_USER_VM_START);
  const before = loader.complaints.length;
  checkArena(pages, userVmStart, raw, path, loader);
  const alloc = (raw.alloc ?? []).map(
    ([page, count]): PageRange => ({ page: page as UserPage, count }),
  );
  checkAllocations(alloc, pages, [...path, 'alloc'], loader);
  const possible = loader.complaints.length === before;
  const init = (raw.init ?? []).map((contents, i) => {
    const at = [...path, 'init', i];
    const loaded = loadContents(contents, at, loader);
    if (possible) checkAllocated(loaded, alloc, userVmStart, at, loader);
    return loaded;
  });
  return { name, pages, userVmStart, flags: raw.flags ?? [], alloc, init };
}

/** The checks of arena_map_alloc() and, for programs, the verifier's. */
function checkArena(
  pages: number,
  userVmStart: VirtAddr,
  raw: RawArena,
  path: Path,
  loader: Loader,
): void {
  const { pageSize } = loader;
  const most = SZ_4G / pageSize;
  const refused = ' (the kernel refuses it; the step `create` can show that)';
  if (pages < 1 || pages > most) {
    const message = `an arena of ${pages} pages is impossible${refused}`;
    loader.complain([...path, 'pages'], message, `give 1 to ${most} pages of ${pageSize} bytes`);
    return;
  }
  const start: Path = raw.user_vm_start === undefined ? path : [...path, 'user_vm_start'];
  if (userVmStart === 0n) {
    const message = 'no program that uses the arena can be loaded while its user address is 0';
    loader.complain(start, message, 'leave it out for 0x7f0000000000');
  } else if (userVmStart % BigInt(pageSize) !== 0n) {
    const remedy = `align it to ${hex(pageSize)}`;
    loader.complain(start, `${hex(userVmStart)} is not page aligned${refused}`, remedy);
  }
  const last = userVmStart + BigInt(pages) * BigInt(pageSize) - 1n;
  if (userVmStart >> 32n !== last >> 32n) {
    const message = `${pages} pages at ${hex(userVmStart)} cross a 4 GiB border${refused}`;
    loader.complain(start, message, 'lower user_vm_start, or give fewer `pages`');
  }
}

function checkAllocations(
  alloc: readonly PageRange[],
  pages: number,
  path: Path,
  loader: Loader,
): void {
  for (const [i, { page, count }] of alloc.entries()) {
    const last = page + count - 1;
    if (count < 1 || page < 0 || last >= pages) {
      const message = `pages ${page} to ${last} cannot be allocated in an arena of ${pages}`;
      loader.complain(
        [...path, i],
        message,
        `pages count from user_vm_start, from 0 to ${pages - 1}`,
      );
    }
    const other = alloc.slice(0, i).find((o) => o.page <= last && page < o.page + o.count);
    if (other !== undefined) {
      const again = Math.max(page, other.page);
      loader.complain([...path, i], `page ${again} is allocated already`, 'allocate it once');
    }
  }
}

function loadContents(
  raw: NonNullable<RawArena['init']>[number],
  path: Path,
  loader: Loader,
): ArenaContents {
  const { hex: bytes, file, pointer } = raw;
  const offset = raw.offset as ArenaOffset;
  if ([bytes, file, pointer].filter((form) => form !== undefined).length !== 1) {
    const message = 'exactly one of hex, file, pointer says what to put there';
    loader.complain(path, message, 'give one of them');
  }
  if (pointer !== undefined) {
    const value = loader.value(pointer, [...path, 'pointer']);
    return { offset, contents: { kind: 'pointer', value } };
  }
  const read = file === undefined ? new Uint8Array() : loader.file(file, [...path, 'file']);
  return { offset, contents: { kind: 'bytes', bytes: bytes ?? read } };
}

/** Contents can only be put where a page is. */
function checkAllocated(
  { offset, contents }: ArenaContents,
  alloc: readonly PageRange[],
  userVmStart: VirtAddr,
  path: Path,
  loader: Loader,
): void {
  const { pageSize } = loader;
  const length = contents.kind === 'bytes' ? contents.bytes.length : 8;
  const start = Number(offset) - lo32(userVmStart);
  const size = BigInt(pageSize);
  for (let at = start - (start % pageSize); at < start + length; at += pageSize) {
    const page = Math.floor(at / pageSize);
    if (alloc.some((range) => page >= range.page && page < range.page + range.count)) continue;
    const kernelPage = BigInt(page) + BigInt(lo32(userVmStart)) / size;
    const message = `nothing is allocated at offset ${hex(kernelPage * size)}`;
    const first = `the arena's pages begin at offset ${hex(lo32(userVmStart))}`;
    const remedy = page < 0 ? first : `add [${page}, 1] to \`alloc\``;
    loader.complain([...path, 'offset'], message, remedy);
    return;
  }
}
