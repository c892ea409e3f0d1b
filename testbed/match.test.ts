import { describe, expect, it } from 'vitest';
import { compilePattern, findInOrder, matchText, PatternError } from './match.ts';

const matches = (pattern: string, text: string) => matchText(compilePattern(pattern), text).ok;

describe('a pattern without marks', () => {
  it('matches the whole text and nothing else', () => {
    expect(matches('a\nb\n', 'a\nb')).toBe(true);
    expect(matches('a\n', 'a\nb\n')).toBe(false);
    expect(matches('a\nb\n', 'a\n')).toBe(false);
    expect(matches('a', 'xa')).toBe(false);
  });

  it('matches only an empty text if it is empty', () => {
    expect(matches('', '')).toBe(true);
    expect(matches('', '\n')).toBe(true);
    expect(matches('', 'a')).toBe(false);
  });

  it('takes characters of regular expressions literally', () => {
    expect(matches('a.b (c) [d] $e ^f {g} \\h', 'a.b (c) [d] $e ^f {g} \\h')).toBe(true);
    expect(matches('a.b', 'axb')).toBe(false);
  });

  it('compares empty lines between others', () => {
    expect(matches('a\n\nb', 'a\n\nb')).toBe(true);
    expect(matches('a\n\nb', 'a\nb')).toBe(false);
  });
});

describe('{re:…}', () => {
  it('matches a part of one line', () => {
    expect(matches('at 0x{re:[0-9a-f]+} end', 'at 0x12ab end')).toBe(true);
    expect(matches('at 0x{re:[0-9a-f]+} end', 'at 0x end')).toBe(false);
    expect(matches('{re:.*}', 'a\nb')).toBe(false);
  });

  it('ends at the matching brace', () => {
    expect(matches('{re:a{2,3}}b', 'aab')).toBe(true);
    expect(matches('{re:a{2,3}}b', 'aaaab')).toBe(false);
    expect(matches('{re:\\}}', '}')).toBe(true);
    expect(matches('{re:[}]}!', '}!')).toBe(true);
    expect(matches('{re:[\\]}]}!', ']!')).toBe(true);
  });

  it('keeps an alternative inside its place', () => {
    expect(matches('Arena {re:READ|WRITE} access', 'Arena WRITE access')).toBe(true);
    expect(matches('Arena {re:READ|WRITE} access', 'Arena READ')).toBe(false);
  });

  it('may stand several times in a line', () => {
    expect(matches('CPU: {re:\\d+} PID: {re:\\d+}', 'CPU: 0 PID: 17')).toBe(true);
  });

  it.each([
    ['x {re:[0-9', 2],
    ['one\n{re:(}', 4],
    ['{re:+}', 0],
  ])('refuses %j, with the place', (source, index) => {
    expect(() => compilePattern(source)).toThrow(PatternError);
    try {
      compilePattern(source);
    } catch (error) {
      expect((error as PatternError).index).toBe(index);
    }
  });
});

describe('a lone …', () => {
  it('skips any number of lines, none included', () => {
    for (const text of ['a\nz', 'a\nb\nz', 'a\nb\nc\nz'])
      expect(matches('a\n…\nz', text)).toBe(true);
    expect(matches('a\n…\nz', 'a\nb')).toBe(false);
    expect(matches('…', '')).toBe(true);
    expect(matches('a\n  …  ', 'a\nb\nc')).toBe(true);
  });

  it('goes back when what follows it does not fit', () => {
    expect(matches('…\na\nb\n…\nc', 'a\na\nb\nx\nc\nc')).toBe(true);
    expect(matches('…\na\nb', 'a\nb\na')).toBe(false);
  });

  it('is text within a line', () => {
    expect(matches('a …', 'a …')).toBe(true);
    expect(matches('a …', 'a b')).toBe(false);
  });

  it('stays quick where many of them meet a long text', () => {
    const pattern = `${'…\na\n'.repeat(20)}b`;
    expect(matches(pattern, 'a\n'.repeat(5000))).toBe(false);
  });
});

it('tells the line that the text got stuck at', () => {
  const result = matchText(compilePattern('one\n…\ntwo\nthree'), 'one\nx\ntwo\nfour');
  expect(result).toEqual({ ok: false, wanted: 'three', got: 'four', textLine: 3 });
  const short = matchText(compilePattern('one\ntwo'), 'one');
  expect(short).toEqual({ ok: false, wanted: 'two', got: 'no further line', textLine: 1 });
  const long = matchText(compilePattern('one'), 'one\ntwo');
  expect(long).toEqual({ ok: false, wanted: 'no further line', got: 'two', textLine: 1 });
});

describe('lines in order', () => {
  const wanted = (...lines: string[]) => lines.map(compilePattern);
  const text = ['BUG: fault at ffff', '#PF: write', 'Oops: 0002'];

  it('may leave lines out between them', () => {
    expect(findInOrder(wanted('BUG: {re:.*}', 'Oops: 0002'), text)).toBe(-1);
    expect(findInOrder(wanted('BUG: {re:.*}\n…\nOops: 0002'), text)).toBe(-1);
  });

  it('tells the first that is missing, or stands too early', () => {
    expect(findInOrder(wanted('#PF: write', 'BUG: {re:.*}'), text)).toBe(1);
    expect(findInOrder(wanted('#PF: write', '#PF: write'), text)).toBe(1);
    expect(findInOrder(wanted('PF'), text)).toBe(0);
  });
});
