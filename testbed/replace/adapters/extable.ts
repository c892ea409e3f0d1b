// The search for exception-table entries in compiled code.
import type { EXTABLE_SEARCHES } from '../functions/extable.ts';
import { type Adapters, callNow } from './adapter.ts';

export const EXTABLE_ADAPTERS: Adapters<typeof EXTABLE_SEARCHES> = {
  search_exception_tables(compiled, kernel) {
    const { extable } = compiled.object;
    kernel.compiledSearch = (ip) => extable.entry(callNow(compiled, ip), compiled.name);
    return {};
  },
  search_extable(compiled, kernel) {
    const { extable } = compiled.object;
    kernel.compiledSearchExtable = (ip) => {
      const found = callNow(compiled, extable.start, extable.count, ip);
      return extable.entry(found, compiled.name);
    };
    return {};
  },
};
