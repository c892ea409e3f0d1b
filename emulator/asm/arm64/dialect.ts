// AArch64 as the assembler sees it: which instructions are encoded here and which by Keystone.
import type { Disassembler } from '../../disassembler.ts';
import type { Dialect, ReadingContext } from '../dialect.ts';
import { failAt } from '../directives.ts';
import { AssemblyError } from '../error.ts';
import {
  type Expr,
  evaluate,
  isSymbolic,
  NO_REGISTERS,
  parseExpr,
  type Scope,
} from '../expression.ts';
import { type Encoder, encodeChecked } from '../keystone.ts';
import type { Item } from '../layout.ts';
import type { Statement } from '../source.ts';
import type { TokenReader } from '../tokens.ts';
import { encodePlace, type PlaceForm, placeForm } from './branch.ts';
import { sameArm64 } from './compare.ts';
import { encodeExtension } from './extensions.ts';
import { moveImmediate } from './immediate.ts';
import { type Arm64Insn, type Operand, parseArm64 } from './operands.ts';
import { generalBits } from './registers.ts';
import { type ResolvedInsn, render, resolve } from './resolve.ts';
import { encodeSystemMove } from './system.ts';

const NOP = 0xd503_201f;

/** @returns the dialect; it keeps nothing between programs */
export function arm64Dialect(encoder: Encoder, disassembler: Disassembler): Dialect {
  return {
    arch: 'arm64',
    names: NO_REGISTERS,
    alignIsPower: true,
    wordSize: 4,
    padding,
    syntaxHint: 'instructions are written as GNU as takes them, as in `str x1, [x0, #8]`',
    parse: (reader, context) => {
      if (reader.peek().text.toLowerCase() === '.inst') return rawWords(reader);
      const insn = parseArm64(reader, (name) => context.isConstant(name));
      return new Reading(insn, reader.statement, context, encoder, disassembler).item();
    },
  };
}

/** Zero bytes up to the next word, then no-operations, as GNU as pads code. */
function padding(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = length % 4; at < length; at += 4) bytes.set(littleEndian(NOP), at);
  return bytes;
}

function littleEndian(word: number): Uint8Array {
  return Uint8Array.of(word & 0xff, (word >>> 8) & 0xff, (word >>> 16) & 0xff, word >>> 24);
}

/** `.inst word, ...`: instructions given as numbers. */
function rawWords(reader: TokenReader): Item {
  const { statement } = reader;
  reader.take();
  const words: Expr[] = [];
  do words.push(parseExpr(reader));
  while (reader.accept(','));
  reader.expectEnd();
  return {
    statement,
    isCode: true,
    encode(scope) {
      const fail = failAt(statement);
      const bytes = new Uint8Array(words.length * 4);
      words.forEach((expr, i) => {
        const value = evaluate(expr, scope, fail);
        if (value < 0n || value > 0xffff_ffffn)
          throw fail(`${value} is no 32-bit word`, 'correct it');
        bytes.set(littleEndian(Number(value)), i * 4);
      });
      return bytes;
    },
  };
}

class Reading {
  private readonly insn: Arm64Insn;
  private readonly statement: Statement;
  private readonly context: ReadingContext;
  private readonly encoder: Encoder;
  private readonly disassembler: Disassembler;

  constructor(
    insn: Arm64Insn,
    statement: Statement,
    context: ReadingContext,
    encoder: Encoder,
    disassembler: Disassembler,
  ) {
    this.insn = insn;
    this.statement = statement;
    this.context = context;
    this.encoder = encoder;
    this.disassembler = disassembler;
  }

  item(): Item {
    const { insn, statement } = this;
    const pool = this.poolLoad();
    if (pool !== null) return pool;
    const form = placeForm(insn.mnemonic, insn.operands, this.knownNumber(insn.operands[1]));
    if (form !== null) return this.place(form);
    const isOpen = insn.operands.some(isOpenOperand);
    if (isOpen) {
      return { statement, isCode: true, encode: (scope) => this.encode(this.resolve(scope)) };
    }
    const resolved = this.resolve(NOWHERE);
    let bytes: Uint8Array | null = null;
    return {
      statement,
      isCode: true,
      wanted: ownWord(resolved) === null ? render(resolved) : undefined,
      encode: () => {
        bytes ??= this.encode(resolved);
        return bytes;
      },
    };
  }

  private knownNumber(operand: Operand | undefined): bigint | null {
    if (operand?.kind !== 'value' || isOpenOperand(operand)) return null;
    return evaluate(operand.expr, NOWHERE, failAt(this.statement));
  }

  private place(form: PlaceForm): Item {
    const { insn, statement, disassembler } = this;
    const target = insn.operands[form.operand];
    const fail = failAt({ ...statement, column: insn.columns[form.operand] });
    const expr = placeExpr(target);
    if (expr === null) throw fail('expected a label or an address', 'name the place');
    const others = insn.operands.filter((_, i) => i !== form.operand);
    return {
      statement,
      isCode: true,
      encode(scope) {
        const goal = evaluate(expr, scope, fail);
        const bytes = littleEndian(encodePlace(form, scope.here, goal, fail));
        const [decoded] = disassembler.disassemble(bytes, { arch: 'arm64', address: scope.here });
        const shown = form.unit === 4096 ? goal & ~0xfffn : goal;
        const operands = resolve({ ...insn, operands: others }, scope, fail).operands.slice();
        operands.splice(form.operand, 0, { kind: 'value', value: shown });
        const mnemonic = insn.mnemonic.replace(/^b\.?(?=(..)$)/, 'b.');
        if (!sameArm64({ mnemonic, operands }, decoded.text))
          throw differs(statement, decoded.text);
        return bytes;
      },
    };
  }

  /** `ldr x0, =value`: a move if one instruction can hold the value, else a load from the literal pool. */
  private poolLoad(): Item | null {
    const { insn, statement, context } = this;
    const [target, pool] = insn.operands;
    if (insn.mnemonic !== 'ldr' || pool?.kind !== 'pool' || insn.operands.length !== 2) return null;
    const fail = failAt({ ...statement, column: insn.columns[1] });
    if (target.kind !== 'register' || target.lane !== null)
      throw fail('ldr of what?', 'write ldr x0, =value');
    const bits = generalBits(target.name) || ({ s: 32, d: 64 } as const)[target.name[0]];
    if (bits !== 32 && bits !== 64)
      throw fail('a literal has 4 or 8 bytes', 'load into w, x, s or d');
    if (generalBits(target.name) > 0 && !isSymbolic(pool.expr)) {
      const value = evaluate(pool.expr, NOWHERE, fail);
      checkLiteral(value, bits, fail);
      const move = moveImmediate(target.name, value, bits);
      if (move !== null) {
        return { statement, isCode: true, wanted: render(move), encode: () => this.encode(move) };
      }
    }
    const label = context.literal(bits === 64 ? 8 : 4, (scope) => {
      const value = evaluate(pool.expr, scope, fail);
      checkLiteral(value, bits, fail);
      return value;
    });
    const place: Operand = {
      kind: 'value',
      expr: { op: 'symbol', name: label, column: insn.columns[1] },
      part: null,
    };
    const load = { ...insn, operands: [target, place] };
    const form = placeForm('ldr', load.operands, null)!;
    return new Reading(load, statement, context, this.encoder, this.disassembler).place(form);
  }

  private resolve(scope: Scope): ResolvedInsn {
    return preferredForm(resolve(this.insn, scope, failAt(this.statement)));
  }

  /** @throws AssemblyError if there is no such instruction, or another one came out */
  private encode(resolved: ResolvedInsn): Uint8Array {
    const word = ownWord(resolved);
    if (word === null) {
      return encodeChecked(this.encoder, render(resolved), this.statement, (decoded) =>
        sameArm64(resolved, decoded.text),
      );
    }
    const bytes = littleEndian(word);
    const [decoded] = this.disassembler.disassemble(bytes, { arch: 'arm64', address: 0n });
    if (!sameArm64(resolved, decoded.text)) throw differs(this.statement, decoded.text);
    return bytes;
  }
}

const NOWHERE: Scope = { here: 0n, lookup: () => null };

const ownWord = ({ mnemonic, operands }: ResolvedInsn): number | null =>
  encodeExtension(mnemonic, operands) ?? encodeSystemMove(mnemonic, operands);

const differs = (statement: Statement, text: string) =>
  new AssemblyError(
    statement,
    `"${statement.text}" came out as "${text}"`,
    'write its bytes with .inst',
  );

function checkLiteral(value: bigint, bits: number, fail: ReturnType<typeof failAt>): void {
  if (value < 1n << BigInt(bits) && value >= -(1n << BigInt(bits - 1))) return;
  throw fail(`${value} does not fit into ${bits} bits`, 'use an x register or mask the value');
}

function isOpenOperand(operand: Operand): boolean {
  if (operand.kind === 'value' || operand.kind === 'pool') return isSymbolic(operand.expr);
  if (operand.kind === 'shift') return operand.amount !== null && isSymbolic(operand.amount);
  return operand.kind === 'memory' && operand.parts.some(isOpenOperand);
}

/** A target may be written as an expression or as a bare name. */
function placeExpr(operand: Operand): Expr | null {
  if (operand.kind === 'value' && operand.part === null) return operand.expr;
  if (operand.kind !== 'name') return null;
  return { op: 'symbol', name: operand.text, column: operand.column };
}

const NEGATED: Readonly<Record<string, string>> = {
  add: 'sub',
  sub: 'add',
  adds: 'subs',
  subs: 'adds',
  cmp: 'cmn',
  cmn: 'cmp',
};

/** The choices GNU as makes for the writer: the form of `mov`, the sign of `add`, the width of a mask. */
function preferredForm(insn: ResolvedInsn): ResolvedInsn {
  const { mnemonic, operands } = insn;
  const [first] = operands;
  const last = operands.at(-1);
  if (first?.kind !== 'register' || last?.kind !== 'value') return insn;
  const bits = generalBits(first.name);
  if (bits === 0) return insn;
  if (mnemonic === 'mov' && operands.length === 2) {
    return moveImmediate(first.name, last.value, bits) ?? insn;
  }
  if (Object.hasOwn(NEGATED, mnemonic) && last.value < 0n) {
    const value = { kind: 'value', value: -last.value } as const;
    return { mnemonic: NEGATED[mnemonic], operands: [...operands.slice(0, -1), value] };
  }
  if (/^(ands?|orr|eor|tst)$/.test(mnemonic)) {
    const isSmall = last.value >= -(1n << BigInt(bits - 1)) && last.value < 1n << BigInt(bits);
    const value = isSmall ? BigInt.asUintN(bits, last.value) : last.value;
    return { mnemonic, operands: [...operands.slice(0, -1), { kind: 'value', value }] };
  }
  return insn;
}
