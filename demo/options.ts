import { parseArgs } from "node:util";
import { SABOTAGES, type Sabotage } from "./sabotage.ts";
import { SOURCE_TENANTS } from "./schema.ts";
import { MIN_ROWS } from "./seed.ts";

export interface DemoOptions {
  readonly log: "embedded" | "kafka";
  /** On the source, of all tenants. */
  readonly rows: number;
  /** Transactions a second, of all tenants. */
  readonly tps: number;
  /** So many tenants are moved, one after the other. */
  readonly cutovers: number;
  readonly seed: number;
  readonly output: "text" | "json";
  readonly sabotage: Sabotage | null;
}

export class UsageError extends Error {}

export const USAGE = `npm run demo -- [--rows N] [--tps N] [--cutovers 1..${SOURCE_TENANTS.length}] [--log embedded|kafka] [--seed N] [--json] [--sabotage ${SABOTAGES.join("|")}]`;

/** Throws UsageError with what is wrong. */
export function demoOptions(args: readonly string[]): DemoOptions {
  const values = parsed(args);
  const log = values.log;
  if (log !== "embedded" && log !== "kafka") throw new UsageError(`--log is embedded or kafka, not ${log}`);
  const sabotage = values.sabotage === undefined ? null : SABOTAGES.find((kind) => kind === values.sabotage);
  if (sabotage === undefined) throw new UsageError(`--sabotage is one of ${SABOTAGES.join(", ")}`);
  return {
    log,
    rows: whole("--rows", values.rows, MIN_ROWS, 100_000_000),
    tps: whole("--tps", values.tps, 1, 100_000),
    cutovers: whole("--cutovers", values.cutovers, 1, SOURCE_TENANTS.length),
    seed: whole("--seed", values.seed, 1, 2 ** 31),
    output: values.json ? "json" : "text",
    sabotage,
  };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        log: { type: "string", default: "embedded" },
        rows: { type: "string", default: "500000" },
        tps: { type: "string", default: "300" },
        cutovers: { type: "string", default: "1" },
        seed: { type: "string", default: "20260101" },
        json: { type: "boolean", default: false },
        sabotage: { type: "string" },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new UsageError(`${name} is a whole number from ${min} to ${max}, not ${text}`);
  }
  return value;
}
