import type { KeyBytes } from "../../pipeline/entry.ts";
import { DrayError } from "../../pipeline/errors.ts";
import { ByteWriter } from "./byte-writer.ts";
import { carrierOf } from "./column-types.ts";
import { IMAGE, type ImageColumn, imageLayout } from "./image-columns.ts";
import { writeJson } from "./json-text.ts";
import { integerKey, type KeyOf, keyBytes } from "./key-bytes.ts";
import type { TableMap } from "./table-map.ts";
import { type ColumnSpec, carriedColumns, keyColumns, type TableSpec, tenantColumn } from "./table-spec.ts";
import { type ValueWriter, valueWriter } from "./value-writers.ts";

/**
 * Reads the row images of one table as one table map describes them. `locate` steps over one complete image and
 * remembers where its values lie; `tenant`, `key` and `row` then read the image located last, from the same buffer.
 * A neighbour's row costs the stepping and the tenant alone. Nothing returned is a view into the event.
 */
export class RowPlan {
  readonly spec: TableSpec;
  readonly #out = new ByteWriter();
  readonly #nullBytes: number;
  /** Per column: bytes of a fixed value, or minus the bytes of the length in front. */
  readonly #steps: Int32Array;
  readonly #starts: Int32Array;
  readonly #ends: Int32Array;
  readonly #carried: readonly ColumnReader[];
  readonly #tenant: ColumnReader;
  readonly #keys: readonly ColumnReader[];
  readonly #keyOf: KeyOf;
  #bytes: Buffer = EMPTY;

  constructor(options: { readonly spec: TableSpec; readonly columns: readonly ImageColumn[] }) {
    const { spec, columns } = options;
    this.spec = spec;
    this.#nullBytes = (columns.length + 7) >>> 3;
    this.#steps = Int32Array.from(columns, (one) => (one.lengthBytes > 0 ? -one.lengthBytes : one.fixedBytes));
    this.#starts = new Int32Array(columns.length);
    this.#ends = new Int32Array(columns.length);
    const reader = (column: ColumnSpec) => columnReader(column, columns[column.ordinal] as ImageColumn);
    this.#carried = carriedColumns(spec).map(reader);
    this.#tenant = reader(tenantColumn(spec));
    this.#keys = keyColumns(spec).map(reader);
    this.#keyOf = keyBytes(spec);
  }

  /** Steps over the image at `at`, and returns where the next one begins. Throws SCHEMA_MISMATCH where it ends too early. */
  locate(bytes: Buffer, at: number, end: number): number {
    const steps = this.#steps;
    const starts = this.#starts;
    const ends = this.#ends;
    const count = steps.length;
    let next = at + this.#nullBytes;
    for (let i = 0; i < count; i++) {
      if (((bytes[at + (i >> 3)] as number) >> (i & 7)) & 1) {
        starts[i] = -1;
        continue;
      }
      const step = steps[i] as number;
      let length = step;
      if (step < 0) {
        length = bytes[next] as number;
        if (step < -1) length += (bytes[next + 1] as number) << 8;
        if (step < -2) length += (bytes[next + 2] as number) << 16;
        if (step < -3) length += (bytes[next + 3] as number) * 0x1000000;
        next -= step;
      }
      starts[i] = next;
      next += length;
      ends[i] = next;
    }
    if (next > end) {
      throw new DrayError("SCHEMA_MISMATCH", { table: tableName(this.spec), reason: "a row image ends too early" });
    }
    this.#bytes = bytes;
    return next;
  }

  /** Canonical bytes of the tenant column, one character a byte (T1); null for NULL. Compare with `tenantText`. */
  tenant(): string | null {
    const tenant = this.#tenant;
    const start = this.#starts[tenant.ordinal] as number;
    if (start < 0) return null;
    const end = this.#ends[tenant.ordinal] as number;
    if (tenant.raw && tenant.paddedBytes === 0) return this.#bytes.latin1Slice(start, end);
    if (tenant.integerBytes > 0 && tenant.integerBytes <= 4) return String(this.#integer(tenant, start));
    const out = this.#out;
    out.at = 0;
    this.#write(tenant, start, end);
    return out.bytes.latin1Slice(0, out.at);
  }

  key(): KeyBytes {
    const [only] = this.#keys;
    if (this.#keys.length === 1 && only && only.integerBytes > 0) {
      const start = this.#starts[only.ordinal] as number;
      if (start >= 0 && only.integerBytes <= 4) {
        return integerKey(this.#integer(only, start), only.unsigned ? "unsigned" : "signed");
      }
      if (start >= 0) {
        const key = Buffer.allocUnsafe(8);
        for (let i = 0; i < 8; i++) key[i] = this.#bytes[start + 7 - i] as number;
        if (!only.unsigned) key[0] = (key[0] as number) ^ 0x80;
        return key;
      }
    }
    return this.#keyOf(this.#keys.map((reader) => this.#value(reader)));
  }

  /** The carried columns as the row codec has them: `decodeRow` reads it. Throws VALUE_REFUSED. */
  row(): Uint8Array {
    const out = this.#out;
    out.at = 0;
    for (const reader of this.#carried) {
      const start = this.#starts[reader.ordinal] as number;
      if (start < 0) {
        out.byte(0);
        continue;
      }
      const end = this.#ends[reader.ordinal] as number;
      if (reader.raw) {
        out.varint(Math.max(end - start, reader.paddedBytes) + 1);
        this.#write(reader, start, end);
      } else {
        const head = out.at;
        out.byte(0);
        this.#write(reader, start, end);
        out.closeValue(head);
      }
    }
    return out.taken(0);
  }

  #value(reader: ColumnReader): Uint8Array | null {
    const start = this.#starts[reader.ordinal] as number;
    if (start < 0) return null;
    const out = this.#out;
    out.at = 0;
    this.#write(reader, start, this.#ends[reader.ordinal] as number);
    return out.taken(0);
  }

  #write(reader: ColumnReader, start: number, end: number): void {
    if (!reader.raw) {
      try {
        reader.write(this.#out, this.#bytes, start, end);
        return;
      } catch (error) {
        if (!(error instanceof DrayError)) throw error;
        throw new DrayError(error.code, { table: tableName(this.spec), ...error.facts }, error);
      }
    }
    this.#out.copy(this.#bytes, start, end);
    // The image leaves out a BINARY's trailing zeros, which SELECT shows.
    for (let missing = reader.paddedBytes - (end - start); missing > 0; missing--) this.#out.byte(0);
  }

  #integer(reader: ColumnReader, start: number): number {
    const bytes = this.#bytes;
    switch (reader.integerBytes) {
      case 1:
        return reader.unsigned ? bytes.readUInt8(start) : bytes.readInt8(start);
      case 2:
        return reader.unsigned ? bytes.readUInt16LE(start) : bytes.readInt16LE(start);
      case 3:
        return reader.unsigned ? bytes.readUIntLE(start, 3) : bytes.readIntLE(start, 3);
      default:
        return reader.unsigned ? bytes.readUInt32LE(start) : bytes.readInt32LE(start);
    }
  }
}

const EMPTY = Buffer.alloc(0);

type ColumnReader = {
  readonly ordinal: number;
  /** The canonical value is the image's own bytes. */
  readonly raw: boolean;
  /** Of a BINARY: its length; else 0. */
  readonly paddedBytes: number;
  /** Of an integer; else 0. */
  readonly integerBytes: number;
  readonly unsigned: boolean;
  readonly write: ValueWriter;
};

/** Throws SCHEMA_MISMATCH where the event's table is not the one that the move knows, COLUMN_REFUSED for a type. */
export function buildPlan(spec: TableSpec, map: TableMap): RowPlan {
  const refuse = (reason: string) => new DrayError("SCHEMA_MISMATCH", { table: tableName(spec), reason });
  let layout: ReturnType<typeof imageLayout>;
  try {
    layout = imageLayout(map);
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : "unreadable");
  }
  const { names, columns } = layout;
  if (names === null) throw refuse("binlog_row_metadata is not FULL: SET GLOBAL binlog_row_metadata = FULL");
  if (columns.length !== spec.columns.length) {
    throw refuse(`the event has ${columns.length} columns, the move knows ${spec.columns.length}`);
  }
  for (const column of spec.columns) {
    const image = columns[column.ordinal];
    const name = names[column.ordinal];
    if (name !== column.name) throw refuse(`column ${column.ordinal + 1} is ${name}, not ${column.name}`);
    if (column.generated !== "no") continue;
    const difference = image ? imageDifference(column, image) : "missing";
    if (difference !== null) throw refuse(`column ${column.name} is not ${column.columnType}: ${difference}`);
  }
  return new RowPlan({ spec, columns });
}

const IMAGE_TYPES: Readonly<Record<string, number>> = {
  tinyint: IMAGE.tiny,
  smallint: IMAGE.short,
  mediumint: IMAGE.int24,
  int: IMAGE.long,
  bigint: IMAGE.longlong,
  decimal: IMAGE.newdecimal,
  float: IMAGE.float,
  double: IMAGE.double,
  bit: IMAGE.bit,
  year: IMAGE.year,
  date: IMAGE.date,
  time: IMAGE.time2,
  datetime: IMAGE.datetime2,
  timestamp: IMAGE.timestamp2,
  char: IMAGE.string,
  binary: IMAGE.string,
  varchar: IMAGE.varchar,
  varbinary: IMAGE.varchar,
  tinytext: IMAGE.blob,
  text: IMAGE.blob,
  mediumtext: IMAGE.blob,
  longtext: IMAGE.blob,
  tinyblob: IMAGE.blob,
  blob: IMAGE.blob,
  mediumblob: IMAGE.blob,
  longblob: IMAGE.blob,
  enum: IMAGE.enum,
  set: IMAGE.set,
  json: IMAGE.json,
};

/** Null where the image's column can only be this one. */
function imageDifference(column: ColumnSpec, image: ImageColumn): string | null {
  const carrier = carrierOf(column);
  if (image.type !== IMAGE_TYPES[column.dataType]) return `the event's type is ${image.type}`;
  const expect = (what: string, found: unknown, wanted: unknown) =>
    found === wanted ? null : `${what} is ${found}, not ${wanted}`;
  if (carrier === "integer") return expect("unsigned", image.unsigned, column.unsigned);
  if (carrier === "decimal") {
    return expect("precision", image.size, column.precision) ?? expect("scale", image.scale, column.scale);
  }
  if (carrier === "temporal" && column.dataType !== "date") {
    return expect("fraction", image.size, column.fraction ?? 0);
  }
  if (column.dataType === "bit") return expect("bits", image.size, column.precision);
  if (image.type === IMAGE.string || image.type === IMAGE.varchar) {
    return expect("length", image.size, column.octetLength);
  }
  return null;
}

function columnReader(column: ColumnSpec, image: ImageColumn): ColumnReader {
  const carrier = carrierOf(column);
  const raw = carrier === "string" || carrier === "bytes";
  const { name } = column;
  return {
    ordinal: column.ordinal,
    raw,
    paddedBytes: column.dataType === "binary" ? (column.octetLength ?? 0) : 0,
    integerBytes: carrier === "integer" ? image.fixedBytes : 0,
    unsigned: column.unsigned,
    write: raw
      ? copyValue
      : carrier === "json"
        ? (out, bytes, start, end) => writeJson(out, bytes, start, end, name)
        : valueWriter(image),
  };
}

function copyValue(out: ByteWriter, bytes: Buffer, start: number, end: number): void {
  out.copy(bytes, start, end);
}

function tableName(spec: TableSpec): string {
  return `${spec.schema}.${spec.name}`;
}
