// Functions of kernel/bpf/stream.c.
import type { Replaceable } from './replaceable.ts';

const SOURCE = 'kernel/bpf/stream.c';
const STAGE = ['bpf_stream_stage', 'bpf_stream_elem'] as const;
const STREAM = ['bpf_stream', 'bpf_stream_elem', 'bpf_prog', 'bpf_prog_aux'] as const;

export const STREAM_FUNCTIONS = {
  bpf_stream_stage_init: {
    source: SOURCE,
    prototype: 'void bpf_stream_stage_init(struct bpf_stream_stage *ss)',
    structs: STAGE,
  },
  bpf_stream_stage_free: {
    source: SOURCE,
    prototype: 'void bpf_stream_stage_free(struct bpf_stream_stage *ss)',
    structs: STAGE,
  },
  bpf_stream_stage_printk: {
    source: SOURCE,
    prototype: 'int bpf_stream_stage_printk(struct bpf_stream_stage *ss, const char *fmt, ...)',
    structs: STAGE,
  },
  bpf_stream_stage_dump_stack: {
    source: SOURCE,
    prototype: 'int bpf_stream_stage_dump_stack(struct bpf_stream_stage *ss)',
    structs: STAGE,
  },
  dump_stack_cb: {
    source: SOURCE,
    prototype: 'bool dump_stack_cb(void *cookie, u64 ip, u64 sp, u64 bp)',
    structs: ['bpf_stream_stage', 'bpf_stream_elem', 'dump_stack_ctx'],
  },
  bpf_stream_stage_commit: {
    source: SOURCE,
    prototype:
      'int bpf_stream_stage_commit(struct bpf_stream_stage *ss, struct bpf_prog *prog, enum bpf_stream_id stream_id)',
    structs: ['bpf_stream_stage', ...STREAM],
  },
  bpf_stream_vprintk: {
    source: SOURCE,
    prototype:
      'int bpf_stream_vprintk(int stream_id, const char *fmt__str, const void *args, u32 len__sz, void *aux__prog)',
    structs: STREAM,
  },
  bpf_stream_get: {
    source: SOURCE,
    prototype:
      'struct bpf_stream *bpf_stream_get(enum bpf_stream_id stream_id, struct bpf_prog_aux *aux)',
    structs: STREAM,
  },
  bpf_stream_consume_capacity: {
    source: SOURCE,
    prototype: 'int bpf_stream_consume_capacity(struct bpf_stream *stream, int len)',
    structs: STREAM,
  },
  bpf_stream_read: {
    source: SOURCE,
    prototype: 'int bpf_stream_read(struct bpf_stream *stream, void __user *buf, int len)',
    structs: STREAM,
  },
  bpf_prog_stream_read: {
    source: SOURCE,
    prototype:
      'int bpf_prog_stream_read(struct bpf_prog *prog, enum bpf_stream_id stream_id, void __user *buf, u32 len)',
    structs: STREAM,
  },
  bpf_prog_stream_init: {
    source: SOURCE,
    prototype: 'void bpf_prog_stream_init(struct bpf_prog *prog)',
    structs: STREAM,
  },
} as const satisfies Readonly<Record<string, Replaceable>>;
