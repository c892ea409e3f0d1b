// How `faultline test` reports: lines for people, one JSON document, JUnit XML, or the kernel's KTAP.

import type { RunDocument } from '../testbed/document.ts';
import type { Failure } from '../testbed/expect.ts';
import { type Io, paint } from './io.ts';

export interface TestResult {
  /** The scenario's path. */
  readonly name: string;
  readonly arch: string | null;
  readonly status: 'passed' | 'failed' | 'skipped';
  /** The scenario's name; the reason of a skip. */
  readonly why: string;
  readonly failures: readonly (Failure & { readonly line: number })[];
  readonly document: RunDocument | null;
  /** Why the file could not be used. */
  readonly error: { readonly message: string; readonly remedy: string } | null;
}

export type ReporterName = 'default' | 'json' | 'junit' | 'ktap';

export interface Reporter {
  start(files: number): void;
  result(result: TestResult): void;
  end(): void;
}

export function createReporter(name: ReporterName, io: Io): Reporter {
  return { default: lineReporter, json: jsonReporter, junit: junitReporter, ktap: ktapReporter }[
    name
  ](io);
}

const titleOf = ({ name, arch }: TestResult): string => (arch === null ? name : `${name} ${arch}`);

/** What the world may do beyond the rule, behind a name. */
const policiesIn = ({ document }: TestResult): string =>
  (document?.policies ?? []).map((policy) => `, policy ${policy}`).join('');

const detailsOf = ({ name, failures, error }: TestResult): string[] =>
  error === null
    ? failures.map((f) => `${name}:${f.line}: ${f.expect}: wanted ${f.wanted}, got ${f.got}`)
    : [error.message, error.remedy];

function count(results: readonly TestResult[]) {
  const of = (status: TestResult['status']) => results.filter((r) => r.status === status).length;
  return { passed: of('passed'), failed: of('failed'), skipped: of('skipped') };
}

function lineReporter(io: Io): Reporter {
  const results: TestResult[] = [];
  const styles = { passed: 'green', failed: 'red', skipped: 'yellow' } as const;
  const words = { passed: 'ok  ', failed: 'FAIL', skipped: 'skip' };
  return {
    start: () => {},
    result(result) {
      results.push(result);
      const word = paint(io, styles[result.status], words[result.status]);
      const title = titleOf(result) + policiesIn(result);
      io.out(`${word} ${title}${result.why === '' ? '' : `: ${result.why}`}\n`);
      for (const line of detailsOf(result))
        io.out(`       ${line.replaceAll('\n', '\n       ')}\n`);
      if (result.status === 'failed' && result.document) {
        io.out(`       replay: ${result.document.replay}\n`);
      }
    },
    end() {
      const { passed, failed, skipped } = count(results);
      io.out(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
    },
  };
}

function jsonReporter(io: Io): Reporter {
  const results: TestResult[] = [];
  return {
    start: () => {},
    result: (result) => void results.push(result),
    end() {
      const documents = results.map((result) => {
        if (result.document !== null) return result.document;
        const { name, status, why, error } = result;
        return { scenario: name, pass: status !== 'failed', status, why, error };
      });
      io.out(`${JSON.stringify({ ...count(results), results: documents }, null, 2)}\n`);
    },
  };
}

const XML_NAMES: Readonly<Record<string, string>> = {
  '&': 'amp',
  '<': 'lt',
  '>': 'gt',
  '"': 'quot',
};

/** Text for XML 1.0, which has no way to write most control characters. */
const escapeXml = (text: string): string =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
    .replaceAll(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, '\ufffd')
    .replaceAll(/[&<>"]/g, (c) => `&${XML_NAMES[c]};`);

/** JUnit XML as CI systems read it. */
function junitReporter(io: Io): Reporter {
  const results: TestResult[] = [];
  return {
    start: () => {},
    result: (result) => void results.push(result),
    end() {
      const { failed, skipped } = count(results);
      const cases = results.map((result) => {
        const title =
          result.arch === null
            ? result.name
            : `${result.why} (${result.arch}${policiesIn(result)})`;
        const open = `  <testcase classname="${escapeXml(result.name)}" name="${escapeXml(title)}"`;
        if (result.status === 'skipped') {
          return `${open}><skipped message="${escapeXml(result.why)}"/></testcase>`;
        }
        const details = detailsOf(result);
        if (result.status === 'passed') return `${open}/>`;
        return `${open}><failure message="${escapeXml(details[0] ?? '')}">${escapeXml(details.join('\n'))}</failure></testcase>`;
      });
      io.out(
        `<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="faultline" tests="${results.length}" failures="${failed}" skipped="${skipped}">\n${cases.join('\n')}\n</testsuite>\n`,
      );
    },
  };
}

/** Documentation/dev-tools/ktap.rst, version 1. The plan comes first and is known last: a file may hold one run or two. */
function ktapReporter(io: Io): Reporter {
  const results: TestResult[] = [];
  const linesOf = (result: TestResult, i: number): string[] => {
    const ok = result.status === 'failed' ? 'not ok' : 'ok';
    const skip = result.status === 'skipped' ? ` # SKIP ${result.why}` : '';
    return [
      ...detailsOf(result).flatMap((line) => line.split('\n').map((part) => `# ${part}`)),
      // A # would begin a directive.
      `${ok} ${i + 1} ${(titleOf(result) + policiesIn(result)).replaceAll('#', '')}${skip}`,
    ];
  };
  return {
    start: () => {},
    result: (result) => void results.push(result),
    end() {
      const { passed, failed, skipped } = count(results);
      const lines = [
        'KTAP version 1',
        `1..${results.length}`,
        ...results.flatMap(linesOf),
        `# Totals: pass:${passed} fail:${failed} xfail:0 xpass:0 skip:${skipped} error:0`,
      ];
      io.out(`${lines.join('\n')}\n`);
    },
  };
}
