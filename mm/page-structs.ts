// struct page of every page of the allocator, and the list of those that were freed, last in first out. All of it lies in
// one block of memory by pages of which versions are kept: a snapshot of a large machine costs what changed.
import { type Restore, SAVE, type Saveable } from '../emulator/snapshot.ts';
import { VERSION_PAGE, VersionedMemory } from '../emulator/versions.ts';

// Layout of one structure, in 4-byte and 2-byte words.
const WORDS = 4;
const REFS = 0;
const MAP_COUNT = 2;
const OWNER = 3;
/** Neighbours in the list of freed pages, one more than their numbers; 0: none. */
const NEWER = 2;
const OLDER = 3;
const PER_VERSION_PAGE = VERSION_PAGE / (WORDS * 4);

export class PageStructs implements Saveable {
  private readonly words: Int32Array;
  private readonly halves: Uint16Array;
  private readonly memory: VersionedMemory;
  /** One more than the page that was freed last; 0: none. */
  private newest = 0;

  constructor(count: number) {
    const bytes = new Uint8Array(Math.ceil(count / PER_VERSION_PAGE) * VERSION_PAGE);
    this.words = new Int32Array(bytes.buffer);
    this.halves = new Uint16Array(bytes.buffer);
    this.memory = new VersionedMemory(bytes);
  }

  refs(page: number): number {
    return this.words[page * WORDS + REFS];
  }

  setRefs(page: number, value: number): void {
    this.touch(page);
    this.words[page * WORDS + REFS] = value;
  }

  mapCount(page: number): number {
    return this.halves[page * WORDS * 2 + MAP_COUNT];
  }

  setMapCount(page: number, value: number): void {
    this.touch(page);
    this.halves[page * WORDS * 2 + MAP_COUNT] = value;
  }

  owner(page: number): number {
    return this.halves[page * WORDS * 2 + OWNER];
  }

  setOwner(page: number, id: number): void {
    this.touch(page);
    this.halves[page * WORDS * 2 + OWNER] = id;
  }

  /** The page that was freed last and not taken since; -1: none. */
  get newestFreed(): number {
    return this.newest - 1;
  }

  /** The newest of the freed pages, at most `most` of them. */
  freedPages(most: number): number[] {
    const pages: number[] = [];
    for (
      let next = this.newest;
      next > 0 && pages.length < most;
      next = this.words[(next - 1) * WORDS + OLDER]
    ) {
      pages.push(next - 1);
    }
    return pages;
  }

  /** Puts a page on the list of freed ones. */
  pushFreed(page: number): void {
    const older = this.newest;
    this.link(page, OLDER, older);
    this.link(page, NEWER, 0);
    if (older > 0) this.link(older - 1, NEWER, page + 1);
    this.newest = page + 1;
  }

  /** Takes a page out of the list, which it must be in. */
  removeFreed(page: number): void {
    const newer = this.words[page * WORDS + NEWER];
    const older = this.words[page * WORDS + OLDER];
    if (newer > 0) this.link(newer - 1, OLDER, older);
    else this.newest = older;
    if (older > 0) this.link(older - 1, NEWER, newer);
  }

  [SAVE](): Restore {
    const { newest } = this;
    const version = this.memory.save();
    return () => {
      this.memory.restore(version);
      this.newest = newest;
    };
  }

  private link(page: number, word: number, value: number): void {
    this.touch(page);
    this.words[page * WORDS + word] = value;
  }

  private touch(page: number): void {
    const at = Math.floor(page / PER_VERSION_PAGE);
    if (this.memory.touched[at] === 0) this.memory.touch(at);
  }
}
