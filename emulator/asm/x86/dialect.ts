// x86-64 as the assembler sees it: which part of an instruction is encoded here and which by Keystone.
import type { Disassembler } from '../../disassembler.ts';
import type { Dialect, ReadingContext } from '../dialect.ts';
import { failAt, putLittleEndian } from '../directives.ts';
import { AssemblyError } from '../error.ts';
import { addressWeight, evaluate, isSymbolic } from '../expression.ts';
import { type Encoder, encodeChecked } from '../keystone.ts';
import type { Item } from '../layout.ts';
import type { Statement } from '../source.ts';
import type { TokenReader } from '../tokens.ts';
import { Branch, branchForm } from './branch.ts';
import { sameX86 } from './compare.ts';
import { fixedEncoding, nops } from './fixed.ts';
import { PREFIXES, parseX86, X86_NAMES, type X86Insn } from './operands.ts';
import { mendNop, mendSegmentStore, ownEncoding } from './own.ts';
import { type ResolvedInsn, render, resolve } from './resolve.ts';

/** Storing x87 control state waits for pending exceptions first: the same without `n`, after a wait. */
const WAITING = /^f(clex|init|save|stcw|stenv|stsw)$/;
const WAIT = 0x9b;

const LOCKABLE =
  /^(add|adc|and|bt[crs]|cmpxchg(8b|16b)?|dec|inc|neg|not|or|sbb|sub|xor|xadd|xchg)$/;
const REPEATABLE = /^((movs|stos|lods|scas|cmps|ins|outs)[bwdq]?|ret[nf]?|nop)$/;

/** @returns the dialect; it keeps nothing between programs */
export function x86Dialect(encoder: Encoder, disassembler: Disassembler): Dialect {
  return {
    arch: 'x86_64',
    names: X86_NAMES,
    alignIsPower: false,
    wordSize: 2,
    padding: nops,
    parse: (reader, context) => new Reading(reader, context, encoder, disassembler).item(),
  };
}

class Reading {
  private readonly statement: Statement;
  private readonly insn: X86Insn;
  /** Prefix bytes in front of what the encoder gives. */
  private readonly prefix: Uint8Array;
  private readonly context: ReadingContext;
  private readonly encoder: Encoder;
  private readonly disassembler: Disassembler;

  constructor(
    reader: TokenReader,
    context: ReadingContext,
    encoder: Encoder,
    disassembler: Disassembler,
  ) {
    this.statement = reader.statement;
    this.context = context;
    this.encoder = encoder;
    this.disassembler = disassembler;
    const insn = parseX86(reader);
    const prefix = insn.prefixes.map((name) => PREFIXES[name]);
    const waits = WAITING.test(insn.mnemonic);
    this.insn = {
      ...insn,
      mnemonic: waits ? `fn${insn.mnemonic.slice(1)}` : knownName(insn.mnemonic),
    };
    this.prefix = Uint8Array.from(waits ? [WAIT, ...prefix] : prefix);
    checkPrefixes(this.insn, this.statement);
  }

  item(): Item {
    const { insn, statement, prefix } = this;
    const fixed =
      insn.mnemonic === ''
        ? new Uint8Array(0)
        : insn.operands.length === 0 && fixedEncoding(insn.mnemonic);
    if (fixed) {
      const bytes = join(prefix, fixed);
      return { statement, isCode: true, encode: () => bytes };
    }
    return this.branch() ?? this.pushOfNumber() ?? this.byEncoder();
  }

  private branch(): Item | null {
    const { insn, statement, prefix } = this;
    const [target] = insn.operands;
    const form = branchForm(insn.mnemonic);
    if (form === null || insn.operands.length !== 1 || target.kind !== 'value') return null;
    const place = { ...statement, column: insn.columns[0] };
    const branch = new Branch(form, target.short, place);
    const fail = failAt(place);
    const checked = this.checked.bind(this);
    return {
      statement,
      isCode: true,
      encode(scope) {
        const goal = evaluate(target.expr, scope, fail);
        const bytes = join(prefix, branch.encode(scope.here + BigInt(prefix.length), goal));
        const operands = [{ kind: 'value', value: goal } as const];
        return checked(bytes, { mnemonic: insn.mnemonic, operands }, scope.here);
      },
    };
  }

  /** SDM PUSH: 6A ib and 68 id, both sign-extended to 64 bits. The encoder truncates to 16 bits. */
  private pushOfNumber(): Item | null {
    const { insn, statement, prefix } = this;
    const [operand] = insn.operands;
    if (insn.mnemonic !== 'push' || insn.operands.length !== 1 || operand.kind !== 'value') {
      return null;
    }
    const place = { line: statement.line, column: insn.columns[0] };
    const fail = failAt({ ...statement, column: place.column });
    const isPlace = !operand.offset && addressWeight(operand.expr, this.context.isConstant) !== 0;
    if (isPlace) {
      throw fail(
        'a bare symbol means its address to some assemblers and the memory there to others',
        'write `offset symbol` for the address, `qword ptr [rip + symbol]` for the memory',
      );
    }
    const checked = this.checked.bind(this);
    return {
      statement,
      isCode: true,
      encode(scope) {
        const value = BigInt.asIntN(64, evaluate(operand.expr, scope, fail));
        if (BigInt.asIntN(32, value) !== value) {
          throw fail(
            `${value} is no sign-extended 32-bit number, which is all that push takes`,
            'load it into a register with movabs and push that',
          );
        }
        const size = BigInt.asIntN(8, value) === value ? 1 : 4;
        const bytes = new Uint8Array(1 + size);
        bytes[0] = size === 1 ? 0x6a : 0x68;
        putLittleEndian(bytes, 1, size, value);
        const operands = [{ kind: 'value', value } as const];
        return checked(join(prefix, bytes), { mnemonic: 'push', operands });
      },
    };
  }

  private byEncoder(): Item {
    const { insn, statement } = this;
    const isOpen = insn.operands.some(
      (o) =>
        (o.kind === 'value' && isSymbolic(o.expr)) ||
        (o.kind === 'memory' && o.disp !== null && isSymbolic(o.disp)),
    );
    if (!isOpen) {
      const nowhere = { here: 0n, lookup: () => null };
      const resolved = this.resolve(nowhere, 0n);
      let bytes: Uint8Array | null = null;
      return {
        statement,
        isCode: true,
        wanted: ownEncoding(resolved) === null ? render(resolved) : undefined,
        encode: () => {
          bytes ??= this.encode(resolved);
          return bytes;
        },
      };
    }
    // A rip-relative displacement counts from the end, and its size never varies: one guess gives the length.
    let length = 7;
    return {
      statement,
      isCode: true,
      encode: (scope) => {
        let bytes = this.encode(this.resolve(scope, scope.here + BigInt(length)));
        if (bytes.length !== length) {
          length = bytes.length;
          bytes = this.encode(this.resolve(scope, scope.here + BigInt(length)));
        }
        return bytes;
      },
    };
  }

  private resolve(scope: Parameters<NonNullable<Item['encode']>>[0], end: bigint): ResolvedInsn {
    const { insn, statement, context } = this;
    return resolve(insn, { statement, scope, end, isConstant: context.isConstant });
  }

  /** @throws AssemblyError if the encoder refuses, or gives something else than was written */
  private encode(resolved: ResolvedInsn): Uint8Array {
    const { prefix, statement } = this;
    const own = ownEncoding(resolved);
    if (own !== null) return this.checked(join(prefix, own), resolved);
    const base = encodeChecked(this.encoder, render(resolved), statement, (decoded) =>
      sameX86(resolved, [], decoded.text),
    );
    const mended = mend(base, resolved);
    if (prefix.length === 0 && mended === base) return base;
    return this.checked(join(prefix, mended), resolved);
  }

  /** Decodes what was put together here. */
  private checked(bytes: Uint8Array, resolved: ResolvedInsn, here = 0n): Uint8Array {
    const start = this.prefix[0] === WAIT ? 1 : 0;
    const decoded = this.disassembler.disassemble(bytes.subarray(start), {
      arch: 'x86_64',
      address: here + BigInt(start),
    });
    const isSame = decoded.length === 1 && sameX86(resolved, this.insn.prefixes, decoded[0].text);
    if (isSame) return bytes;
    throw new AssemblyError(
      this.statement,
      `"${this.statement.text}" came out as "${decoded.map(({ text }) => text).join('; ')}"`,
      'remove a prefix, or write the bytes with .byte',
    );
  }
}

function mend(bytes: Uint8Array, { mnemonic, operands }: ResolvedInsn): Uint8Array {
  if (mnemonic === 'nop') return mendNop(bytes);
  return mnemonic === 'mov' && operands[0]?.kind === 'memory' ? mendSegmentStore(bytes) : bytes;
}

/** Names that the encoder does not know of instructions that it does. */
const knownName = (mnemonic: string) =>
  mnemonic === 'retn' ? 'ret' : mnemonic === 'lret' ? 'retf' : mnemonic;

/** SDM Vol. 2A 2.1.1 and LOCK: other combinations are undefined or raise #UD. */
function checkPrefixes({ prefixes, mnemonic, operands }: X86Insn, statement: Statement): void {
  if (mnemonic === '') return;
  const lock = prefixes.includes('lock');
  if (lock && !(LOCKABLE.test(mnemonic) && operands[0]?.kind === 'memory')) {
    const isTurned = mnemonic === 'xchg' && operands[1]?.kind === 'memory';
    if (!isTurned) {
      throw new AssemblyError(
        statement,
        `lock cannot stand before this ${mnemonic}`,
        'lock goes with a read-modify-write of memory only',
      );
    }
  }
  const repeat = prefixes.find((name) => /^rep/.test(name));
  if (repeat !== undefined && !REPEATABLE.test(mnemonic)) {
    throw new AssemblyError(
      statement,
      `${repeat} cannot stand before ${mnemonic}`,
      'rep goes with movs, stos, lods, scas, cmps, ins and outs',
    );
  }
}

function join(prefix: Uint8Array, bytes: Uint8Array): Uint8Array {
  if (prefix.length === 0) return bytes;
  const whole = new Uint8Array(prefix.length + bytes.length);
  whole.set(prefix);
  whole.set(bytes, prefix.length);
  return whole;
}
