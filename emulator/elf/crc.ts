// The CRCs of .xz files: CRC-32 of IEEE 802.3 and CRC-64 of ECMA-182, both reflected.

const TABLE_32 = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let i = 0; i < 8; i++) value = value & 1 ? (value >>> 1) ^ 0xedb8_8320 : value >>> 1;
  return value >>> 0;
});

export function crc32(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ TABLE_32[(crc ^ byte) & 0xff];
  return ~crc >>> 0;
}

/** The table in halves, so that the loop needs no bigint. */
const [LOW_64, HIGH_64] = table64();

function table64(): [Uint32Array, Uint32Array] {
  const low = new Uint32Array(256);
  const high = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let value = BigInt(byte);
    for (let i = 0; i < 8; i++) {
      value = value & 1n ? (value >> 1n) ^ 0xc96c_5795_d787_0f42n : value >> 1n;
    }
    low[byte] = Number(value & 0xffff_ffffn);
    high[byte] = Number(value >> 32n);
  }
  return [low, high];
}

export function crc64(bytes: Uint8Array): bigint {
  let low = 0xffff_ffff;
  let high = 0xffff_ffff;
  for (const byte of bytes) {
    const index = (low ^ byte) & 0xff;
    low = ((low >>> 8) | (high << 24)) ^ LOW_64[index];
    high = (high >>> 8) ^ HIGH_64[index];
  }
  return (BigInt(~high >>> 0) << 32n) | BigInt(~low >>> 0);
}
