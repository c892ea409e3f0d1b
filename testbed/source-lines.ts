// Which line of whose source an instruction of compiled code comes from.
import type { VirtAddr } from '../emulator/address.ts';
import { inlinedAt } from '../emulator/elf/inlined.ts';
import { rowAt } from '../emulator/elf/line-table.ts';
import { linkedSource } from '../emulator/elf/source-data.ts';
import type { Kernel } from './kernel.ts';

/**
 * Source line that compiled code at `ip` comes from, as `file.c:12`; null where no debugging data says so. Of inlined
 * functions their names and where they are called: `inner at file.h:3, inlined in middle at file.c:7, inlined at
 * file.c:12`.
 */
export function sourceAt(
  { residentObjects, symbols, imageFile }: Kernel,
  ip: VirtAddr,
): string | null {
  const image = imageFile === null ? [] : [linkedSource(imageFile)];
  for (const { lines, inlined } of [...residentObjects.values(), ...image]) {
    const row = rowAt(lines, ip);
    if (row === null || symbols.find(ip) === null) continue;
    const calls = inlinedAt(inlined(), ip);
    const places = [row, ...calls].map(({ file, line }) => `${file}:${line}`);
    return places
      .map((place, i) => {
        const name = calls[i] === undefined ? '' : `${i === 0 ? '' : 'in '}${calls[i].name} at `;
        const by = i === 0 ? '' : calls[i] === undefined ? 'inlined at ' : 'inlined ';
        return by + name + place;
      })
      .join(', ');
  }
  return null;
}
