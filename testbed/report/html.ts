// HTML as values: what is put into a template is text, and escaped, unless it is HTML already. So nothing that a scenario,
// an object or a program brings can become markup.

/** Markup that is safe as it stands. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toString(): string {
    return this.text;
  }
}

/** What a template takes; null, undefined and false are nothing. */
export type Part = Html | string | number | bigint | null | undefined | false | readonly Part[];

/** A template whose holes are escaped. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  let text = strings[0];
  for (const [i, part] of parts.entries()) text += written(part) + strings[i + 1];
  return new Html(text);
}

function written(part: Part): string {
  if (part === null || part === undefined || part === false) return '';
  if (part instanceof Html) return part.text;
  if (typeof part === 'object') return part.map(written).join('');
  return escapeText(String(part));
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/**
 * Text for an element or a quoted attribute. Controls, and marks that turn the direction of text round and make it look like
 * other text, are written as escapes.
 */
export const escapeText = (text: string): string =>
  text
    .replaceAll(/[&<>"']/g, (mark) => ENTITIES[mark])
    .replaceAll(/[\p{Cc}\p{Bidi_Control}\p{Cs}\uFFFE\uFFFF]/gu, (mark) =>
      mark === '\n' || mark === '\t'
        ? mark
        : `\\u${mark.codePointAt(0)!.toString(16).padStart(4, '0')}`,
    );
