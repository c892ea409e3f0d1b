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
import { branchName, encodePlace, type PlaceForm, placeForm } from './branch.ts';
import { sameArm64 } from './compare.ts';
import { encodeExtension } from './extensions.ts';
import { moveImmediate } from './immediate.ts';
import { encodeMaintenance } from './maintenance.ts';
import { type Arm64Insn, type Operand, parseArm64 } from './operands.ts';
import { encodeOrdered } from './ordered.ts';
import { generalBits, registerOf } from './registers.ts';
import { type ResolvedInsn, render, resolve } from './resolve.ts';
import { encodeSystemMove, systemRegister } from './system.ts';

const NOP = 0xd503_201f;

/** @returns the dialect; it keeps nothing between programs */
export function arm64Dialect(encoder: Encoder, disassembler: Disassembler): Dialect {
  return {
    arch: 'arm64',
    names: NO_REGISTERS,
    alignIsPower: true,
    wordSize: 4,
    padding,
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
        const mnemonic = branchName(insn.mnemonic);
        if (!sameArm64({ mnemonic, operands }, decoded.text))
          throw differs(statement, decoded.text);
        return bytes;
      },
    };
  }

  /** `ldr x0, =value`: a load from the literal pool. */
  private poolLoad(): Item | null {
    const { insn, statement, context } = this;
    const [target, pool] = insn.operands;
    if (insn.mnemonic !== 'ldr' || pool?.kind !== 'pool' || insn.operands.length !== 2) return null;
    const fail = failAt({ ...statement, column: insn.columns[1] });
    const bits = literalBits(target);
    if (bits === null)
      throw fail('a literal has 4 or 8 bytes', 'load it into a w, x, s or d register');
    const label = context.literal(bits === 64 ? 8 : 4, pool.expr, (scope) => {
      const value = evaluate(pool.expr, scope, fail);
      if (fits(value, bits)) return value;
      throw fail(`${value} does not fit into ${bits} bits`, 'use an x register or mask the value');
    });
    const symbol = { op: 'symbol', name: label, column: insn.columns[1] } as const;
    const load = {
      ...insn,
      operands: [target, { kind: 'value', expr: symbol, part: null } as const],
    };
    const form = placeForm('ldr', load.operands, null)!;
    return new Reading(load, statement, context, this.encoder, this.disassembler).place(form);
  }

  private resolve(scope: Scope): ResolvedInsn {
    const resolved = resolve(this.insn, scope, failAt(this.statement));
    this.checkNumbers(resolved);
    return preferredForm(resolved);
  }

  /** No number may need more bits than the registers have: the encoder would cut it. */
  private checkNumbers({ operands }: ResolvedInsn): void {
    const general = operands.find((o) => o.kind === 'register' && generalBits(o.name) > 0);
    const bits = general?.kind === 'register' ? generalBits(general.name) : 64;
    operands.forEach((operand, i) => {
      if (operand.kind !== 'value' || fits(operand.value, bits)) return;
      const fail = failAt({ ...this.statement, column: this.insn.columns[i] });
      throw fail(
        `${operand.value} does not fit into ${bits} bits`,
        'mask the number, or use an x register',
      );
    });
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
    // The disassembler is too old for some of these instructions, and takes some for their general form.
    const isBeyondIt =
      /^(\.word|sysl?)$/.test(decoded.mnemonic) ||
      isGeneralForm(resolved) ||
      isNewerName(resolved, decoded.text);
    if (isBeyondIt || sameArm64(resolved, decoded.text)) return bytes;
    throw differs(this.statement, decoded.text);
  }
}

/** It has names of its own for some system registers, and lacks others': then only the rest is compared. */
function isNewerName({ mnemonic, operands }: ResolvedInsn, decoded: string): boolean {
  if (mnemonic !== 'mrs' && mnemonic !== 'msr') return false;
  const [name, ...more] = operands.filter(({ kind }) => kind === 'name');
  if (name?.kind !== 'name' || more.length > 0) return false;
  const at = operands.indexOf(name);
  const [verb, ...words] = decoded.split(/[ ,]+/);
  return (
    verb === mnemonic && systemRegister(words[at]) === null && systemRegister(name.text) !== null
  );
}

const isGeneralForm = ({ mnemonic }: ResolvedInsn) => /^(sysl?|sb|ssbb|pssbb|tlbi)$/.test(mnemonic);

/** As a signed or as an unsigned number. */
const fits = (value: bigint, bits: number) =>
  value < 1n << BigInt(bits) && value >= -(1n << BigInt(bits - 1));

const NOWHERE: Scope = { here: 0n, lookup: () => null };

const ownWord = ({ mnemonic, operands }: ResolvedInsn): number | null =>
  encodeExtension(mnemonic, operands) ??
  encodeSystemMove(mnemonic, operands) ??
  encodeMaintenance(mnemonic, operands) ??
  encodeOrdered(mnemonic, operands);

const differs = (statement: Statement, text: string) =>
  new AssemblyError(
    statement,
    `"${statement.text}" came out as "${text}"`,
    'write its bytes with .inst',
  );

/** What `ldr` loads into a register: 32 or 64 bits, null if it is no register of such a width. */
function literalBits(operand: Operand): 32 | 64 | null {
  const file =
    operand.kind === 'register' && operand.lane === null ? registerOf(operand.name)?.file : '';
  if (file === 'x' || file === 'd') return 64;
  return file === 'w' || file === 's' ? 32 : null;
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

/** Masks have no inverting form; the mask itself is inverted. */
const INVERTED: Readonly<Record<string, string>> = {
  bic: 'and',
  bics: 'ands',
  orn: 'orr',
  eon: 'eor',
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
  const signed = BigInt.asIntN(bits, last.value);
  if (Object.hasOwn(NEGATED, mnemonic) && signed < 0n) {
    const value = { kind: 'value', value: -signed } as const;
    return { mnemonic: NEGATED[mnemonic], operands: [...operands.slice(0, -1), value] };
  }
  if (/^(ands?|orr|eor|tst|bics?|orn|eon)$/.test(mnemonic)) {
    const inverse = Object.hasOwn(INVERTED, mnemonic) ? INVERTED[mnemonic] : null;
    const value = BigInt.asUintN(bits, inverse === null ? last.value : ~last.value);
    const mask = { kind: 'value', value } as const;
    return { mnemonic: inverse ?? mnemonic, operands: [...operands.slice(0, -1), mask] };
  }
  return insn;
}
