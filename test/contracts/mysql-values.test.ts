import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { quoteIdentifier } from "../../connectors/mysql/client.ts";
import { type CanonicalRow, decodeRow, encodeRow } from "../../connectors/mysql/row-codec.ts";
import { type ColumnSpec, carriedColumns } from "../../connectors/mysql/table-spec.ts";
import { comparableParameter, literal } from "../../connectors/mysql/values.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { HARD_VALUES } from "./mysql-hard-values.ts";
import { comparable, keyHexOf, Roads, shown } from "./mysql-roads.ts";

describeWithMysql("MySQL values by every road", (mysql) => {
  let roads: Roads;
  beforeAll(async () => {
    roads = await Roads.open(mysql);
  });
  afterAll(async () => {
    await roads?.close();
  });

  describe("W6: SELECT and row image give the same canonical bytes, and both write the same value back", () => {
    for (const [i, { type, values, canonical }] of HARD_VALUES.entries()) {
      test(type.length > 60 ? `${type.slice(0, 40)}… of ${type.length} characters` : type, async () => {
        const spec = await roads.create(`t${i}`, `v ${type}`);
        const from = await roads.position();
        const table = roads.table(spec.name);
        for (const [id, value] of values.entries()) {
          await roads.source.run(`INSERT INTO ${table} (tenant, id, v) VALUES (7, ${id + 1}, ${value})`);
        }
        await roads.source.run(`UPDATE ${table} SET tenant = 8`);
        await roads.source.run(`UPDATE ${table} SET tenant = 7`);

        const columns = carriedColumns(spec);
        const value = columns[2] as ColumnSpec;
        // A SET with 64 labels compares as a signed number; it is never a key.
        const left = value.dataType === "set" ? "CAST(v AS UNSIGNED)" : "v";
        const findings = async (row: CanonicalRow) => {
          const wanted = row[2] ?? null;
          if (wanted === null) return ["1", "1"];
          const count = `SELECT COUNT(*) AS n FROM ${table} WHERE id = ${Buffer.from(row[1] as Uint8Array)} AND ${left} = `;
          const [byLiteral] = await roads.source.query(`${count}${literal(value, wanted)}`);
          const [byParameter] = await roads.source.executeQuery(`${count}${comparableParameter(value)}`, [wanted]);
          return [byLiteral?.["n"], byParameter?.["n"]];
        };

        const selected = await roads.selected(spec);
        expect(selected.rows).toHaveLength(values.length);
        const images = await roads.streamed(spec, from, values.length * 5);
        const inserted = images.filter((image) => image.op === "insert");
        expect(
          comparable(
            spec,
            inserted.map((image) => image.row),
          ),
        ).toEqual(comparable(spec, selected.rows));
        expect(inserted.map((image) => image.key)).toEqual(selected.rows.map((row) => keyHexOf(spec, row)));
        expect(new Set(inserted.map((image) => image.tenant))).toEqual(new Set(["7"]));
        if (canonical) expect(shown(selected.rows).map((row) => row[2])).toEqual(canonical);
        for (const { row } of images) expect(decodeRow(encodeRow(row), row.length)).toEqual(row);

        const truth = await roads.fingerprint("source", spec);
        // What is carried is equal by MySQL's own `=` to what the source holds, through either kind of statement.
        for (const row of [...selected.rows, ...inserted.map((image) => image.row)]) {
          expect(await findings(row), `${type} ${Buffer.from(row[2] ?? []).subarray(0, 60)}`).toEqual(["1", "1"]);
        }
        const loaded = await roads.loadIntoTarget(spec, selected.body);
        expect(loaded).toEqual({ rows: values.length, skipped: 0, warnings: 0 });
        expect(await roads.fingerprint("target", spec)).toEqual(truth);

        for (const rows of [selected.rows, inserted.map((image) => image.row)]) {
          await roads.truncate("target", spec);
          await roads.upsertIntoTarget(spec, rows);
          await roads.upsertIntoTarget(spec, rows);
          expect(await roads.fingerprint("target", spec)).toEqual(truth);
        }

        await roads.truncate("target", spec);
        const tuple = (row: CanonicalRow) =>
          `(${columns.map((column, c) => literal(column, row[c] ?? null)).join(", ")})`;
        const names = columns.map((column) => quoteIdentifier(column.name)).join(", ");
        await roads.target.run(`INSERT INTO ${table} (${names}) VALUES ${selected.rows.map(tuple).join(", ")}`);
        expect(await roads.fingerprint("target", spec)).toEqual(truth);
      });
    }
  });
});
