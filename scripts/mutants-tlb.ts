// Rules of the TLB model, broken one at a time. `scripts/mutate-walkers.ts` shows that the tests notice each.
import type { MutantSet } from './mutate-walkers.ts';

const TLB = 'mm/tlb.ts';
const MMU = 'mm/mmu.ts';

export const MUTANTS: MutantSet = {
  tests: ['mm/tlb', 'mm/mmu', 'arch/x86/tlb', 'arch/arm64/tlb'],
  mutants: [
    [
      'an entry answers in every space',
      TLB,
      '(this.space[slot] === space || this.isGlobal[slot] === 1)',
      'true',
    ],
    ['a global entry answers in one space', TLB, ' || this.isGlobal[slot] === 1)', ')'],
    ['INVALIDATE by any space names none', TLB, 'space === ANY_SPACE || ', ''],
    ['INVALIDATE always takes global entries', TLB, 'return globals;', 'return true;'],
    ['INVALIDATE never takes global entries', TLB, 'return globals;', 'return false;'],
    [
      'the larger of two pages answers',
      TLB,
      'size !== undefined);',
      'size !== undefined).reverse();',
    ],
    [
      'nobody is told of what is dropped',
      TLB,
      'this.evicted(this.hi[slot], this.lo[slot], shift, this.space[slot]);',
      '',
    ],
    [
      'the same way is displaced again and again',
      TLB,
      '(this.next[first] + 1) % size.ways',
      'this.next[first]',
    ],
    [
      'two entries for one page',
      TLB,
      'let slot = this.find(size, pageHi, pageLo, space);',
      'let slot: number = MISS;',
    ],
    ['refusals are kept by default', MMU, "tlb.policy.negative === 'on' && ", ''],
    ['refusals are never kept', MMU, "tlb.policy.negative === 'on' && ", 'false && '],
    ['refusals of reserved bits and aborts are kept', MMU, ' && paging.rights !== NO_RIGHTS', ''],
    ['refusals by rights are kept as such', MMU, '!paging.found && paging.rights', 'paging.rights'],
    [
      'a kept refusal is global',
      MMU,
      'space, false, pageShift, NEGATIVE_PAGE, rights);',
      'space, true, pageShift, NEGATIVE_PAGE, rights);',
    ],
    [
      'a kept refusal refuses for ever',
      MMU,
      'else if (tlb.pageAddr(slot) === NEGATIVE_PAGE) tlb.drop(slot);',
      '',
    ],
    [
      'a refusal by an entry drops nothing on x86',
      MMU,
      'if (paging.faultInvalidates) tlb.invalidatePage(hi, lo, paging.space, true);\n    else',
      '',
    ],
    [
      'a refusal by a walk drops nothing on x86',
      MMU,
      'if (paging.faultInvalidates) tlb.invalidatePage(bare, lo, paging.space, true);',
      '',
    ],
    [
      'who listens changes the refusal',
      MMU,
      'paging.grant(tlb.rights(slot), hi, lo, kind);\n    }',
      '}',
    ],
    ['a stale refusal is not told', MMU, 'if (stale) this.events', 'if (false) this.events'],
    ['every refusal by an entry is told as stale', MMU, 'if (stale) this.events', 'this.events'],
    [
      'dirty state that was set makes stale',
      MMU,
      'paging.rights) & ~RIGHTS_DIRTY;',
      'paging.rights);',
    ],
    [
      'an entry of another space counts as stale',
      MMU,
      'answers ? this.stalenessOf(slot, va) : null',
      'this.stalenessOf(slot, va)',
    ],
    ['a large page has one frame', MMU, 'frameOffset(bare, lo, tlb.pageShift(slot));', '0;'],
    [
      'the TLB answers while nothing is translated',
      MMU,
      'if (!paging.translating) return this.walk(hi, lo, kind);',
      '',
    ],
    [
      'a flush of a page tells of its entries alone',
      MMU,
      'this.listener?.onEvict((va & ~0xfffn) as VirtAddr, 12);',
      '',
    ],
    [
      'the engine keeps what was dropped',
      MMU,
      'if (!this.quiet) this.listener',
      'if (false) this.listener',
    ],
    [
      'new rights are not told',
      MMU,
      'rightsChanged(): void {\n    this.listener?.onEvictAll();',
      'rightsChanged(): void {',
    ],
  ],
};
