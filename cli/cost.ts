// What `--cost` and `--cost-preset` ask for: the model that a command's runs are costed with, made once for each
// architecture.
import { type Document, LineCounter, parseDocument } from 'yaml';
import { arm64Costs, x86Costs } from '../arch/cost-models.ts';
import {
  adjusted,
  type CostPreset,
  KNOB_NAMES,
  KNOBS,
  type Knob,
  type KnobName,
  misfitOf,
  valuesOf,
} from '../emulator/cost/knobs.ts';
import { Costing, type Grain } from '../testbed/costing.ts';
import { ARCHITECTURES, type RunHost } from '../testbed/run.ts';
import type { ArchName } from '../testbed/scenario.ts';
import { CliError } from './errors.ts';
import { shellWord } from './execute.ts';
import { readText } from './files.ts';
import type { Io } from './io.ts';

export interface CostOptions {
  readonly cost?: Grain | 'off';
  /** Name of a preset, or a file. */
  readonly costPreset?: string;
}

/** The options as a replay needs them. */
export const costReplay = ({ cost = 'fast', costPreset }: CostOptions): string =>
  (cost === 'fast' ? '' : ` --cost ${cost}`) +
  (costPreset === undefined ? '' : ` --cost-preset ${shellWord(costPreset)}`);

/** The model for runs of an architecture; null: they are not costed. */
export type CostingOf = (arch: ArchName) => Costing | null;

const PRESETS: readonly CostPreset[] = [...x86Costs.presets, ...arm64Costs.presets];
const NAMES = [...new Set(PRESETS.map(({ name }) => name))];

/** @param archs that will run. @throws CliError for a preset that cannot be used for any of them */
export function costingFrom(
  options: CostOptions,
  archs: readonly ArchName[],
  host: RunHost,
  io: Io,
): CostingOf {
  const { cost = 'fast', costPreset } = options;
  const given = costPreset === undefined ? [] : presetsFrom(costPreset, io);
  if (costPreset !== undefined && !archs.some((arch) => given.some((one) => one.arch === arch))) {
    const for_ = [...new Set(given.map(({ arch }) => arch))].join(' and ');
    throw new CliError(
      `--cost-preset ${costPreset}: is for ${for_}, and the run is for ${archs.join(' and ')}`,
      `give a preset for ${archs.join(' or ')}: ${namesFor(archs)}`,
    );
  }
  const made = new Map<ArchName, Costing>();
  return (arch) => {
    if (cost === 'off') return null;
    let costing = made.get(arch);
    if (costing === undefined) {
      const preset = given.find((one) => one.arch === arch);
      costing = new Costing(ARCHITECTURES[arch], host.disassembler, cost, preset);
      made.set(arch, costing);
    }
    return costing;
  };
}

const namesFor = (archs: readonly ArchName[]): string =>
  [...new Set(PRESETS.filter(({ arch }) => archs.includes(arch)).map(({ name }) => name))].join(
    ', ',
  );

/** @throws CliError */
export function presetsFrom(text: string, io: Io): readonly CostPreset[] {
  const named = PRESETS.filter(({ name }) => name === text);
  if (named.length > 0) return named;
  if (!/[./]/.test(text)) {
    throw new CliError(
      `--cost-preset: unknown preset ${text}`,
      `give one of ${NAMES.join(', ')}, or a file (.yaml, .json)`,
    );
  }
  return [readPreset(text, readText(text, io))];
}

/**
 * A preset from a file: `base` names the one it starts from, `knobs` has the values that differ.
 * @throws CliError with file, line and key
 */
export function readPreset(file: string, text: string): CostPreset {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const lineOf = (path: readonly string[]): number => {
    const node = document.getIn(path, true) as { range?: readonly number[] } | undefined;
    return node?.range ? lines.linePos(node.range[0]).line : 1;
  };
  const bad = (path: readonly string[], what: string, remedy: string) =>
    new CliError(
      `${file}:${lineOf(path)}: ${path.join('.')}${path.length > 0 ? ': ' : ''}${what}`,
      remedy,
    );
  if (document.errors.length > 0) {
    const [{ code, message, pos }] = document.errors;
    const what = code === 'MULTIPLE_DOCS' ? 'is more than one document' : message.split('\n')[0];
    throw new CliError(`${file}:${lines.linePos(pos[0]).line}: ${what}`, 'write YAML or JSON');
  }
  const read = plainValue(document, file);
  if (!isObject(read)) throw bad([], 'is no mapping', 'give base: and knobs:');
  const unknown = Object.keys(read).find(
    (key) => !['base', 'arch', 'name', 'about', 'knobs'].includes(key),
  );
  if (unknown !== undefined)
    throw bad([unknown], 'unknown key', 'keys are base, arch, name, about, knobs');
  const { base, arch, name = file, about = '', knobs = {} } = read;
  const from = PRESETS.filter(
    (one) => one.name === base && (arch === undefined || one.arch === arch),
  );
  if (from.length === 0)
    throw bad(
      ['base'],
      `no preset ${String(base ?? '')}${arch === undefined ? '' : ` for ${String(arch)}`}`,
      `give one of ${NAMES.join(', ')}`,
    );
  if (from.length > 1)
    throw bad(
      ['base'],
      `${String(base)} is for several architectures`,
      'say which: arch: x86_64, or arch: arm64',
    );
  if (typeof name !== 'string') throw bad(['name'], 'is no text', 'give text');
  if (typeof about !== 'string') throw bad(['about'], 'is no text', 'give text');
  if (!isObject(knobs))
    throw bad(['knobs'], 'is no mapping', 'give KNOB: value, or KNOB: {value, source}');
  const changes = Object.entries(knobs).map(([key, value]) => {
    const path = ['knobs', key];
    if (!Object.hasOwn(KNOBS, key))
      throw bad(path, 'unknown knob', `knobs are ${KNOB_NAMES.join(', ')}`);
    return [key, knobFrom(key as KnobName, value, file, (what, remedy) => bad(path, what, remedy))];
  });
  const preset = adjusted(from[0], name, about, Object.fromEntries(changes));
  const misfit = misfitOf(valuesOf(preset));
  if (misfit !== null) {
    const { knob, beside, what, remedy } = misfit;
    // The knob may be the base's, and what does not go with it the file's.
    const given = [knob, ...beside].find((one) => Object.hasOwn(knobs, one)) ?? knob;
    throw bad(['knobs', given], given === knob ? what : `with ${knob}: ${what}`, remedy);
  }
  return preset;
}

/** @throws CliError for what YAML finds only when it makes values: aliases of nothing, or of too much */
function plainValue(document: Document.Parsed, file: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    throw new CliError(`${file}: ${(error as Error).message}`, 'write it without aliases');
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Knobs that count or size something there must be at least one of. */
const MOST = 2 ** 32;

function knobFrom(
  name: KnobName,
  given: unknown,
  file: string,
  bad: (what: string, remedy: string) => CliError,
): Knob {
  const [unit, about] = KNOBS[name];
  const {
    value,
    source = file,
    unit: stated = unit,
    ...others
  } = isObject(given) ? given : { value: given };
  const least = unit === 'cycles' || unit === 'percent' ? 0 : 1;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > MOST) {
    throw bad(
      `${JSON.stringify(value ?? null)} is no whole number from ${least} to 2^32`,
      `give a whole number of ${unit}: ${about}`,
    );
  }
  if (stated !== unit) {
    throw bad(`the unit is ${unit}, not ${String(stated)}`, `give a whole number of ${unit}`);
  }
  const [other] = Object.keys(others);
  if (other !== undefined) throw bad(`unknown key ${other}`, 'keys are value, unit and source');
  if (typeof source !== 'string') throw bad('source is no text', 'say where the value comes from');
  return { value, source };
}
