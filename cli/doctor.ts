// faultline doctor: one screen that says what was found and what to do.
import { createEngine } from '../emulator/unicorn/engine.ts';
import { inspectPlatform, type PlatformReport } from '../emulator/unicorn/library.ts';
import { EXIT } from './errors.ts';
import { findGnuTools } from './gnu-as.ts';
import type { Io } from './io.ts';
import { refusedDocument, refusedLines } from './refused.ts';

/** @returns 0 if code can be run, otherwise 2 */
export function doctorCommand(
  options: { json?: boolean; engine?: boolean },
  io: Io,
): Promise<number> {
  if (options.engine) {
    if (options.json) io.out(`${JSON.stringify(refusedDocument(), null, 2)}\n`);
    else for (const line of refusedLines()) io.out(`${line}\n`);
    return Promise.resolve(EXIT.ok);
  }
  const report = inspectPlatform();
  const gnu = { x86_64: findGnuTools('x86_64') !== null, arm64: findGnuTools('arm64') !== null };
  const internals = report.found === null ? null : createEngine(report.found).knowsInternals;
  const node = process.version;
  if (options.json) {
    io.out(
      `${JSON.stringify({ node, ...report, knowsInternals: internals, gnuAs: gnu }, null, 2)}\n`,
    );
  } else for (const line of lines(report, internals, gnu, node)) io.out(`${line}\n`);
  return Promise.resolve(report.found === null ? EXIT.usage : EXIT.ok);
}

function lines(
  report: PlatformReport,
  internals: boolean | null,
  gnu: Readonly<Record<'x86_64' | 'arm64', boolean>>,
  node: string,
): string[] {
  const yes = (there: boolean) => (there ? 'found' : 'not found (only --assembler gnu needs it)');
  return [
    `node            ${node}`,
    `host            ${report.host}${report.tried ? '' : ' (untried: this project was never run on one)'}`,
    `engine          ${report.found === null ? 'none' : `Unicorn ${report.found.version}, ${report.found.path}`}`,
    ...(internals === false
      ? ['                not the release file: its inner offsets are not used, slower']
      : []),
    ...report.places.map(({ place, result }) => `  ${place}: ${result}`),
    `wheel           ${report.wheel ?? 'the release has none for this host'}`,
    `pip             ${report.pip.length === 0 ? 'none answers' : report.pip.join(', ')}`,
    `GNU as x86_64   ${yes(gnu.x86_64)}`,
    `GNU as arm64    ${yes(gnu.arm64)}`,
    ...(report.found === null ? ['', advice(report)] : []),
  ];
}

function advice(report: PlatformReport): string {
  if (report.wheel === null) {
    return 'Build Unicorn 2.1.4 for this host and set FAULTLINE_UNICORN to the library.';
  }
  if (report.pip.length === 0) {
    return `Install Python's pip and run 'npx faultline setup', or fetch ${report.wheel} elsewhere and run 'npx faultline setup --wheel FILE'.`;
  }
  return "Run 'npx faultline setup'.";
}
