import { readLength, type TableMap } from "./table-map.ts";

/** Type codes of the row image. */
export const IMAGE = {
  tiny: 1,
  short: 2,
  long: 3,
  float: 4,
  double: 5,
  longlong: 8,
  int24: 9,
  date: 10,
  year: 13,
  varchar: 15,
  bit: 16,
  timestamp2: 17,
  datetime2: 18,
  time2: 19,
  vector: 242,
  json: 245,
  newdecimal: 246,
  enum: 247,
  set: 248,
  blob: 252,
  varString: 253,
  string: 254,
  geometry: 255,
} as const;

/** One column of a row image, as the table map describes it. */
export type ImageColumn = {
  /** ENUM and SET by their own codes, not by the STRING they travel as. */
  readonly type: number;
  /** Bytes of a fixed value; 0 where a length stands in front. */
  readonly fixedBytes: number;
  /** Bytes of that length. */
  readonly lengthBytes: number;
  /** Of a string or binary column; bits of a BIT; fractional digits; precision of a DECIMAL. */
  readonly size: number;
  readonly scale: number;
  readonly unsigned: boolean;
};

export type ImageLayout = {
  readonly columns: readonly ImageColumn[];
  /** Null unless binlog_row_metadata was FULL. */
  readonly names: readonly string[] | null;
};

const SIGNEDNESS = 1;
const COLUMN_NAME = 4;

const NUMERIC: ReadonlySet<number> = new Set([
  IMAGE.tiny,
  IMAGE.short,
  IMAGE.int24,
  IMAGE.long,
  IMAGE.longlong,
  IMAGE.float,
  IMAGE.double,
  IMAGE.newdecimal,
  IMAGE.year,
]);

const FIXED: Readonly<Record<number, number>> = {
  [IMAGE.tiny]: 1,
  [IMAGE.short]: 2,
  [IMAGE.int24]: 3,
  [IMAGE.long]: 4,
  [IMAGE.longlong]: 8,
  [IMAGE.date]: 3,
  [IMAGE.year]: 1,
};

/** Throws RangeError for a type whose bytes it cannot step over. */
export function imageLayout(map: TableMap): ImageLayout {
  const { metadata } = map;
  let at = 0;
  const next = () => metadata[at++] ?? 0;
  const raw: ImageColumn[] = [];
  for (let i = 0; i < map.columnCount; i++) {
    const type = map.types[i] ?? 0;
    raw.push(column(type, next));
  }
  const { names, unsigned } = readOptional(map, raw);
  return { names, columns: raw.map((one, i) => (unsigned.has(i) ? { ...one, unsigned: true } : one)) };
}

function column(type: number, next: () => number): ImageColumn {
  const make = (parts: Partial<ImageColumn>): ImageColumn => ({
    type,
    fixedBytes: 0,
    lengthBytes: 0,
    size: 0,
    scale: 0,
    unsigned: false,
    ...parts,
  });
  const fixed = FIXED[type];
  if (fixed !== undefined) return make({ fixedBytes: fixed });
  switch (type) {
    case IMAGE.float:
    case IMAGE.double:
      return make({ fixedBytes: next() });
    case IMAGE.varchar: {
      const size = next() + next() * 256;
      return make({ size, lengthBytes: size > 255 ? 2 : 1 });
    }
    case IMAGE.bit: {
      const bits = next();
      const bytes = next();
      return make({ size: bytes * 8 + bits, fixedBytes: bytes + (bits > 0 ? 1 : 0) });
    }
    case IMAGE.timestamp2:
    case IMAGE.datetime2:
    case IMAGE.time2: {
      const size = next();
      const whole = type === IMAGE.timestamp2 ? 4 : type === IMAGE.datetime2 ? 5 : 3;
      return make({ size, fixedBytes: whole + ((size + 1) >> 1) });
    }
    case IMAGE.newdecimal: {
      const size = next();
      const scale = next();
      return make({ size, scale, fixedBytes: decimalBytes(size - scale) + decimalBytes(scale) });
    }
    case IMAGE.blob:
    case IMAGE.geometry:
    case IMAGE.json:
    case IMAGE.vector:
      return make({ lengthBytes: next() });
    case IMAGE.string: {
      const high = next();
      const low = next();
      if (high === IMAGE.enum || high === IMAGE.set) return make({ type: high, size: low, fixedBytes: low });
      // Lengths above 255 hide their two high bits, inverted, in the type code.
      const size = (((high << 4) & 0x300) ^ 0x300) + low;
      return make({ size, lengthBytes: size > 255 ? 2 : 1 });
    }
    default:
      throw new RangeError(`type ${type} of a row image is not known`);
  }
}

/** Nine digits are four bytes; what is left over takes as many as it needs. */
function decimalBytes(digits: number): number {
  return Math.floor(digits / 9) * 4 + (LEFTOVER_BYTES[digits % 9] as number);
}
export const LEFTOVER_BYTES: readonly number[] = [0, 1, 1, 2, 2, 3, 3, 4, 4];

function readOptional(map: TableMap, columns: readonly ImageColumn[]) {
  const bytes = Buffer.from(map.optional.buffer, map.optional.byteOffset, map.optional.byteLength);
  const unsigned = new Set<number>();
  let names: string[] | null = null;
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at];
    const length = readLength(bytes, at + 1);
    const end = length.next + length.value;
    if (end > bytes.length) throw new RangeError("the table map's metadata ends too early");
    if (tag === SIGNEDNESS) {
      let bit = 0;
      for (const [i, one] of columns.entries()) {
        if (!NUMERIC.has(one.type)) continue;
        if ((bytes[length.next + (bit >> 3)] ?? 0) & (0x80 >> (bit & 7))) unsigned.add(i);
        bit++;
      }
    } else if (tag === COLUMN_NAME) {
      names = [];
      for (let nameAt = length.next; nameAt < end; ) {
        const name = readLength(bytes, nameAt);
        names.push(bytes.toString("utf8", name.next, name.next + name.value));
        nameAt = name.next + name.value;
      }
    }
    at = end;
  }
  return { names, unsigned };
}
