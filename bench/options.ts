import { parseArgs } from "node:util";

export const PARTS = ["copy", "verify", "drain", "latency", "pause", "rollback", "open"] as const;
export type Part = (typeof PARTS)[number];

export interface BenchOptions {
  readonly log: "embedded" | "kafka";
  /** Of the first table; the second has a tenth of it. */
  readonly rows: number;
  /** Row events of the backlog. */
  readonly events: number;
  readonly parts: ReadonlySet<Part>;
  /** Runs of each contender, in turns; the median counts. */
  readonly repeat: number;
  /** Tenants moved one after the other. */
  readonly cutovers: number;
  /** Measured seconds of the latency part, each for us and for the replica. */
  readonly seconds: number;
  /** Transactions a second of the steady load. */
  readonly tps: number;
  readonly durability: Durability;
  /** Size of the lane whose opening is measured. */
  readonly laneGib: number;
  readonly seed: number;
  readonly output: "text" | "json";
  /** Where `dray serve` leaves CPU profiles; null: it runs as an operator runs it. */
  readonly profileFolder: string | null;
}

/** relaxed: sync_binlog=0 and innodb_flush_log_at_trx_commit=2 on every server. durable: 1 and 1. */
export type Durability = "relaxed" | "durable";

export class UsageError extends Error {}

export const USAGE =
  "npm run bench -- mysql [--rows N] [--log embedded|kafka] [--only copy,verify,drain,latency,pause,rollback,open] [--repeat N] " +
  "[--events N] [--cutovers N] [--seconds N] [--tps N] [--durable] [--lane-gib N] [--seed N] [--profile FOLDER] [--json]";

/** Throws UsageError with what is wrong. */
export function benchOptions(args: readonly string[]): BenchOptions {
  const { values, positionals } = parsed(args);
  if (positionals.length !== 1 || positionals[0] !== "mysql") throw new UsageError("what is measured is mysql");
  const log = values.log;
  if (log !== "embedded" && log !== "kafka") throw new UsageError(`--log is embedded or kafka, not ${log}`);
  const rows = whole("--rows", values.rows, 10_000, 1_000_000_000);
  return {
    log,
    rows,
    events: whole("--events", values.events ?? String(Math.min(300_000, Math.floor(rows * 0.3))), 1_000, rows * 0.3),
    parts: new Set(values.only.split(",").map(part)),
    repeat: whole("--repeat", values.repeat, 1, 4),
    cutovers: whole("--cutovers", values.cutovers, 1, 1_000),
    seconds: whole("--seconds", values.seconds, 5, 3_600),
    tps: whole("--tps", values.tps, 1, 10_000),
    durability: values.durable ? "durable" : "relaxed",
    laneGib: amount("--lane-gib", values["lane-gib"]),
    seed: whole("--seed", values.seed, 1, 2 ** 31),
    output: values.json ? "json" : "text",
    profileFolder: values.profile ?? null,
  };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        log: { type: "string", default: "embedded" },
        rows: { type: "string", default: "1000000" },
        events: { type: "string" },
        only: { type: "string", default: "copy,verify,drain,latency,pause,rollback,open" },
        repeat: { type: "string", default: "3" },
        cutovers: { type: "string", default: "20" },
        seconds: { type: "string", default: "60" },
        tps: { type: "string", default: "200" },
        durable: { type: "boolean", default: false },
        "lane-gib": { type: "string", default: "1" },
        seed: { type: "string", default: "20260101" },
        profile: { type: "string" },
        json: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function part(name: string): Part {
  const known = PARTS.find((candidate) => candidate === name);
  if (known === undefined) throw new UsageError(`--only takes ${PARTS.join(", ")}, not ${name}`);
  return known;
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new UsageError(`${name} is a whole number from ${min} to ${Math.floor(max)}, not ${text}`);
  }
  return value;
}

function amount(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 1_000)) throw new UsageError(`${name} is a number above 0, not ${text}`);
  return value;
}
