import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { realText } from "../../connectors/mysql/decimal-text.ts";
import { comparable, keyHexOf, Roads, shown } from "../contracts/mysql-roads.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

/** A value as SQL and, where it is known beforehand, its canonical bytes as latin1. */
type Value = { readonly sql: string; readonly canonical: string | null | undefined };

const digits = (value: bigint): Value => ({ sql: value.toString(), canonical: value.toString() });
const quoted = (text: string): Value => ({ sql: `'${text}'`, canonical: text });
const bytes = (value: Uint8Array, introducer: string): Value => {
  const buffer = Buffer.from(value);
  return { sql: `${introducer} x'${buffer.toString("hex")}'`, canonical: buffer.toString("latin1") };
};
const pad = (value: number | bigint, width: number) => value.toString().padStart(width, "0");

/** Small values, powers of two and their neighbours, and anything in between. */
function integers(min: bigint, max: bigint) {
  const edges = [0n, 1n, -1n, 2n ** 31n, -(2n ** 31n), 2n ** 32n, 2n ** 53n, -(2n ** 53n), 2n ** 63n, min, max]
    .flatMap((edge) => [edge - 1n, edge, edge + 1n])
    .filter((edge) => edge >= min && edge <= max);
  return fc.oneof(fc.constantFrom(...edges), fc.bigInt({ min, max }));
}

const decimal = fc
  .tuple(integers(-(10n ** 29n) + 1n, 10n ** 29n - 1n), fc.nat(999_999_999))
  .map(([whole, fraction]) => {
    const text = `${whole}.${pad(fraction, 9)}`;
    return { sql: text, canonical: text };
  });

const double = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => {
  const text = realText(value);
  return { sql: text.includes("e") ? text : `${text}e0`, canonical: text };
});

const float = fc.float({ noNaN: true, noDefaultInfinity: true }).map((value) => ({
  sql: `${value}`.includes("e") ? `${value}` : `${value}e0`,
  canonical: realText(Object.is(value, -0) ? 0 : value),
}));

const clock = (seconds: number) =>
  `${pad(Math.floor(seconds / 3600), 2)}:${pad(Math.floor(seconds / 60) % 60, 2)}:${pad(seconds % 60, 2)}`;

const time = fc
  .tuple(fc.boolean(), fc.nat(838 * 3600 + 59 * 60 + 58), fc.nat(999))
  .map(([negative, seconds, ms]) =>
    quoted(`${negative && (seconds > 0 || ms > 0) ? "-" : ""}${clock(seconds)}.${pad(ms, 3)}`),
  );

const datetime = fc
  .tuple(fc.nat(9999), fc.nat(12), fc.nat(31), fc.nat(86_399), fc.nat(999_999))
  // A zero year, month or day makes an incomplete date, which is kept; a zero date has no time.
  .map(([year, month, day, seconds, micros]) => {
    const date = `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`;
    return quoted(`${date} ${clock(seconds)}.${pad(micros, 6)}`);
  });

const timestamp = fc.tuple(fc.integer({ min: 1, max: 2 ** 31 - 1 }), fc.nat(99)).map(([seconds, hundredths]) => {
  const iso = new Date(seconds * 1000).toISOString();
  return quoted(`${iso.slice(0, 10)} ${iso.slice(11, 19)}.${pad(hundredths, 2)}`);
});

const text = fc.string({ unit: "binary", maxLength: 60 }).map((value) => bytes(Buffer.from(value, "utf8"), "_utf8mb4"));
const special = fc.constantFrom("\\N", "\\", "\t", "\n", "\\\t\\\n", "\\\\N", "\r\n", "'", '"', "\0", "N");
const awkward = fc.array(special, { maxLength: 8 }).map((parts) => bytes(Buffer.from(parts.join("")), "_utf8mb4"));
const binary = fc.uint8Array({ maxLength: 100 }).map((value) => bytes(value, "_binary"));

/** JSON text with integers of 64 bits and doubles that keep their point. */
const json = fc
  .letrec<{ node: string }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom("null", "true", "false", "[]", "{}", '""', "3.0", "-0.0", "1e100"),
      integers(-(2n ** 63n), 2n ** 64n - 1n).map(String),
      fc
        .double({ noNaN: true, noDefaultInfinity: true })
        .map((value) => (/[.e]/.test(realText(value)) ? realText(value) : `${realText(value)}.0`)),
      fc.string({ unit: "binary", maxLength: 20 }).map((value) => JSON.stringify(value)),
      fc.array(tie("node"), { maxLength: 6 }).map((nodes) => `[${nodes.join(",")}]`),
      fc
        .uniqueArray(fc.tuple(fc.string({ unit: "binary", maxLength: 8 }), tie("node")), {
          maxLength: 6,
          selector: ([key]) => key,
        })
        .map((members) => `{${members.map(([key, node]) => `${JSON.stringify(key)}:${node}`).join(",")}}`),
    ),
  }))
  .node.map((value): Value => ({ sql: bytes(Buffer.from(value, "utf8"), "_utf8mb4").sql, canonical: undefined }));

const COLUMNS: readonly (readonly [string, string, fc.Arbitrary<Value>])[] = [
  ["m", "MEDIUMINT", integers(-(2n ** 23n), 2n ** 23n - 1n).map(digits)],
  ["b", "BIGINT", integers(-(2n ** 63n), 2n ** 63n - 1n).map(digits)],
  ["u", "BIGINT UNSIGNED", integers(0n, 2n ** 64n - 1n).map(digits)],
  ["d", "DECIMAL(38,9)", decimal],
  ["f", "DOUBLE", double],
  ["r", "FLOAT", float],
  ["dt", "DATETIME(6)", datetime],
  ["ti", "TIME(3)", time],
  ["ts", "TIMESTAMP(2) NULL", timestamp],
  ["s", "VARCHAR(60)", fc.oneof(text, awkward)],
  ["x", "VARBINARY(100)", binary],
  ["j", "JSON", json],
  ["bt", "BIT(33)", integers(0n, 2n ** 33n - 1n).map(digits)],
];

const row = fc.tuple(
  ...COLUMNS.map(([, , value]) => fc.option(value, { freq: 8, nil: { sql: "NULL", canonical: null } })),
);
const RUNS = Number(process.env["RUNS"] ?? 20);
const seed = process.env["SEED"] === undefined ? {} : { seed: Number(process.env["SEED"]) };

describeWithMysql("W6 for any values", (mysql) => {
  let roads: Roads;
  beforeAll(async () => {
    roads = await Roads.open(mysql);
  });
  afterAll(async () => {
    await roads?.close();
  });

  // With a VARBINARY column the text is loaded as binary, without it as utf8mb4: both ways of LOAD DATA.
  for (const [name, columns] of [
    ["as_binary", COLUMNS],
    ["as_utf8", COLUMNS.filter(([column]) => column !== "x")],
  ] as const) {
    test(`SELECT, row image, LOAD DATA and upsert keep every value, text loaded ${name}`, async () => {
      const spec = await roads.create(name, columns.map(([column, type]) => `${column} ${type}`).join(", "));
      const chosen = COLUMNS.flatMap((column, i) => (columns.includes(column) ? [i] : []));
      await fc.assert(
        fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 25 }), async (rows) => {
          for (const side of ["source", "target"] as const) await roads.truncate(side, spec);
          const from = await roads.position();
          const tuples = rows.map((values, id) => `(7, ${id + 1}, ${chosen.map((i) => values[i]?.sql).join(", ")})`);
          const names = ["tenant", "id", ...columns.map(([column]) => column)].join(", ");
          await roads.source.run(`INSERT INTO ${roads.table(name)} (${names}) VALUES ${tuples.join(", ")}`);

          const selected = await roads.selected(spec, "proving");
          for (const [i, values] of shown(selected.rows).entries()) {
            for (const [c, place] of chosen.entries()) {
              const expected = rows[i]?.[place]?.canonical;
              if (expected !== undefined) expect(values[c + 2], columns[c]?.[1]).toBe(expected);
            }
          }
          const images = await roads.streamed(spec, from, rows.length);
          expect(
            comparable(
              spec,
              images.map((image) => image.row),
            ),
          ).toEqual(comparable(spec, selected.rows));
          expect(images.map(({ key }) => key)).toEqual(selected.rows.map((values) => keyHexOf(spec, values)));

          const truth = await roads.fingerprint("source", spec);
          expect(await roads.loadIntoTarget(spec, selected.body)).toEqual({
            rows: rows.length,
            skipped: 0,
            warnings: 0,
          });
          expect(await roads.fingerprint("target", spec)).toEqual(truth);
          await roads.truncate("target", spec);
          await roads.upsertIntoTarget(
            spec,
            images.map((image) => image.row),
          );
          expect(await roads.fingerprint("target", spec)).toEqual(truth);
        }),
        { numRuns: RUNS, ...seed },
      );
    });
  }
});
