import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { unzipMember } from './unzip.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

/** A zip archive as Python's zipfile writes it. */
function zip(
  members: readonly { name: string; data: Uint8Array; stored?: boolean }[],
  comment = '',
) {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, data, stored } of members) {
    const packed = stored ? Buffer.from(data) : deflateRawSync(data);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    local.writeUInt16LE(4, 28);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(stored ? 0 : 8, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(data.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt16LE(3, 30);
    entry.writeUInt32LE(offset, 42);
    const whole = Buffer.concat([local, bytes(name), Buffer.alloc(4), packed]);
    parts.push(whole);
    directory.push(Buffer.concat([entry, bytes(name), Buffer.alloc(3)]));
    offset += whole.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(offset, 16);
  end.writeUInt16LE(comment.length, 20);
  return Buffer.concat([...parts, ...directory, end, bytes(comment)]);
}

describe('unzipMember', () => {
  const data = bytes('library '.repeat(10_000));
  const members = [
    { name: 'a.txt', data: bytes('first'), stored: true },
    { name: 'lib/libunicorn.so.2', data },
  ];

  it('gives a deflated member, and a stored one', () => {
    const archive = zip(members);
    expect(archive.length).toBeLessThan(data.length);
    expect(Buffer.from(unzipMember(archive, 'lib/libunicorn.so.2')!).equals(data)).toBe(true);
    expect(Buffer.from(unzipMember(archive, 'a.txt')!).toString()).toBe('first');
  });

  it('reads past a comment, and in a buffer that begins elsewhere', () => {
    const archive = zip(members, 'a comment of some length');
    const shifted = Buffer.concat([Buffer.alloc(13), archive]).subarray(13);
    expect(Buffer.from(unzipMember(shifted, 'a.txt')!).toString()).toBe('first');
  });

  it('has nothing for another name, other bytes, or an archive cut short', () => {
    const archive = zip(members);
    expect(unzipMember(archive, 'libunicorn.so.2')).toBeNull();
    expect(
      unzipMember(bytes('PK, but no archive at all, though it is long enough'), 'a'),
    ).toBeNull();
    expect(unzipMember(archive.subarray(0, -30), 'a.txt')).toBeNull();
    expect(unzipMember(archive.subarray(50), 'lib/libunicorn.so.2')).toBeNull();
    expect(unzipMember(new Uint8Array(), 'a.txt')).toBeNull();
  });
});
