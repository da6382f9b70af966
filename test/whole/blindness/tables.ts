import { HARD_VALUES } from "../../contracts/mysql-hard-values.ts";

/** A table whose rows are told apart by `mark`, which no index and no key holds. */
export type BlindTable = {
  readonly name: string;
  readonly ddl: string;
  readonly keys: readonly string[];
  readonly rows: number;
  /** Columns and their values of row n, from 0 on, as SQL; `mark` and the tenant are not among them. */
  readonly row: (n: number, tenant: string) => Readonly<Record<string, string>>;
  /** Keys as SQL that no row of the source has: before the first, in the middle, behind the last. */
  readonly free: readonly Readonly<Record<string, string>>[];
};

const COLUMNS_A_TABLE = 6;
const VALUE_ROWS = 110;
/** Values of 64 KiB and more are in tables of their own, with few rows. */
const LARGE_ROWS = 30;
const KEY_ROWS = 130;

const isLarge = (type: string) => /^(MEDIUM|LONG)(TEXT|BLOB)$|^TEXT$/.test(type);

/** Every accepted type with its hard values, several columns a table, over the kinds of keys that are numbers. */
function valueTables(): BlindTable[] {
  const small = HARD_VALUES.filter(({ type }) => !isLarge(type));
  const large = HARD_VALUES.filter(({ type }) => isLarge(type));
  const groups = [...groupsOf(small, COLUMNS_A_TABLE), ...groupsOf(large, 2)];
  return groups.map((group, g): BlindTable => {
    const columns = group.map(({ type }, i) => `c${i} ${type.trim()} NULL`).join(", ");
    return {
      name: `v_${g}`,
      ddl: `(id BIGINT UNSIGNED NOT NULL PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, mark INT NOT NULL, ${columns}, KEY p (tenant_id))`,
      keys: ["id"],
      rows: group.some(({ type }) => isLarge(type)) ? LARGE_ROWS : VALUE_ROWS,
      row: (n) => ({
        id: String(10 + 2 * n),
        ...Object.fromEntries(group.map(({ values }, i) => [`c${i}`, values[(n + i) % values.length] as string])),
      }),
      free: [{ id: "0" }, { id: "51" }, { id: "18446744073709551615" }],
    };
  });
}

type KeyPlan = {
  readonly name: string;
  readonly type: string;
  readonly key: (n: number) => string;
  readonly free: readonly [string, string, string];
  readonly rows?: number;
};

const quoted = (text: string) => `'${text}'`;
const pad = (n: number, width: number) => String(n).padStart(width, "0");
const hex = (n: number, width: number) => n.toString(16).padStart(width, "0");
/** As spread as a hash, and the same in every run. */
const mixed = (n: number) => Math.imul(n + 1, 0x9e3779b1) >>> 0;
const LABELS = Array.from({ length: 90 }, (_, i) => `${"zyxwvutsrq"[i % 10]}${i}`);

const KEY_PLANS: readonly KeyPlan[] = [
  {
    name: "bigint_u",
    type: "BIGINT UNSIGNED",
    key: (n) => (n === 0 ? "1" : n === 1 ? "18446744073709551614" : `${9007199254740000n + 14n * BigInt(n)}`),
    free: ["0", "9007199254740993", "18446744073709551615"],
  },
  {
    name: "int_s",
    type: "INT",
    key: (n) => String((n - 60) * 3),
    free: ["-2147483648", "-1", "2147483647"],
  },
  { name: "tiny", type: "TINYINT", key: (n) => String(n - 64), free: ["-128", "127", "126"], rows: 120 },
  {
    name: "zerofill",
    type: "MEDIUMINT(6) UNSIGNED ZEROFILL",
    key: (n) => String(1 + n * 1000),
    free: ["0", "42", "16777215"],
  },
  {
    name: "text_ci",
    type: "VARCHAR(40) COLLATE utf8mb4_0900_ai_ci",
    key: (n) => quoted(`${n % 2 ? "K" : "k"}ey-${mixed(n) % 1000}-é${n}`),
    free: ["''", "'key-5'", "'zz😀'"],
  },
  {
    name: "text_general",
    type: "VARCHAR(40) COLLATE utf8mb4_general_ci",
    key: (n) => quoted(`Ä${n % 2 ? "b" : "B"} ${mixed(n) % 100} ${n}`),
    free: ["'a'", "'ab 500'", "'ß'"],
  },
  {
    name: "text_latin",
    type: "VARCHAR(30) CHARACTER SET latin1",
    key: (n) => quoted(`${"éüßAz"[n % 5]}-${n}`),
    free: ["'!'", "'b'", "'ÿÿ'"],
  },
  {
    name: "char_ci",
    type: "CHAR(20)",
    key: (n) => quoted(`Code ${mixed(n) % 5000}x${n}`),
    free: ["'a'", "'code 2500'", "'x'"],
  },
  {
    name: "uuid",
    type: "BINARY(16)",
    // Some of printable characters alone, some of none.
    key: (n) => `x'${n % 3 ? hex(mixed(n), 8).padEnd(32, hex(n, 2)) : `${hex(0x21 + n / 3, 2)}`.repeat(16)}'`,
    free: [
      "x'00000000000000000000000000000000'",
      "x'80000000000000000000000000000001'",
      "x'ffffffffffffffffffffffffffffffff'",
    ],
    rows: 120,
  },
  {
    name: "varbin",
    type: "VARBINARY(20)",
    key: (n) =>
      `x'${n === 0 ? "" : n === 1 ? "00" : n === 2 ? "0000" : hex(mixed(n), 8).slice(0, 2 + 2 * (n % 4)) + hex(n, 4)}'`,
    free: ["x'000000'", "x'7f'", "x'ffffff'"],
  },
  {
    name: "dec",
    type: "DECIMAL(20,4)",
    key: (n) => `${(n - 60) * 7}.${pad(mixed(n) % 10000, 4)}`,
    free: ["-9999999999999999.9999", "0.0001", "9999999999999999.9999"],
  },
  {
    name: "date",
    type: "DATE",
    key: (n) =>
      n === 0 ? "'0000-00-00'" : quoted(`${pad(1990 + (n % 30), 4)}-${pad(1 + (n % 12), 2)}-${pad(1 + (n % 31), 2)}`),
    free: ["'0000-00-01'", "'1999-00-00'", "'9999-12-31'"],
    rows: 100,
  },
  {
    name: "datetime",
    type: "DATETIME(3)",
    key: (n) =>
      n === 0
        ? "'0000-00-00 00:00:00'"
        : quoted(`2024-01-${pad(1 + (n % 28), 2)} 00:00:${pad(n % 60, 2)}.${pad(n, 3)}`),
    free: ["'0000-00-00 00:00:00.001'", "'2024-01-10 00:00:00.000'", "'9999-12-31 23:59:59.999'"],
  },
  {
    name: "stamp",
    type: "TIMESTAMP(6)",
    key: (n) => quoted(`20${pad(1 + (n % 37), 2)}-03-31 01:59:59.${pad(n, 6)}`),
    free: ["'1970-01-01 00:00:01.000000'", "'2020-06-01 00:00:00.000000'", "'2038-01-19 03:14:07.499999'"],
  },
  {
    name: "time",
    type: "TIME(2)",
    key: (n) => quoted(`${n % 2 ? "-" : ""}${pad(n % 3 ? n : n * 6, 2)}:${pad(n % 60, 2)}:00.${pad(n % 100, 2)}`),
    free: ["'-838:59:59.00'", "'-00:00:00.01'", "'838:59:59.00'"],
  },
  {
    name: "year",
    type: "YEAR",
    key: (n) => (n === 0 ? "'0000'" : String(1920 + n)),
    free: ["1901", "2100", "2155"],
    rows: 120,
  },
  { name: "bits", type: "BIT(12)", key: (n) => String(1 + n * 29), free: ["0", "2000", "4095"] },
  {
    name: "label",
    type: `ENUM(${LABELS.map(quoted).join(",")})`,
    key: (n) => String(2 + n),
    free: ["1", "83", "90"],
    rows: 80,
  },
];

const PLAIN = (n: number) => ({ num: String(n * 5), word: quoted(`word ${n}`) });

function keyTables(): BlindTable[] {
  return KEY_PLANS.map(({ name, type, key, free, rows = KEY_ROWS }) => ({
    name: `k_${name}`,
    ddl: `(num INT NULL, k ${type} NOT NULL, tenant_id VARCHAR(32) NOT NULL, mark INT NOT NULL, word VARCHAR(30) NULL, PRIMARY KEY (k), KEY p (tenant_id))`,
    keys: ["k"],
    rows,
    row: (n: number) => ({ k: key(n), ...PLAIN(n) }),
    free: free.map((k) => ({ k })),
  }));
}

const JSON_DOCUMENT = (n: number) => {
  const document = {
    d: "2024-01-02",
    n: n % 2,
    deep: { list: [1, 2.5, "x", null, true, { a: [n] }] },
    t: "10:11:12.000000",
    at: "2024-01-02 03:04:05.000000",
    s: "1",
    e: "",
  };
  // 9007199254740993 is no number of this language.
  return `CAST('${JSON.stringify(document).replace('"e":""', '"e":"","big":9007199254740993,"real":3.0')}' AS JSON)`;
};

const OTHER_TABLES: readonly BlindTable[] = [
  {
    name: "k_tenant_first",
    ddl: `(tenant_id VARCHAR(32) NOT NULL, a INT NOT NULL, b VARCHAR(12) NOT NULL, mark INT NOT NULL, num INT NULL, word VARCHAR(30) NULL, PRIMARY KEY (tenant_id, a, b))`,
    keys: ["tenant_id", "a", "b"],
    rows: KEY_ROWS,
    row: (n) => ({ a: String((n >> 3) - 5), b: quoted(`${"AbCdEfGh"[n & 7]}x`), ...PLAIN(n) }),
    free: [
      { a: "-2147483648", b: "''" },
      { a: "0", b: "'aa'" },
      { a: "2147483647", b: "'z'" },
    ],
  },
  {
    name: "k_tenant_last",
    ddl: `(a INT UNSIGNED NOT NULL, d DATE NOT NULL, mark INT NOT NULL, num INT NULL, tenant_id VARCHAR(32) NOT NULL, word VARCHAR(30) NULL, PRIMARY KEY (a, d, tenant_id), KEY p (tenant_id, a, d))`,
    keys: ["a", "d", "tenant_id"],
    rows: KEY_ROWS,
    row: (n) => ({ a: String(1 + (n >> 2)), d: quoted(`2024-0${1 + (n & 3)}-01`), ...PLAIN(n) }),
    free: [
      { a: "0", d: "'2024-01-01'" },
      { a: "7", d: "'2024-01-02'" },
      { a: "4294967295", d: "'9999-12-31'" },
    ],
  },
  {
    name: "k_ordered_pair",
    ddl: `(a SMALLINT NOT NULL, b BINARY(2) NOT NULL, mark INT NOT NULL, num INT NULL, tenant_id VARCHAR(32) NOT NULL, word VARCHAR(30) NULL, PRIMARY KEY (a, b), KEY p (tenant_id))`,
    keys: ["a", "b"],
    rows: KEY_ROWS,
    row: (n) => ({ a: String((n >> 4) - 3), b: `x'${hex((n & 15) * 16, 2)}${hex(n, 2)}'`, ...PLAIN(n) }),
    free: [
      { a: "-32768", b: "x'0000'" },
      { a: "0", b: "x'fffe'" },
      { a: "32767", b: "x'ffff'" },
    ],
  },
  {
    name: "documents_json",
    ddl: `(id INT NOT NULL PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, mark INT NOT NULL, doc JSON NULL, KEY p (tenant_id))`,
    keys: ["id"],
    rows: KEY_ROWS,
    row: (n) => ({ id: String(1 + 3 * n), doc: JSON_DOCUMENT(n) }),
    free: [{ id: "-1" }, { id: "50" }, { id: "2147483647" }],
  },
  {
    name: "other_unique",
    ddl: `(id INT NOT NULL PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, mark INT NOT NULL, num INT NULL, word VARCHAR(30) NULL, UNIQUE KEY u (tenant_id, word), KEY p (tenant_id))`,
    keys: ["id"],
    rows: 60,
    row: (n) => ({ id: String(1 + 3 * n), ...PLAIN(n) }),
    free: [{ id: "-1" }, { id: "50" }, { id: "2147483647" }],
  },
  {
    name: "three_rows",
    ddl: `(id INT NOT NULL PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, mark INT NOT NULL, num INT NULL, word VARCHAR(30) NULL, KEY p (tenant_id))`,
    keys: ["id"],
    rows: 3,
    row: (n) => ({ id: String(1 + 3 * n), ...PLAIN(n) }),
    free: [{ id: "-1" }, { id: "5" }, { id: "2147483647" }],
  },
  {
    name: "no_rows",
    ddl: `(id VARCHAR(20) NOT NULL PRIMARY KEY, tenant_id VARCHAR(32) NOT NULL, mark INT NOT NULL, num INT NULL, word VARCHAR(30) NULL, KEY p (tenant_id))`,
    keys: ["id"],
    rows: 0,
    row: (n) => ({ id: quoted(`id ${n}`), ...PLAIN(n) }),
    free: [{ id: "''" }, { id: "'m'" }, { id: "'z'" }],
  },
];

export const BLIND_TABLES: readonly BlindTable[] = [...valueTables(), ...keyTables(), ...OTHER_TABLES];

function groupsOf<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}
