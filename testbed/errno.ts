// Errno values by name, as scenario files spell them and reports show them.
import { ERRNO } from '../mm/context.ts';

/** Negative, as the kernel returns them; the ones beside ERRNO's are those that rqspinlocks give up with. */
const BY_NAME: Readonly<Record<string, number>> = {
  ...ERRNO,
  EAGAIN: -11,
  EDEADLK: -35,
  ETIMEDOUT: -110,
};

export const ERRNO_NAMES: readonly string[] = Object.keys(BY_NAME);

/** @param name with or without its minus @returns the negative value, or undefined for an unknown name */
export const errnoByName = (name: string): number | undefined =>
  Object.hasOwn(BY_NAME, name.replace(/^-/, '')) ? BY_NAME[name.replace(/^-/, '')] : undefined;

/** `-EBUSY` for -16; a value without a name in decimal. */
export function formatErrno(value: number): string {
  const name = ERRNO_NAMES.find((candidate) => BY_NAME[candidate] === value);
  return name === undefined ? String(value) : `-${name}`;
}
