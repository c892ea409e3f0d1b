// Nothing that is put into a template can become markup: the text of a parsed page is the text that was put in.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { escapeText, Html, html } from './html.ts';

const readBack = (text: string): string =>
  text
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&');

describe('escaping', () => {
  it('leaves no mark that begins or ends markup, and loses nothing', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const escaped = escapeText(text);
        expect(escaped).not.toMatch(/[<>"']|&(?!(amp|lt|gt|quot|#39);)/);
        if (!/[\p{Cc}\p{Bidi_Control}\p{Cs}\uFFFE\uFFFF]/u.test(text)) {
          expect(readBack(escaped)).toBe(text);
        }
      }),
    );
  });

  it.each([
    ['\u0000', '\\u0000'],
    ['a\u001b[31mb', 'a\\u001b[31mb'],
    ['user\u202egnp.exe', 'user\\u202egnp.exe'],
    ['\ud800', '\\ud800'],
    ['tab\tand\nline', 'tab\tand\nline'],
  ])('%j is written %j', (text, written) => {
    expect(escapeText(text)).toBe(written);
  });
});

describe('templates', () => {
  it('escape text, in elements and attributes, and leave markup', () => {
    const inner = html`<b>${'</b><script>'}</b>`;
    expect(html`<p title="${'" onload="x'}">${inner}</p>`.text).toBe(
      '<p title="&quot; onload=&quot;x"><b>&lt;/b&gt;&lt;script&gt;</b></p>',
    );
  });

  it('write nothing for nothing, numbers as they are, and lists one behind the other', () => {
    expect(html`${null}${undefined}${false}${0}${12n}${[1, [html`<i>`, '<']]}`.text).toBe(
      '0121<i>&lt;',
    );
    expect(new Html('<a>').toString()).toBe('<a>');
  });
});
