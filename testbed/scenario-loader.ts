// What every part of the loader is handed: the architecture it loads for, where complaints go, and files.
import { arm64Description } from '../arch/arm64/registers.ts';
import { x86Description } from '../arch/x86/registers.ts';
import { virtAddr } from '../emulator/address.ts';
import { ERRNO_NAMES, errnoByName } from './errno.ts';
import { compilePattern, PatternError, type TextPattern } from './match.ts';
import { type ObjectFile, ObjectFileError, openObject } from './object-file.ts';
import { nearest, type Path } from './scenario-error.ts';
import type { Complaint } from './scenario-issues.ts';
import type { ArchName, ArenaOffset, Value } from './scenario-model.ts';
import type { RawValue } from './scenario-schema-call.ts';

/** Reads a file that a scenario names, by its path relative to the scenario. Throws what the file system throws. */
export type ReadFile = (relativePath: string) => Uint8Array;

/** Something given once, or for each architecture. */
type PerArch<T> = T | { x86_64?: T; arm64?: T };

export class Loader {
  readonly arch: ArchName;
  /** Kernel page size in bytes. */
  pageSize = 4096;
  /** Names of the scenario's arenas; the first is meant where none is named. */
  arenas: readonly string[] = [];
  readonly complaints: Complaint[] = [];
  /** Line of the value at a path, from 1. */
  readonly lineOf: (path: Path) => number;
  private readonly readFile: ReadFile;

  constructor(arch: ArchName, readFile: ReadFile, lineOf: (path: Path) => number) {
    this.arch = arch;
    this.readFile = readFile;
    this.lineOf = lineOf;
  }

  complain(path: Path, message: string, remedy: string, part: 'key' | 'value' = 'value'): void {
    this.complaints.push({ path, part, message, remedy });
  }

  /** What a value says for this architecture; undefined where it leaves it out. */
  pick<T>(given: PerArch<T> | undefined): T | undefined {
    if (typeof given !== 'object' || given === null) return given;
    const isMap = Object.keys(given).every((key) => key === 'x86_64' || key === 'arm64');
    if (Array.isArray(given) || given instanceof Uint8Array || !isMap) return given as T;
    return (given as { x86_64?: T; arm64?: T })[this.arch];
  }

  /** Contents of a file; empty after a complaint. */
  file(relativePath: string, path: Path): Uint8Array {
    try {
      return this.readFile(relativePath);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.complain(
        path,
        `cannot read ${relativePath}: ${REASONS[(error as { code?: string }).code ?? ''] ?? reason}`,
        'give the path relative to the scenario file',
      );
      return new Uint8Array();
    }
  }

  private readonly objects = new Map<string, ObjectFile>();

  /** The object that a path means; an empty one after a complaint. @param symbol see {@link openObject} */
  object(path: string, symbol: string | null, at: Path): ObjectFile {
    const key = `${path} ${symbol}`;
    const known = this.objects.get(key);
    if (known !== undefined) return known;
    const nothing = { path, bytes: new Uint8Array(), library: null };
    const before = this.complaints.length;
    try {
      const file = openObject(path, symbol, (name) => this.file(name, at));
      if (this.complaints.length > before) return nothing;
      this.objects.set(key, file);
      return file;
    } catch (error) {
      if (!(error instanceof ObjectFileError)) throw error;
      if (this.complaints.length === before) this.complain(at, error.message, error.remedy);
      return nothing;
    }
  }

  /** Name of the arena meant by `in:`. */
  arena(name: string | undefined, path: Path): string {
    if (name === undefined) return this.arenas[0];
    if (this.arenas.includes(name)) return name;
    const near = nearest(name, this.arenas);
    this.complain(
      path,
      `there is no arena ${name}`,
      near ? `did you mean \`${near}\`?` : `the arenas are ${this.arenas.join(', ')}`,
    );
    return this.arenas[0];
  }

  value(raw: RawValue, path: Path): Value {
    if (typeof raw === 'bigint') return { kind: 'integer', value: virtAddr(raw) };
    if ('va' in raw) return { kind: 'integer', value: raw.va };
    const arena = this.arena(raw.in, [...path, 'in']);
    if ('arena' in raw) return { kind: 'arena', arena, offset: raw.arena as ArenaOffset };
    return { kind: 'user', arena, offset: raw.user };
  }

  pattern(source: string, path: Path): TextPattern {
    try {
      return compilePattern(source);
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      const remedy = 'mend the expression; write a literal {re: as {re:\\{re:}';
      this.complain(path, error.message, remedy);
      return { source, lines: [] };
    }
  }

  /** Complains about a register that the architecture does not have. */
  checkRegister(name: string, known: readonly string[], path: Path, part: 'key' | 'value'): void {
    if (known.includes(name)) return;
    const near = nearest(name, known);
    const remedy = near ? `did you mean \`${near}\`?` : `known are ${known.join(', ')}`;
    this.complain(path, `${this.arch} has no register ${name} here`, remedy, part);
  }

  /** Registers by the manual's names in lower case. */
  get registers(): readonly string[] {
    return (this.arch === 'x86_64' ? x86Description : arm64Description).general;
  }

  /** @returns 0 or the negative value */
  errno(raw: bigint | string, path: Path): number {
    if (typeof raw === 'bigint') return Number(raw);
    const value = errnoByName(raw);
    if (value === undefined) {
      const near = nearest(raw.replace(/^-/, ''), ERRNO_NAMES);
      const remedy = near ? `did you mean \`-${near}\`?` : `known are ${ERRNO_NAMES.join(', ')}`;
      this.complain(path, `${raw} is no errno that the model returns`, remedy);
    }
    return value ?? 0;
  }
}

const REASONS: Record<string, string> = {
  ENOENT: 'no such file',
  EISDIR: 'it is a directory',
  EACCES: 'permission denied',
};
