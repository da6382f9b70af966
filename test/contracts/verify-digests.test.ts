import { describe, expect, test } from "vitest";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { HARD_VALUES } from "./mysql-hard-values.ts";
import { type Seen, VerifySides } from "./verify-sides.ts";

type Case = { readonly type: string; readonly values: readonly string[] };

/** Only the server can tell these strings from values of other types that print alike. */
const NEEDS_PROOF: Case = {
  type: "JSON",
  values: [
    `'"2024-01-02"'`,
    `'["2020-01-02", "2020-01-02 03:04:05.000000"]'`,
    `'{"t": "-10:00:00.000000", "b": "base64:type15:YWI="}'`,
    `'{"n": 1, "d": "1999-12-31"}'`,
    `'{"n": 1.0, "d": "1999-12-31"}'`,
    "'null'",
    "NULL",
    "'\"\"'",
  ],
};

/** Numbers that only a DECIMAL inside JSON prints so; read back from text they are DOUBLEs that print otherwise. */
const DECIMALS_IN_JSON: Case = {
  type: "JSON",
  values: ["1.50", "100.00", "0.0000001", "-0.10", "100000000000000000000.0", "100000000000000000000", "0.00"].map(
    (digits) => `JSON_OBJECT('a', JSON_ARRAY(CAST('${digits}' AS DECIMAL(40,${digits.split(".")[1]?.length ?? 0}))))`,
  ),
};

/** Values that an opaque value in the target must not be taken for: their JSON text is the same. */
const OPAQUE_IN_TARGET = [
  [`'"2024-01-02"'`, "CAST(CAST('2024-01-02' AS DATE) AS JSON)"],
  [`'["10:11:12.000000"]'`, "JSON_ARRAY(CAST('10:11:12' AS TIME))"],
  [`'{"at": "2024-01-02 03:04:05.000000"}'`, "JSON_OBJECT('at', TIMESTAMP('2024-01-02 03:04:05'))"],
  [`'["base64:type253:YWI="]'`, "JSON_ARRAY(CAST('ab' AS BINARY))"],
  [`'[1.5]'`, "JSON_ARRAY(CAST('1.500000000000000000000000001' AS DECIMAL(60,30)))"],
] as const;

describeWithMysql("V1: what stands for a row is the same on both sides for equal rows, another for others", (mysql) => {
  const open = (type: string) => openOf(mysql, type);
  const cases = [...HARD_VALUES, NEEDS_PROOF, DECIMALS_IN_JSON];
  test.each(cases.map((each, i) => [`${i} ${each.type.slice(0, 60)}`, each] as const))(
    "%s",
    async (_name, { type, values }) => {
      await using opened = await open(type);
      const { sides } = opened;
      for (const [i, value] of values.entries()) await sides.source.run(insert(sides, i + 1, value));
      const roads = [() => sides.copy(0), () => sides.copy(1), () => sides.applyAsChanges()];
      for (const road of roads) {
        await road();
        expect(await sides.fingerprints("target")).toEqual(await sides.fingerprints("source"));
        expect(await sides.digestsAtTarget()).toEqual(await sides.digestsAtSource());
        expect(await sides.rowsAtTarget()).toEqual(await sides.rowsAtSource());
      }
      const wanted = await sides.fingerprints("source");
      const digests = await sides.digestsAtSource();
      const rows = await sides.rowsAtSource();
      const others = [...values, "NULL"];
      for (const [i] of values.entries()) {
        const other = others[(i + 1) % others.length] as string;
        await sides.target.sql.run(`UPDATE ${sides.table} SET v = ${other} WHERE id = ${i + 1}`);
        const now = await sides.fingerprints("target");
        const changed = wanted.flatMap((text, at) => (text === now[at] ? [] : [at]));
        expect(differing(digests, await sides.digestsAtTarget()), `${values[i]} to ${other}`).toEqual(changed);
        expect(differing(rows, await sides.rowsAtTarget()), `${values[i]} to ${other}`).toEqual(changed);
        await sides.target.sql.run(`UPDATE ${sides.table} SET v = ${values[i]} WHERE id = ${i + 1}`);
      }
      expect(differing(digests, await sides.digestsAtTarget())).toEqual([]);
    },
  );

  describe("W6, V1: what no JSON text can carry equals none of the source's values", () => {
    test.each(OPAQUE_IN_TARGET)("%s is not %s", async (atSource, atTarget) => {
      await using opened = await open("JSON");
      const { sides } = opened;
      for (const id of [1, 2, 3]) await sides.source.run(insert(sides, id, id === 2 ? atSource : `'${id}'`));
      await sides.copy(0);
      expect(await sides.digestsAtTarget()).toEqual(await sides.digestsAtSource());
      await sides.target.sql.run(`UPDATE ${sides.table} SET v = ${atTarget} WHERE id = 2`);
      expect(await sides.fingerprints("target")).not.toEqual(await sides.fingerprints("source"));
      expect(differing(await sides.digestsAtSource(), await sides.digestsAtTarget())).toEqual([1]);
      expect(differing(await sides.rowsAtSource(), await sides.rowsAtTarget())).toEqual([1]);
    });
  });

  test("V1: the same read stands for other rows under another key of the digests, and in another column", async () => {
    await using opened = await open("VARCHAR(20), w VARCHAR(20)");
    const { sides } = opened;
    // What ends one value and begins the next must not be movable between them.
    const pairs = [
      ["'a'", "'b'"],
      ["'a\\t'", "'b'"],
      ["'a'", "'\\tb'"],
      ["''", "'ab'"],
      ["'ab'", "''"],
      ["NULL", "'ab'"],
      ["'\\\\N'", "'ab'"],
    ];
    for (const [i, pair] of pairs.entries()) await sides.source.run(insert(sides, i + 1, pair.join(", ")));
    await sides.copy(0);
    const digests = await sides.digestsAtTarget();
    expect(new Set(digests.values()).size).toBe(pairs.length);
    expect(digests).toEqual(await sides.digestsAtSource());
  });
});

async function openOf(mysql: Parameters<typeof VerifySides.open>[0], type: string) {
  const sides = await VerifySides.open(
    mysql,
    `id INT NOT NULL PRIMARY KEY, tenant INT NOT NULL, v ${type}, KEY p (tenant, id)`,
  );
  return { sides, [Symbol.asyncDispose]: () => sides.close() };
}

function insert(sides: VerifySides, id: number, values: string): string {
  return `INSERT INTO ${sides.table} VALUES (${id}, 7, ${values})`;
}

/** The rows that are not the same, by their place in key order. */
function differing(wanted: Seen, found: Seen): readonly number[] {
  expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort());
  return [...wanted.keys()].flatMap((key, at) => (wanted.get(key) === found.get(key) ? [] : [at]));
}
