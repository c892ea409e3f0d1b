// Loads what a call runs: its code from wherever it comes, what it is bound to, its arguments and who calls it.
import { isObjectPath, type ObjectFile, objectArch } from './object-file.ts';
import type { Path } from './scenario-error.ts';
import type { Loader } from './scenario-loader.ts';
import type { Argument, KernelPage } from './scenario-model.ts';
import type {
  RawArgument,
  RawCall,
  RawCaller,
  RawExtableLine,
  RawSymbol,
} from './scenario-schema-call.ts';
import {
  type BpfFrame,
  type Caller,
  type CallStep,
  type Code,
  EXTABLE_TYPES,
  type ExtableLine,
  type SymbolBinding,
} from './step-model.ts';

/** Name of the program that `caller: bpf` puts on the stack. */
export const DEFAULT_PROGRAM = 'prog';

/** Arguments beyond those that go in registers lie on the stack; kernel functions have no more than these. */
const MOST_ARGUMENTS = 16;

/** @param path of the mapping that holds the call's keys */
export function loadCall(
  raw: RawCall,
  path: Path,
  loader: Loader,
): Omit<CallStep, 'kind' | 'line' | 'expect'> {
  const image = raw.image ?? 'kernel';
  const caller = loadCaller(raw.caller ?? 'bpf', [...path, 'caller'], loader);
  if (image === 'bpf' && caller.frames.length === 0) {
    loader.complain(
      [...path, 'image'],
      'there is no program whose image the code could be',
      'put the program among the frames of `caller`',
    );
  }
  return {
    code: loadCode(raw, path, loader),
    symbols: loadSymbols(raw.symbols ?? {}, [...path, 'symbols'], loader),
    extable: loadExtable(raw.extable, [...path, 'extable'], loader),
    image,
    args: loadArguments(raw.args ?? [], [...path, 'args'], loader),
    caller,
  };
}

/** Forms in which code may be given, for one architecture. */
function loadCode(raw: RawCall, path: Path, loader: Loader): Code {
  const inner = raw.code ?? {};
  const at = (key: 'bytes' | 'object' | 'symbol') =>
    raw[key] === undefined && raw.code ? [...path, 'code', key] : [...path, key];
  const symbol = raw.symbol ?? inner.symbol ?? null;
  const bytes = loader.pick<Uint8Array>(raw.bytes ?? inner.bytes);
  const object = loader.pick<string>(raw.object ?? inner.object);
  const text = inner[loader.arch];
  const forms: Code[] = [];
  if (text !== undefined) {
    // A block scalar's text begins on the line below its `|`.
    const line = loader.lineOf([...path, 'code', loader.arch]) + (text.includes('\n') ? 1 : 0);
    forms.push({ kind: 'text', text, line, symbol: null });
  }
  if (bytes !== undefined) forms.push({ kind: 'bytes', bytes });
  if (object !== undefined) {
    forms.push({
      kind: 'object',
      file: loadObject(object, symbol, at('object'), loader),
      symbol,
    });
  } else if (symbol !== null) {
    loader.complain(
      at('symbol'),
      'a symbol needs the object that defines it',
      'give `object:` too',
    );
  }
  const given = raw.code ?? raw.bytes ?? raw.object;
  if (forms.length === 0) {
    loader.complain(
      given === undefined ? path : [...path, raw.code ? 'code' : raw.bytes ? 'bytes' : 'object'],
      given === undefined ? 'there is no code to run' : `there is no code for ${loader.arch}`,
      given === undefined
        ? 'give `code:`, `object:` or `bytes:`'
        : `add it, or take ${loader.arch} out of \`arch\``,
    );
  } else if (forms.length > 1) {
    const message = `the code for ${loader.arch} is given twice`;
    loader.complain(path, message, 'give one of text, `bytes` and `object`');
  }
  return forms[0] ?? { kind: 'text', text: '', line: 1, symbol: null };
}

/** An object for the loader's architecture; complains of any other. */
export function loadObject(
  object: string,
  symbol: string | null,
  path: Path,
  loader: Loader,
): ObjectFile {
  const before = loader.complaints.length;
  const file = loader.object(object, symbol, path);
  if (loader.complaints.length > before) return file;
  const arch = objectArch(file.bytes);
  if (arch === null) {
    const message = `${object} is no ELF object for x86_64 or arm64`;
    loader.complain(path, message, 'compile it with -c, little endian, for one of them');
  } else if (arch !== loader.arch) {
    const remedy = `give one for each: {${arch}: ${object}, ${loader.arch}: …}; or set arch: ${arch}`;
    loader.complain(
      path,
      `${object} is for ${arch}, and the scenario runs on ${loader.arch}`,
      remedy,
    );
  }
  return file;
}

function loadSymbols(
  raw: Readonly<Record<string, RawSymbol>>,
  path: Path,
  loader: Loader,
): Map<string, SymbolBinding> {
  return new Map(
    Object.entries(raw).map(([name, given]) => [
      name,
      loadSymbol(name, given, [...path, name], loader),
    ]),
  );
}

function loadSymbol(name: string, raw: RawSymbol, path: Path, loader: Loader): SymbolBinding {
  if (typeof raw === 'string') {
    if (!isObjectPath(raw)) return { kind: 'stub', name: raw };
    return { kind: 'object', file: loadObject(raw, name, path, loader), symbol: name };
  }
  if (typeof raw === 'object' && 'object' in raw) {
    const symbol = raw.symbol ?? name;
    const file = loadObject(raw.object, symbol, [...path, 'object'], loader);
    return { kind: 'object', file, symbol };
  }
  return { kind: 'value', value: loader.value(raw, path) };
}

function loadArguments(raw: readonly RawArgument[], path: Path, loader: Loader): Argument[] {
  if (raw.length > MOST_ARGUMENTS) {
    loader.complain(
      [...path, MOST_ARGUMENTS],
      `a call has at most ${MOST_ARGUMENTS} arguments, and this is one more`,
      'pass the rest in a buffer',
    );
  }
  return raw.map((given, i) => loadArgument(given, [...path, i], loader));
}

function loadArgument(raw: RawArgument, path: Path, loader: Loader): Argument {
  if (typeof raw === 'bigint') return loader.value(raw, path);
  if ('symbol' in raw) return { kind: 'symbol', name: raw.symbol };
  if ('pte' in raw || 'entry' in raw) {
    const arena = loader.arena(raw.in, [...path, 'in']);
    return 'pte' in raw
      ? { kind: 'pte', arena, page: raw.pte as KernelPage }
      : { kind: 'entry', arena, page: raw.entry as KernelPage };
  }
  if ('buffer_size' in raw) {
    const bytes = new Uint8Array(raw.buffer_size);
    return { kind: 'buffer', bytes, atEnd: raw.at_end ?? false };
  }
  if (!('buffer' in raw)) return loader.value(raw, path);
  const { buffer } = raw;
  const bytes =
    buffer instanceof Uint8Array ? buffer : loader.file(buffer.file, [...path, 'buffer', 'file']);
  return { kind: 'buffer', bytes, atEnd: raw.at_end ?? false };
}

function loadCaller(raw: RawCaller, path: Path, loader: Loader): Caller {
  const frame = (arena: string | null): BpfFrame => ({
    prog: DEFAULT_PROGRAM,
    arena,
    subprogram: false,
    atEnd: false,
  });
  if (raw === 'kernel') return { direct: false, frames: [] };
  if (raw === 'bpf') return { direct: false, frames: [frame(loader.arenas[0])] };
  if (raw === 'bpf_without_arena') return { direct: false, frames: [frame(null)] };
  const frames = raw.frames?.map((given, i): BpfFrame => {
    const at = [...path, 'frames', i, 'arena'];
    return {
      prog: given.prog,
      arena: given.arena === 'none' ? null : loader.arena(given.arena, at),
      subprogram: given.subprogram ?? false,
      atEnd: given.at_end ?? false,
    };
  });
  for (const [i, one] of (frames ?? []).entries()) {
    const other = frames?.find((candidate) => candidate.prog === one.prog);
    if (other === undefined || other.arena === one.arena) continue;
    loader.complain(
      [...path, 'frames', i],
      `program ${one.prog} uses another arena further in, and a program has one`,
      'give the frames of one program the same arena',
    );
  }
  return { direct: raw.direct ?? false, frames: frames ?? [frame(loader.arenas[0])] };
}

function loadExtable(raw: RawCall['extable'], path: Path, loader: Loader): ExtableLine[] {
  return (loader.pick<RawExtableLine[]>(raw) ?? []).map((line, i) => {
    const at = Array.isArray(raw) ? [...path, i] : [...path, loader.arch, i];
    return loadExtableLine(line, at, loader);
  });
}

/** General registers that no load or store names. */
const NO_OPERANDS = ['rip', 'rflags', 'pc', 'pstate'];

function loadExtableLine(raw: RawExtableLine, path: Path, loader: Loader): ExtableLine {
  const type = raw.type ?? 'default';
  const known: readonly string[] = EXTABLE_TYPES[loader.arch];
  if (!known.includes(type)) {
    const remedy = `give the table by architecture; ${loader.arch} has ${known.join(', ')}`;
    loader.complain([...path, 'type'], `${loader.arch} has no handler type ${type}`, remedy);
  }
  if (type !== 'bpf' && raw.fixup === undefined) {
    loader.complain(
      path,
      `type ${type} needs a place to go on`,
      'give `fixup:`, a label of the code',
    );
  }
  for (const key of type === 'bpf' ? [] : (['dst', 'arena_reg', 'offset'] as const)) {
    if (raw[key] === undefined) continue;
    loader.complain(
      [...path, key],
      `type ${type} has no ${key}`,
      'leave it out, or set type: bpf',
      'key',
    );
  }
  if (raw.data !== undefined && (type === 'bpf' || type === 'default')) {
    loader.complain(
      [...path, 'data'],
      `type ${type} has its data word made`,
      'leave it out',
      'key',
    );
  }
  // struct pt_regs in memory order has the stack pointer where an entry cannot name it.
  const named = loader.registers.filter((name) => !['rsp', 'sp', ...NO_OPERANDS].includes(name));
  const register = (key: 'dst' | 'arena_reg'): string | null => {
    const picked = loader.pick<string>(raw[key]) ?? 'none';
    if (picked === 'none') return null;
    loader.checkRegister(picked, named, [...path, key], 'value');
    return picked;
  };
  return {
    line: loader.lineOf(path),
    insn: raw.insn,
    fixup: raw.fixup ?? null,
    type,
    dst: register('dst'),
    arenaReg: register('arena_reg'),
    offset: Number(raw.offset ?? 0n),
    data: Number(raw.data ?? 0n),
  };
}
