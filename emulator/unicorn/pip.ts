// Has the wheel downloaded by whatever form of pip there is. The user's pip configuration (index, mirror, proxy,
// certificates) is left to work as it does elsewhere: no index is named here. Every form is held to the pinned hash.
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { platform } from 'node:process';
import { EngineError } from './error.ts';
import { UNICORN_VERSION, type WheelFile, wheelName } from './platform.ts';

/** Ways to call pip, best first. uv itself cannot download a wheel; it can run pip. */
const FORMS: readonly (readonly string[])[] = [
  ['python3', '-m', 'pip'],
  ['python', '-m', 'pip'],
  ...(platform === 'win32' ? [['py', '-3', '-m', 'pip']] : []),
  ['pip3'],
  ['pip'],
  ['uv', 'tool', 'run', 'pip'],
];

const PROBE_MS = 20_000;
const DOWNLOAD_MS = 180_000;

interface Outcome {
  readonly status: number | null;
  readonly output: string;
  readonly timedOut: boolean;
  readonly missing: boolean;
}

function call(form: readonly string[], args: readonly string[], timeout: number): Outcome {
  const [command, ...rest] = form;
  // Loaded when pip is wanted: it takes as long to load as the engine's library does.
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  const result = spawnSync(command, [...rest, ...args], { encoding: 'utf8', timeout });
  const code = (result.error as NodeJS.ErrnoException | undefined)?.code;
  return {
    status: result.status,
    output: `${result.stdout ?? ''}${result.stderr ?? ''}`,
    timedOut: code === 'ETIMEDOUT',
    missing: code !== undefined && code !== 'ETIMEDOUT',
  };
}

/** The first form of pip that answers, as a command line; empty if none does. Each costs a start of Python. */
export function findPip(): string[][] {
  const form = FORMS.find((one) => call(one, ['--version'], PROBE_MS).status === 0);
  return form ? [[...form]] : [];
}

/**
 * Downloads the wheel into `folder` with the first form of pip that manages it.
 * @returns the wheel's path
 * @throws EngineError with the last failure's cause
 */
export function downloadWheel(file: WheelFile, folder: string): string {
  const requirements = `${folder}/requirements.txt`;
  writeFileSync(
    requirements,
    `unicorn==${UNICORN_VERSION} --hash=sha256:${file.wheelSha256}\n`,
    'utf8',
  );
  const args = ['download', '--no-deps', '--require-hashes', '--only-binary=:all:'];
  // The wheel is Node's, not Python's: a 32-bit or musl Python would otherwise ask for another.
  for (const tag of file.tag.split('.')) args.push('--platform', tag);
  args.push('--implementation', 'cp', '--python-version', '3.12', '--no-input', '--retries', '1');
  args.push('--disable-pip-version-check', '-r', requirements, '-d', folder);

  let failure: EngineError | null = null;
  let tried = 0;
  for (const form of FORMS) {
    const outcome = call(form, args, DOWNLOAD_MS);
    if (outcome.missing) continue;
    tried++;
    const wheel = `${folder}/${wheelName(file)}`;
    if (outcome.status === 0 && existsSync(wheel)) return wheel;
    const found = readdirSync(folder).find((name) => name.endsWith('.whl'));
    if (outcome.status === 0 && found) return `${folder}/${found}`;
    // "No module named pip" says nothing that another form's failure does not say better.
    const next = explain(form.join(' '), outcome);
    if (failure === null || !/No module named pip/.test(outcome.output)) failure = next;
    if (outcome.timedOut) break;
  }
  throw (
    failure ??
    new EngineError(
      tried === 0 ? 'neither Python nor pip nor uv was found' : 'pip downloaded nothing',
      BY_HAND,
    )
  );
}

export const BY_HAND =
  "install Python with pip and run 'npx faultline setup', or download the wheel of unicorn " +
  `${UNICORN_VERSION} elsewhere and run 'npx faultline setup --wheel FILE', or set FAULTLINE_UNICORN to the ` +
  'path of the library';

const CAUSES: readonly (readonly [RegExp, string, string])[] = [
  [
    /DO NOT MATCH THE HASHES|HashMismatch|hash mismatch/i,
    'got a wheel whose hash is not the pinned one',
    'the index or a cache serves another file: clear it (pip cache purge) or use another index',
  ],
  [/No module named pip|No module named '?pip/, 'has no pip', BY_HAND],
  [
    /NewConnectionError|ConnectionError|Connection(Reset|Refused)|Max retries|name resolution|ProxyError|ReadTimeout|ConnectTimeout|SSLError|Network is unreachable|error sending request/i,
    'could not reach the package index',
    `check network, proxy and pip's configuration (pip config list); without network, ${BY_HAND}`,
  ],
  [
    /No matching distribution|Could not find a version/i,
    `found no wheel of unicorn ${UNICORN_VERSION} for this platform`,
    `check pip's configuration (pip config list), or ${BY_HAND}`,
  ],
  [
    /No space left|Permission denied|Read-only file system/i,
    'could not write',
    'free space, or mend the permissions of the temporary folder',
  ],
];

function explain(form: string, outcome: Outcome): EngineError {
  if (outcome.timedOut) {
    return new EngineError(
      `'${form} download' took more than ${DOWNLOAD_MS / 1000} s`,
      `check network, proxy and pip's configuration (pip config list); without network, ${BY_HAND}`,
    );
  }
  const cause = CAUSES.find(([pattern]) => pattern.test(outcome.output));
  if (cause) return new EngineError(`'${form}' ${cause[1]}`, cause[2]);
  const lines = outcome.output.trim().split('\n');
  return new EngineError(
    `'${form} download' failed: ${lines[lines.length - 1] || `exit status ${outcome.status}`}`,
    BY_HAND,
  );
}
