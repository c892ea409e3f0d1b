// Names of Rust functions as people write them, out of the names that rustc gives symbols: the v0 scheme (RFC 2603) and the
// one before it, told as `objdump -C` tells them, without hashes. Left out: names in Punycode and constants other than
// numbers, whose symbols keep their names, as all do that are no such names.

/** Parts of one name that are looked at, a guard against names that refer to themselves. */
const MOST_PARTS = 500;
const LONGEST = 2000;

const BASIC: Readonly<Record<string, string>> = {
  ...{ a: 'i8', b: 'bool', c: 'char', d: 'f64', e: 'str', f: 'f32', h: 'u8', i: 'isize' },
  ...{ j: 'usize', l: 'i32', m: 'u32', n: 'i128', o: 'u128', p: '_', s: 'i16', t: 'u16' },
  ...{ u: '()', v: '...', x: 'i64', y: 'u64', z: '!' },
};

/** @returns the name, or `symbol` where it is no name of Rust's */
export function demangleRust(symbol: string): string {
  if (symbol.startsWith('_ZN')) return legacy(symbol) ?? symbol;
  if (!symbol.startsWith('_R')) return symbol;
  try {
    return new V0(symbol.slice(2).replace(/\..*$/, '')).symbol();
  } catch (error) {
    if (error instanceof Unknown) return symbol;
    throw error;
  }
}

class Unknown extends Error {}

/** `_ZN`, parts with their lengths in front, the last of them `h` and 16 digits, `E`. */
function legacy(symbol: string): string | null {
  const parts: string[] = [];
  let at = 3;
  for (;;) {
    const digits = /^\d+/.exec(symbol.slice(at, at + 5))?.[0];
    if (digits === undefined) break;
    at += digits.length;
    parts.push(symbol.slice(at, at + Number(digits)));
    at += Number(digits);
  }
  const hash = parts.pop();
  if (symbol[at] !== 'E' || parts.length === 0 || !/^h[0-9a-f]{16}$/.test(hash ?? '')) return null;
  return parts.map(unescaped).join('::');
}

const ESCAPES: Readonly<Record<string, string>> = {
  ...{ SP: '@', BP: '*', RF: '&', LT: '<', GT: '>', LP: '(', RP: ')', C: ',' },
};

const unescaped = (part: string): string =>
  part
    .replace(/^_\$/, '$')
    .replace(/\$(?:([A-Z]{1,2})|u([0-9a-f]{1,6}))\$/g, (whole, name, code) => {
      if (name !== undefined) return ESCAPES[name] ?? whole;
      const point = Number.parseInt(code, 16);
      return point < 0x110000 ? String.fromCodePoint(point) : whole;
    })
    .replaceAll('..', '::');

class V0 {
  private readonly text: string;
  private at = 0;
  private parts = 0;

  constructor(text: string) {
    this.text = text;
  }

  symbol(): string {
    const name = this.path(true);
    // What is left is the crate that it was made for.
    if (this.at < this.text.length) this.path(true);
    if (this.at < this.text.length || name.length > LONGEST) throw new Unknown();
    return name;
  }

  private next(): string {
    if (this.at >= this.text.length || ++this.parts > MOST_PARTS) throw new Unknown();
    return this.text[this.at++];
  }

  private eat(letter: string): boolean {
    if (this.text[this.at] !== letter) return false;
    this.at++;
    return true;
  }

  /** @param isValue generic arguments follow `::` */
  private path(isValue: boolean): string {
    const tag = this.next();
    switch (tag) {
      case 'C':
        return this.identifier().name;
      case 'M':
        this.implPath();
        return `<${this.type()}>`;
      case 'X':
        this.implPath();
        return `<${this.type()} as ${this.path(false)}>`;
      case 'Y':
        return `<${this.type()} as ${this.path(false)}>`;
      case 'N':
        return this.nested(isValue);
      case 'I': {
        const path = this.path(isValue);
        const args = this.list(() => this.genericArgument());
        return `${path}${isValue ? '::' : ''}<${args.join(', ')}>`;
      }
      case 'B':
        return this.backref(() => this.path(isValue));
      default:
        throw new Unknown();
    }
  }

  private nested(isValue: boolean): string {
    const space = this.next();
    const outer = this.path(isValue);
    const { name, number } = this.identifier();
    if (space >= 'a' && space <= 'z') return name === '' ? outer : `${outer}::${name}`;
    const kind = space === 'C' ? 'closure' : space === 'S' ? 'shim' : space;
    return `${outer}::{${kind}${name === '' ? '' : `:${name}`}#${number}}`;
  }

  private implPath(): void {
    this.disambiguator();
    this.path(false);
  }

  private genericArgument(): string {
    if (this.eat('L')) return this.lifetime();
    return this.eat('K') ? this.constant() : this.type();
  }

  private type(): string {
    const tag = this.next();
    const basic = BASIC[tag];
    if (basic !== undefined) return basic;
    switch (tag) {
      case 'A':
        return `[${this.type()}; ${this.constant()}]`;
      case 'S':
        return `[${this.type()}]`;
      case 'T': {
        const members = this.list(() => this.type());
        return `(${members.join(', ')}${members.length === 1 ? ',' : ''})`;
      }
      case 'R':
      case 'Q': {
        const lifetime = this.eat('L') ? this.lifetime() : "'_";
        const mark = lifetime === "'_" ? '' : `${lifetime} `;
        return `&${mark}${tag === 'Q' ? 'mut ' : ''}${this.type()}`;
      }
      case 'P':
        return `*const ${this.type()}`;
      case 'O':
        return `*mut ${this.type()}`;
      case 'F':
        return this.functionType();
      case 'B':
        return this.backref(() => this.type());
      default:
        this.at--;
        return this.path(false);
    }
  }

  private functionType(): string {
    const unsafe = this.eat('U') ? 'unsafe ' : '';
    let abi = '';
    if (this.eat('K')) {
      abi = `extern "${this.eat('C') ? 'C' : this.identifier().name.replaceAll('_', '-')}" `;
    }
    const args = this.list(() => this.type());
    const result = this.type();
    return `${unsafe}${abi}fn(${args.join(', ')})${result === '()' ? '' : ` -> ${result}`}`;
  }

  private constant(): string {
    if (this.eat('B')) return this.backref(() => this.constant());
    const type = this.next();
    if (type === 'p') return '_';
    const sign = this.eat('n') ? '-' : '';
    const digits = /^[0-9a-f]*_/.exec(this.text.slice(this.at, this.at + 40))?.[0];
    if (digits === undefined || BASIC[type] === undefined) throw new Unknown();
    this.at += digits.length;
    const value = BigInt(`0x0${digits.slice(0, -1)}`);
    if (type === 'b') return value === 0n ? 'false' : 'true';
    if (!/^[aijlmnostxyh]$/.test(type)) throw new Unknown();
    return `${sign}${value}`;
  }

  private lifetime(): string {
    // Only erased ones have a name without the binders around them.
    if (this.base62() !== 0) throw new Unknown();
    return "'_";
  }

  private list(one: () => string): string[] {
    const all: string[] = [];
    while (!this.eat('E')) all.push(one());
    return all;
  }

  private backref(read: () => string): string {
    const start = this.at - 1;
    const to = this.base62();
    if (to >= start) throw new Unknown();
    const back = this.at;
    this.at = to;
    const text = read();
    if (text.length > LONGEST) throw new Unknown();
    this.at = back;
    return text;
  }

  private identifier(): { name: string; number: number } {
    const number = this.disambiguator();
    const digits = /^(?:0|[1-9]\d{0,4})/.exec(this.text.slice(this.at, this.at + 5))?.[0];
    if (digits === undefined) throw new Unknown();
    this.at += digits.length;
    this.eat('_');
    const end = this.at + Number(digits);
    if (end > this.text.length) throw new Unknown();
    const name = this.text.slice(this.at, end);
    this.at = end;
    return { name, number };
  }

  private disambiguator(): number {
    return this.eat('s') ? this.base62() + 1 : 0;
  }

  /** `_` is 0, and `x_` one more than the digits say. */
  private base62(): number {
    const digits = /^[0-9a-zA-Z]{0,11}_/.exec(this.text.slice(this.at, this.at + 12))?.[0];
    if (digits === undefined) throw new Unknown();
    this.at += digits.length;
    if (digits === '_') return 0;
    let value = 0;
    for (const digit of digits.slice(0, -1)) {
      value =
        value * 62 +
        '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'.indexOf(digit);
    }
    return value + 1;
  }
}
