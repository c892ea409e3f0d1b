// Saves and restores what a run can change. The model is a graph of plain objects, and so is its snapshot: every object
// that can be reached from the roots, with what its fields held. They are put back in place, so that whoever holds one of
// the objects, a closure for one, need not know. Nothing has to be written for a new class, unless
// - it is large, or holds what is not in fields (memory, a library's handle): it then has a method [SAVE] of its own;
// - it holds what is derived from elsewhere: [SAVE] then returns a function that forgets it.
// State must be in fields: not in variables of a module or of a closure, not in #private names, not in a WeakMap. A frozen
// object counts as immutable, and so does all below it. A generator that is under way cannot be saved, and is refused.

/** Key of the method by which an object saves itself instead of having its fields saved. */
export const SAVE = Symbol('save');

/** Puts back what was saved. May be called any number of times, and in any order with others. */
export type Restore = () => void;

export interface Saveable {
  [SAVE](): Restore;
}

/**
 * Saves every object that can be reached from the roots.
 * @param outside objects that are no part of the state, nor what is reached through them alone
 * @throws TypeError for something whose state cannot be seen: a generator, a promise, a weak collection
 */
export function saveObjects(roots: readonly object[], outside: Iterable<object>): Restore {
  const walk = new Walk(outside);
  for (const root of roots) walk.visit(root);
  const restores = walk.run();
  return () => {
    for (const restore of restores) restore();
  };
}

/** Saves the fields of one object, and nothing that they refer to. For a [SAVE] that has more to do. */
export function saveFields(object: object): Restore {
  const fields = object as Record<string, unknown>;
  const keys = Object.keys(object);
  const values = Object.values(object);
  return () => {
    let now = Object.keys(object);
    if (now.length > keys.length) {
      for (const key of now) if (!keys.includes(key)) delete fields[key];
      now = Object.keys(object);
    }
    // Most fields are as they were, and to ask for one by its name is slow.
    const held = Object.values(object);
    for (let i = 0; i < keys.length; i++) {
      if (held[i] !== values[i] || now[i] !== keys[i]) fields[keys[i]] = values[i];
    }
  };
}

/** For a [SAVE] of something large that seldom changes: it is copied again only if it has changed since. */
export class SavedCopy {
  private last: Restore | null = null;

  /** To be called at every change. */
  changed(): void {
    this.last = null;
  }

  save(copy: () => Restore): Restore {
    this.last ??= copy();
    const saved = this.last;
    return () => {
      if (this.last === saved) return;
      saved();
      this.last = saved;
    };
  }
}

/** What can be worked out again at any time: it is not saved, and forgotten on the way back. */
export class DerivedMap<K, V> extends Map<K, V> implements Saveable {
  [SAVE](): Restore {
    return () => this.clear();
  }
}

/** What is compared with its sources before it is believed: it is neither saved nor forgotten. */
export class VerifiedMap<K, V> extends Map<K, V> implements Saveable {
  [SAVE](): Restore {
    return () => {};
  }
}

class Walk {
  private readonly seen: Set<object>;
  private readonly queue: object[] = [];

  constructor(outside: Iterable<object>) {
    this.seen = new Set(outside);
  }

  visit(value: unknown): void {
    if (typeof value !== 'object' || value === null || this.seen.has(value)) return;
    this.seen.add(value);
    this.queue.push(value);
  }

  run(): Restore[] {
    const restores: Restore[] = [];
    for (let object = this.queue.pop(); object !== undefined; object = this.queue.pop()) {
      const restore = this.save(object);
      if (restore !== null) restores.push(restore);
    }
    return restores;
  }

  /** @returns null for what cannot change */
  private save(object: object): Restore | null {
    if (SAVE in object) return (object as Saveable)[SAVE]();
    if (Array.isArray(object)) return this.saveArray(object);
    if (object instanceof Map) return this.saveMap(object);
    if (object instanceof Set) return this.saveSet(object);
    if (ArrayBuffer.isView(object)) return saveView(object);
    if (Object.isFrozen(object)) return null;
    const keys = Object.keys(object);
    if (keys.length === 0) return refuseOpaque(object);
    for (const key of keys) this.visit((object as Record<string, unknown>)[key]);
    return saveFields(object);
  }

  private saveArray(array: unknown[]): Restore | null {
    if (Object.isFrozen(array)) return null;
    const items = array.slice();
    for (const item of items) this.visit(item);
    return () => {
      array.length = items.length;
      for (let i = 0; i < items.length; i++) if (array[i] !== items[i]) array[i] = items[i];
    };
  }

  private saveMap(map: Map<unknown, unknown>): Restore {
    const entries = [...map];
    for (const [key, value] of entries) {
      this.visit(key);
      this.visit(value);
    }
    return () => {
      map.clear();
      for (const [key, value] of entries) map.set(key, value);
    };
  }

  private saveSet(set: Set<unknown>): Restore {
    const items = [...set];
    for (const item of items) this.visit(item);
    return () => {
      set.clear();
      for (const item of items) set.add(item);
    };
  }
}

function saveView(view: ArrayBufferView): Restore {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const saved = bytes.slice();
  return () => bytes.set(saved);
}

const OPAQUE = new Set(['Generator', 'AsyncGenerator', 'Promise', 'WeakMap', 'WeakSet', 'WeakRef']);

function refuseOpaque(object: object): null {
  const kind = Object.prototype.toString.call(object).slice('[object '.length, -1);
  if (OPAQUE.has(kind)) throw new TypeError(`a ${kind} cannot be saved`);
  return null;
}
