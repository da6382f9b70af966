import type { Consent } from "../../../pipeline/consents.ts";
import type { Check, Finding, Severity } from "../../../pipeline/preflight.ts";
import type { MysqlPreflightContext } from "./context.ts";
import type { ServerView, Side } from "./server-view.ts";

type VariableRule = {
  readonly id: string;
  readonly rule: string;
  readonly on: readonly Side[];
  /** First that the server knows; older versions have the second name. */
  readonly names: readonly [string, ...string[]];
  readonly wanted: readonly [string, ...string[]];
  readonly severity?: Severity;
  /** Where given, it makes a warning of the error. */
  readonly consent?: Consent;
  /** A variable that the version does not have, and behaves as wanted without. */
  readonly absentIsFine?: true;
  readonly why: string;
  /** `persist`: SET PERSIST; `restart`: only in the server's own configuration. */
  readonly fix: "persist" | "restart";
  readonly gate?: true;
};

const ON = ["ON", "1"] as const;
const OFF = ["OFF", "0"] as const;

/** One line a variable: what it must be, where, and why. */
export const VARIABLE_RULES: readonly VariableRule[] = [
  {
    id: "mysql.log-bin",
    rule: "M4",
    on: ["source"],
    names: ["log_bin"],
    wanted: ON,
    fix: "restart",
    why: "changes are read from the binary log",
  },
  {
    id: "mysql.binlog-format",
    rule: "M8",
    on: ["source"],
    names: ["binlog_format"],
    wanted: ["ROW"],
    absentIsFine: true,
    fix: "persist",
    gate: true,
    why: "changes must be logged as rows",
  },
  {
    id: "mysql.binlog-row-image",
    rule: "M8",
    on: ["source"],
    names: ["binlog_row_image"],
    wanted: ["FULL"],
    fix: "persist",
    gate: true,
    why: "a change must carry the whole row",
  },
  {
    id: "mysql.binlog-row-metadata",
    rule: "M8",
    on: ["source"],
    names: ["binlog_row_metadata"],
    wanted: ["FULL"],
    fix: "persist",
    gate: true,
    why: "the log must name its columns and character sets",
  },
  {
    id: "mysql.binlog-row-value-options",
    rule: "M8",
    on: ["source"],
    names: ["binlog_row_value_options"],
    wanted: [""],
    absentIsFine: true,
    fix: "persist",
    gate: true,
    why: "a change of a JSON column must carry the whole document",
  },
  {
    id: "mysql.binlog-order-commits",
    rule: "M2",
    on: ["source"],
    names: ["binlog_order_commits"],
    wanted: ON,
    fix: "persist",
    gate: true,
    why: "a mark must show commits in the log's own order",
  },
  {
    id: "mysql.gtid-mode",
    rule: "M4",
    on: ["source"],
    names: ["gtid_mode"],
    wanted: ["ON"],
    fix: "restart",
    gate: true,
    why: "positions are GTID sets",
  },
  {
    id: "mysql.gtid-consistency",
    rule: "M4",
    on: ["source"],
    names: ["enforce_gtid_consistency"],
    wanted: ["ON"],
    fix: "restart",
    why: "each transaction must have one GTID",
  },
  {
    id: "mysql.log-replica-updates",
    rule: "M4",
    on: ["source"],
    names: ["log_replica_updates", "log_slave_updates"],
    wanted: ON,
    fix: "restart",
    why: "what the source itself replicates must be in its binary log too",
  },
  {
    id: "mysql.sync-binlog",
    rule: "M6",
    on: ["source", "target"],
    names: ["sync_binlog"],
    wanted: ["1"],
    consent: "relaxed-durability",
    fix: "persist",
    why: "a commit must outlive a crash of the server",
  },
  {
    id: "mysql.flush-log",
    rule: "M6",
    on: ["source", "target"],
    names: ["innodb_flush_log_at_trx_commit"],
    wanted: ["1"],
    consent: "relaxed-durability",
    fix: "persist",
    why: "a commit must outlive a crash of the server",
  },
  {
    id: "mysql.read-only",
    rule: "M1",
    on: ["source", "target"],
    names: ["read_only"],
    wanted: OFF,
    fix: "persist",
    gate: true,
    why: "marks, outcomes and rows are written on this very server",
  },
  {
    id: "mysql.super-read-only",
    rule: "M1",
    on: ["source", "target"],
    names: ["super_read_only"],
    wanted: OFF,
    fix: "persist",
    gate: true,
    why: "marks, outcomes and rows are written on this very server",
  },
  {
    id: "mysql.innodb-read-only",
    rule: "M1",
    on: ["source", "target"],
    names: ["innodb_read_only"],
    wanted: OFF,
    fix: "restart",
    why: "marks, outcomes and rows are written on this very server",
  },
  {
    id: "mysql.performance-schema",
    rule: "C11",
    on: ["source"],
    names: ["performance_schema"],
    wanted: ON,
    fix: "restart",
    why: "transactions in flight are seen in performance_schema only",
  },
  {
    id: "mysql.local-infile",
    rule: "A5",
    on: ["target"],
    names: ["local_infile"],
    wanted: ON,
    severity: "warning",
    fix: "persist",
    why: "without LOAD DATA LOCAL the copy takes the slower road of prepared statements",
  },
  {
    id: "mysql.target-log-bin",
    rule: "C8",
    on: ["target"],
    names: ["log_bin"],
    wanted: ON,
    severity: "warning",
    fix: "restart",
    why: "a way back needs the target's binary log",
  },
  {
    id: "mysql.target-gtid-mode",
    rule: "C8",
    on: ["target"],
    names: ["gtid_mode"],
    wanted: ["ON"],
    severity: "warning",
    fix: "restart",
    why: "a way back needs the target's GTIDs",
  },
];

export const variableChecks: readonly Check<MysqlPreflightContext>[] = VARIABLE_RULES.map((rule) => ({
  id: rule.id,
  rule: rule.rule,
  when: rule.gate ? ["preflight", "gate"] : ["preflight"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const side of rule.on) findings.push(...(await checkVariable(rule, context[side], context)));
    return findings;
  },
}));

async function checkVariable(
  rule: VariableRule,
  server: ServerView,
  context: MysqlPreflightContext,
): Promise<readonly Finding[]> {
  let name: string = rule.names[0];
  let value: string | null = null;
  for (const candidate of rule.names) {
    value = await server.variable(candidate);
    if (value !== null) {
      name = candidate;
      break;
    }
  }
  if (value === null && rule.absentIsFine) return [];
  if (value !== null && rule.wanted.includes(value)) return [];
  const consented = rule.consent !== undefined && context.consents.has(rule.consent);
  const wanted = rule.wanted[0];
  return [
    {
      id: rule.id,
      severity: consented ? "warning" : (rule.severity ?? "error"),
      subject: `${server.label} ${name}`,
      finding: `${name} is ${value === null ? "unknown" : value === "" ? "empty" : value}, not ${wanted === "" ? "empty" : wanted}: ${rule.why}.`,
      remedy: remedyOf(rule, name, wanted),
      ...(rule.fix === "persist" ? { fixSql: [`SET PERSIST ${name} = ${literal(wanted)}`], fixOn: server.label } : {}),
      rule: rule.rule,
    },
  ];
}

function remedyOf(rule: VariableRule, name: string, wanted: string): string {
  const consent = rule.consent ? `, or name the consent ${rule.consent} in the manifest` : "";
  if (rule.fix === "restart") return `Set ${name}=${wanted} in the server's configuration and restart it${consent}.`;
  const sessions = name.startsWith("binlog_") ? "; sessions that are open keep the old value until they reconnect" : "";
  return `Set ${name} to ${wanted === "" ? "''" : wanted} by the SQL shown${sessions}${consent}.`;
}

function literal(value: string): string {
  return /^\d+$/.test(value) ? value : value === "" ? "''" : `'${value}'`;
}
