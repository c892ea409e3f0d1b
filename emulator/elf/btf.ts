// The types of an object, out of its BTF (.BTF, Documentation/bpf/btf.rst), as pahole -J and clang for BPF write it.
import { ElfError, Reader } from './bytes.ts';
import { textAt } from './dwarf.ts';
import type { DebugType, DebugTypes } from './layouts.ts';
import type { ElfFile } from './read.ts';

const MAGIC = 0xeb9f;
const KIND = {
  int: 1,
  ptr: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  fwd: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  func: 12,
  funcProto: 13,
  var: 14,
  datasec: 15,
  float: 16,
  declTag: 17,
  typeTag: 18,
  enum64: 19,
};
const ALIASES = new Set([KIND.typedef, KIND.volatile, KIND.const, KIND.restrict, KIND.typeTag]);

/** @returns null for an object without BTF. @throws ElfError for a damaged section */
export function readBtfTypes(elf: ElfFile): DebugTypes | null {
  const section = elf.sections.find(({ name }) => name === '.BTF');
  if (section === undefined || section.data.length === 0) return null;
  const bytes = Uint8Array.from(section.data);
  const reader = new Reader(bytes);
  reader.check(0, 24, '.BTF');
  if (reader.u16(0) !== MAGIC) throw new ElfError(0, '.BTF: no BTF, or big endian');
  const header = reader.u32(4);
  const [typesAt, typesLength, stringsAt, stringsLength] = [8, 12, 16, 20].map((at) =>
    reader.u32(at),
  );
  const strings = bytes.subarray(header + stringsAt, header + stringsAt + stringsLength);
  const types = new Map<number, DebugType>();
  let at = header + typesAt;
  for (let id = 1; at < header + typesAt + typesLength; id++) {
    const { type, next } = readType(reader, at, strings);
    types.set(id, type);
    at = next;
  }
  return { types };
}

function readType(
  reader: Reader,
  at: number,
  strings: Uint8Array,
): { type: DebugType; next: number } {
  reader.check(at, 12, '.BTF');
  const name = textAt(strings, reader.u32(at));
  const info = reader.u32(at + 4);
  /** Bytes, or the type that is meant. */
  const word = reader.u32(at + 8);
  const count = info & 0xffff;
  const kind = (info >>> 24) & 0x1f;
  const body = at + 12;
  const next = body + bodySize(kind, count, at);
  reader.check(body, next - body, '.BTF');
  const made = (what: DebugType['kind'], size: number, of = 0): DebugType => ({
    kind: what,
    name,
    size,
    of,
    members: [],
    declaration: kind === KIND.fwd,
  });
  if (ALIASES.has(kind)) return { type: made('alias', 0, word), next };
  if (kind === KIND.ptr) return { type: made('sized', 8), next };
  if (kind === KIND.array) {
    return { type: made('array', reader.u32(body + 8), reader.u32(body)), next };
  }
  if (kind !== KIND.struct && kind !== KIND.union) {
    return { type: made(kind === KIND.fwd ? 'struct' : 'sized', word), next };
  }
  const isBitFields = info >>> 31 === 1;
  const members = Array.from({ length: count }, (_, i) => {
    const member = body + i * 12;
    const offset = reader.u32(member + 8);
    return {
      name: textAt(strings, reader.u32(member)),
      type: reader.u32(member + 4),
      bits: isBitFields ? offset >>> 24 : 0,
      offset: (isBitFields ? offset & 0xff_ffff : offset) / 8,
    };
  }).filter(({ bits, offset }) => bits === 0 && Number.isInteger(offset));
  return { type: { ...made('struct', word), members }, next };
}

/** Bytes behind the 12 that every type has. */
function bodySize(kind: number, count: number, at: number): number {
  switch (kind) {
    case KIND.int:
    case KIND.var:
    case KIND.declTag:
      return 4;
    case KIND.array:
      return 12;
    case KIND.struct:
    case KIND.union:
    case KIND.datasec:
    case KIND.enum64:
      return count * 12;
    case KIND.enum:
    case KIND.funcProto:
      return count * 8;
    case KIND.ptr:
    case KIND.fwd:
    case KIND.func:
    case KIND.float:
      return 0;
    default:
      if (ALIASES.has(kind)) return 0;
      throw new ElfError(at, `.BTF: types of kind ${kind} are not known here`);
  }
}
