import { DrayError, isDrayError } from "../../pipeline/errors.ts";
import type { Finding } from "../../pipeline/preflight.ts";
import type { CoveredTable } from "../../pipeline/source.ts";
import type {
  GenerationBook,
  GenerationChange,
  GenerationDecision,
  GenerationKey,
  GenerationRecord,
  StatementValues,
} from "../generation-book.ts";
import { type MysqlAddress, quoteTable, type TextRow } from "./client.ts";
import { ControlSession, type ControlSql } from "./control-session.ts";
import { bindNamed } from "./named-parameters.ts";
import { WRITE_LOCKS } from "./quiesce.ts";
import { tableSpec } from "./table-spec.ts";

const STATES: readonly string[] = ["open", "fenced", "pinned", "retired", "routed"];
const BLANK: GenerationRecord = { generation: 0, state: "open", home: null, routedGeneration: 0 };

/** C4 in MySQL: the row of `dray.generation` is locked first, so that calls of one tenant come one after the other. */
export class MysqlGenerationBook implements GenerationBook {
  readonly #session: ControlSession;
  readonly #table: string;
  readonly #cluster: string;

  constructor(options: { readonly address: MysqlAddress; readonly draySchema: string; readonly cluster: string }) {
    this.#session = new ControlSession({ address: options.address, role: "sql-adapter" });
    this.#table = quoteTable(options.draySchema, "generation");
    this.#cluster = options.cluster;
  }

  async change(
    key: GenerationKey,
    values: StatementValues,
    decide: (record: GenerationRecord) => GenerationDecision,
    signal: AbortSignal,
  ): Promise<GenerationChange> {
    return this.#session.use(
      (sql) =>
        transaction(sql, async (): Promise<Ending<GenerationChange>> => {
          const record = await this.#locked(sql, key);
          const decision = decide(record);
          if ("refused" in decision) {
            return { end: "ROLLBACK", result: { kind: "refused", record, reason: decision.refused } };
          }
          for (const statement of decision.statements ?? []) await runStatement(sql, statement, values);
          const { next } = decision;
          await sql.change(
            `UPDATE ${this.#table} SET generation = ?, state = ?, home = ?, routed_generation = ?
              WHERE adapter = ? AND move = ? AND tenant = ?`,
            [next.generation, next.state, next.home, next.routedGeneration, ...keyParameters(key)],
          );
          return { end: "COMMIT", result: { kind: "done", record: next } };
        }),
      signal,
    );
  }

  async read(key: GenerationKey, signal: AbortSignal): Promise<GenerationRecord> {
    const [row] = await this.#session.rows(
      `SELECT generation, state, home, routed_generation FROM ${this.#table}
        WHERE adapter = ? AND move = ? AND tenant = ? FOR SHARE`,
      keyParameters(key),
      signal,
    );
    return row ? recordOf(row) : BLANK;
  }

  async dryRun(
    adapter: string,
    statements: readonly string[],
    values: StatementValues,
    covered: readonly CoveredTable[],
    signal: AbortSignal,
  ): Promise<readonly Finding[]> {
    const findings: Finding[] = [];
    for (const statement of statements) {
      const subject = `adapter ${adapter} on ${this.#cluster}: ${statement}`;
      try {
        const touched = await this.#session.use((sql) => tablesWritten(sql, statement, values), signal);
        findings.push(...touchesData(touched, covered, subject));
      } catch (error) {
        if (signal.aborted) throw error;
        findings.push(failed(error, subject));
      }
    }
    return findings;
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  async #locked(sql: ControlSql, key: GenerationKey): Promise<GenerationRecord> {
    await sql.change(
      `INSERT INTO ${this.#table} (adapter, move, tenant, generation, state, home, routed_generation)
         VALUES (?, ?, ?, 0, 'open', NULL, 0) ON DUPLICATE KEY UPDATE adapter = VALUES(adapter)`,
      keyParameters(key),
    );
    const [row] = await sql.rows(
      `SELECT generation, state, home, routed_generation FROM ${this.#table}
        WHERE adapter = ? AND move = ? AND tenant = ? FOR UPDATE`,
      keyParameters(key),
    );
    return row ? recordOf(row) : BLANK;
  }
}

type Ending<T> = { readonly end: "COMMIT" | "ROLLBACK"; readonly result: T };

async function transaction<T>(sql: ControlSql, work: () => Promise<Ending<T>>): Promise<T> {
  await sql.change("START TRANSACTION");
  try {
    const { end, result } = await work();
    await sql.change(end);
    return result;
  } catch (error) {
    // On a lost session the server rolls back by itself.
    await sql.change("ROLLBACK").catch(() => {});
    throw error;
  }
}

async function runStatement(sql: ControlSql, statement: string, values: StatementValues): Promise<void> {
  const bound = bindNamed(statement, values);
  await sql.change(bound.sql, bound.parameters);
}

/** Of this very session's transaction: what a trigger or a cascade writes is locked as well. */
async function tablesWritten(sql: ControlSql, statement: string, values: StatementValues): Promise<readonly string[]> {
  return transaction(sql, async () => {
    await runStatement(sql, statement, values);
    const rows = await sql.rows(
      `SELECT DISTINCT OBJECT_SCHEMA schema_, OBJECT_NAME table_ FROM performance_schema.metadata_locks
        WHERE OWNER_THREAD_ID = PS_CURRENT_THREAD_ID() AND OBJECT_TYPE = 'TABLE' AND LOCK_STATUS = 'GRANTED'
          AND LOCK_TYPE IN (${WRITE_LOCKS.map(() => "?").join(", ")})`,
      WRITE_LOCKS,
    );
    return { end: "ROLLBACK", result: rows.map((row) => `${row["schema_"]}.${row["table_"]}`) };
  });
}

/** A covered table on either side: the adapter's cluster may be the source or the target of a move. */
function touchesData(
  touched: readonly string[],
  covered: readonly CoveredTable[],
  subject: string,
): readonly Finding[] {
  const moving = new Set(
    covered.map(tableSpec).flatMap((spec) => [`${spec.schema}.${spec.name}`, `${spec.targetSchema}.${spec.name}`]),
  );
  return touched
    .filter((table) => moving.has(table))
    .map((table) => ({
      id: "mysql.fence-touches-data",
      severity: "error",
      subject,
      finding: `FENCE_TOUCHES_DATA: the statement writes ${table}, which moves; its own write would be fenced, or be moved along.`,
      remedy: new DrayError("FENCE_TOUCHES_DATA").problem.remedy,
      rule: "C4",
    }));
}

function failed(error: unknown, subject: string): Finding {
  return {
    id: "mysql.sql-adapter-statement",
    severity: "error",
    subject,
    finding: `The statement cannot be run: ${error instanceof Error ? error.message : String(error)}`,
    remedy: isDrayError(error) ? error.problem.remedy : "Mend the statement in the server's configuration.",
    rule: "C4",
  };
}

function keyParameters(key: GenerationKey): readonly (string | Uint8Array)[] {
  return [key.adapter, key.move, Buffer.from(key.tenant, "utf8")];
}

function recordOf(row: TextRow): GenerationRecord {
  const state = row["state"] ?? "";
  if (!isState(state)) throw new DrayError("OUTCOME_UNREADABLE", { state });
  return {
    generation: Number(row["generation"]),
    state,
    home: row["home"] ?? null,
    routedGeneration: Number(row["routed_generation"]),
  };
}

function isState(text: string): text is GenerationRecord["state"] {
  return STATES.includes(text);
}
