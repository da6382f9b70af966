import { systemClock } from "../../../pipeline/clock.ts";
import type { Check, Finding } from "../../../pipeline/preflight.ts";
import { describeBlocker, MysqlQuiesce } from "../quiesce.ts";
import { listed, type MysqlPreflightContext, servers } from "./context.ts";
import type { ServerView } from "./server-view.ts";

type C = MysqlPreflightContext;

/** Who holds which table, and which transaction it is. */
const NEEDED = [
  { table: "setup_instruments", names: ["wait/lock/metadata/sql/mdl", "transaction"] },
  {
    table: "setup_consumers",
    names: ["global_instrumentation", "thread_instrumentation", "events_transactions_current"],
  },
];
const CLOCK_SKEW_SECONDS = 5;

const version: Check<C> = {
  id: "mysql.version",
  rule: "M8",
  when: ["preflight"],
  run: (context) =>
    each(context, async (server) => {
      const [row] = await server.rows("SELECT VERSION() version_, @@version_comment comment_");
      const text = `${row?.["version_"]} ${row?.["comment_"]}`;
      const problem = versionProblem(text);
      return problem === null
        ? []
        : [
            {
              id: "mysql.version",
              severity: "error",
              subject: server.label,
              finding: `The server is ${text.trim()}: ${problem}.`,
              remedy: "Move between MySQL servers of 8.0.22 or later.",
              rule: "M8",
            },
          ];
    }),
};

/** Null where the version is one that Drayage knows. */
export function versionProblem(text: string): string | null {
  if (/mariadb/i.test(text)) return "MariaDB is not supported in this version";
  const [, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)/.exec(text) ?? [];
  const number = Number(major) * 1_000_000 + Number(minor) * 1_000 + Number(patch);
  if (Number.isNaN(number)) return "the version cannot be read";
  // ALTER SCHEMA … READ ONLY and row aliases in INSERT are there from 8.0.22 on.
  if (number < 8_000_022) return "it is older than 8.0.22";
  if (number >= 10_000_000) return "this version is not known";
  return null;
}

const sameServer: Check<C> = {
  id: "mysql.same-server",
  rule: "C1",
  when: ["preflight"],
  run: async (context) => {
    const [source, target] = [
      await context.source.variable("server_uuid"),
      await context.target.variable("server_uuid"),
    ];
    if (source !== target) return [];
    return [
      {
        id: "mysql.same-server",
        severity: "error",
        subject: `${context.source.label}, ${context.target.label}`,
        finding: `Both addresses lead to the same server (server_uuid ${source}).`,
        remedy: "Give --from and --to clusters that are different servers.",
        rule: "C1",
      },
    ];
  },
};

const tableNames: Check<C> = {
  id: "mysql.lower-case-table-names",
  rule: "T2",
  when: ["preflight"],
  run: async (context) => {
    const name = "lower_case_table_names";
    const [source, target] = [await context.source.variable(name), await context.target.variable(name)];
    if (source === target) return [];
    return [
      {
        id: "mysql.lower-case-table-names",
        severity: "error",
        subject: name,
        finding: `${name} is ${source} at the source and ${target} at the target: a table's name means two things.`,
        remedy: "Move between servers with the same lower_case_table_names; it can be set at initialisation only.",
        rule: "T2",
      },
    ];
  },
};

const binlogFilters: Check<C> = {
  id: "mysql.binlog-filters",
  rule: "M8",
  when: ["preflight", "gate"],
  run: async (context) => {
    if ((await context.source.variable("log_bin")) === "OFF") return [];
    const modern = versionAtLeast(await context.source.variable("version"), 8, 2);
    const [status] = await context.source.rows(modern ? "SHOW BINARY LOG STATUS" : "SHOW MASTER STATUS");
    const filters = [
      ["binlog-do-db", status?.["Binlog_Do_DB"]],
      ["binlog-ignore-db", status?.["Binlog_Ignore_DB"]],
    ].filter(([, value]) => value);
    return filters.map(([name, value]) => ({
      id: "mysql.binlog-filters",
      severity: "error",
      subject: `${context.source.label} ${name}`,
      finding: `${name} is ${value}: changes of other schemas are not in the binary log, and nothing there says so.`,
      remedy: `Remove ${name} from the server's configuration and restart it.`,
      rule: "M8",
    }));
  },
};

const retention: Check<C> = {
  id: "mysql.binlog-retention",
  rule: "M6",
  when: ["preflight"],
  run: async (context) => {
    const seconds = Number((await context.source.variable("binlog_expire_logs_seconds")) ?? Number.NaN);
    const purges = (await context.source.variable("binlog_expire_logs_auto_purge")) !== "OFF";
    const floor = context.limits.retentionSeconds;
    if (!purges || seconds === 0 || seconds >= floor) return [];
    return [
      {
        id: "mysql.binlog-retention",
        severity: context.consents.has("short-retention") ? "warning" : "error",
        subject: `${context.source.label} binlog_expire_logs_seconds`,
        finding: `The binary log is purged after ${seconds} s; a capture that stands still longer than that must copy again. The floor is ${floor} s.`,
        remedy: "Keep the binary log longer by the SQL shown, or name the consent short-retention in the manifest.",
        fixSql: [`SET PERSIST binlog_expire_logs_seconds = ${Math.max(floor, 604_800)}`],
        fixOn: context.source.label,
        rule: "M6",
      },
    ];
  },
};

const packet: Check<C> = {
  id: "mysql.max-allowed-packet",
  rule: "A2",
  when: ["preflight"],
  run: async (context) => {
    const source = Number(await context.source.variable("max_allowed_packet"));
    const target = Number(await context.target.variable("max_allowed_packet"));
    // A row may fill the source's packet; on the way in it stands in a statement with more around it.
    const needed = Math.max(source, 16 * 1024 * 1024);
    if (target >= needed) return [];
    return [
      {
        id: "mysql.max-allowed-packet",
        severity: "error",
        subject: `${context.target.label} max_allowed_packet`,
        finding: `max_allowed_packet is ${target} bytes at the target and ${source} at the source: a row of the source may not fit; needed are ${needed}.`,
        remedy: "Raise it by the SQL shown; new sessions have it at once.",
        fixSql: [`SET PERSIST max_allowed_packet = ${needed}`],
        fixOn: context.target.label,
        rule: "A2",
      },
    ];
  },
};

const instruments: Check<C> = {
  id: "mysql.instruments",
  rule: "C11",
  when: ["preflight", "gate"],
  run: async (context) => {
    if ((await context.source.variable("performance_schema")) === "OFF") return [];
    const findings: Finding[] = [];
    for (const { table, names } of NEEDED) {
      const rows = await context.source.rows(
        `SELECT NAME name_, ENABLED enabled_ FROM performance_schema.${table} WHERE NAME IN (${names.map(() => "?").join(", ")})`,
        names,
      );
      for (const name of names) {
        if (rows.find((row) => row["name_"] === name)?.["enabled_"] === "YES") continue;
        findings.push({
          id: "mysql.instruments",
          severity: "error",
          subject: `${context.source.label} ${name}`,
          finding: `${name} is off in performance_schema.${table}: who could still write cannot be seen, so no fence can be trusted.`,
          remedy:
            "Switch it on by the SQL shown, and in the server's configuration; transactions are seen from then on.",
          fixSql: [`UPDATE performance_schema.${table} SET ENABLED = 'YES' WHERE NAME = '${name}'`],
          fixOn: context.source.label,
          rule: "C11",
        });
      }
    }
    return findings;
  },
};

/** Between two looks that far apart a healthy coordinator has ended its transaction. */
const XA_AGAIN_MS = 300;

/** A neighbour's prepared transaction holds nobody up: only what covered tables, or nobody knows which, are held by. */
const preparedXa: Check<C> = {
  id: "mysql.prepared-xa",
  rule: "M7",
  when: ["preflight", "gate"],
  run: async (context, signal) => {
    const quiesce = new MysqlQuiesce({ rows: (sql, parameters) => context.source.rows(sql, parameters) });
    const before = await quiesce.prepared(context.specs, signal);
    if (before.length === 0) return [];
    await systemClock.sleep(XA_AGAIN_MS, signal);
    const ids = new Set(before.map((blocker) => blocker.id));
    const left = (await quiesce.prepared(context.specs, signal)).filter((blocker) => ids.has(blocker.id));
    if (left.length === 0) return [];
    return [
      {
        id: "mysql.prepared-xa",
        severity: "error",
        subject: `${context.source.label} XA RECOVER`,
        finding: `Prepared XA transactions from before the start: ${listed(left.map(describeBlocker), context.limits.listedKeys)}. Their rows are in the binary log already, their outcome is not.`,
        remedy: "Let their coordinator end them; XA COMMIT or XA ROLLBACK the ones that nobody owns any more.",
        rule: "M7",
      },
    ];
  },
};

const clocks: Check<C> = {
  id: "mysql.clock",
  rule: "M3",
  when: ["preflight"],
  run: async (context) => {
    const seconds = async (server: ServerView) =>
      Number((await server.rows("SELECT UNIX_TIMESTAMP(NOW(6)) now_"))[0]?.["now_"]);
    const skew = Math.abs((await seconds(context.source)) - (await seconds(context.target)));
    if (skew <= CLOCK_SKEW_SECONDS) return [];
    return [
      {
        id: "mysql.clock",
        severity: "warning",
        subject: `${context.source.label}, ${context.target.label}`,
        finding: `The servers' clocks are ${skew.toFixed(1)} s apart. Lag and deadlines do not use them; the application's own timestamps will jump at the switch.`,
        remedy: "Have both follow the same time service.",
        rule: "M3",
      },
    ];
  },
};

export const serverChecks: readonly Check<C>[] = [
  version,
  sameServer,
  tableNames,
  binlogFilters,
  retention,
  packet,
  instruments,
  preparedXa,
  clocks,
];

export function versionAtLeast(version: string | null, major: number, minor: number): boolean {
  const [a, b] = (version ?? "").split(".").map((part) => Number.parseInt(part, 10));
  return (a ?? 0) > major || ((a ?? 0) === major && (b ?? 0) >= minor);
}

async function each(
  context: C,
  check: (server: ServerView) => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  return (await Promise.all(servers(context).map(check))).flat();
}
