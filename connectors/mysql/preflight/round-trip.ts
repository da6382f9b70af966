import { isDrayError } from "../../../pipeline/errors.ts";
import { type Check, type Finding, preflightRemedy } from "../../../pipeline/preflight.ts";
import { Chunks } from "../chunks.ts";
import { connectMysql, type MysqlSession } from "../client.ts";
import { columnProblems } from "../column-types.ts";
import { grantSql, twinGrant } from "../grants.ts";
import { ensureDraySchema } from "../installation.ts";
import type { CanonicalRow } from "../row-codec.ts";
import { SessionPool } from "../session-pool.ts";
import type { TableSpec } from "../table-spec.ts";
import { accountOf, grantLines } from "./accounts.ts";
import { listed, liveTable, type MysqlPreflightContext } from "./context.ts";
import { definitionDifferences } from "./definitions.ts";
import { holds, parseGrants } from "./privileges.ts";
import { SIDES, type Side } from "./server-view.ts";
import { bySnapshot, byStream, differingColumns, digests, TwinStream } from "./twin-roads.ts";
import { candidateCounts, copySample, createTwin, dropTwins, sweepTwins, type Twin, twinsOf } from "./twin-tables.ts";

type C = MysqlPreflightContext;
const ID = "mysql.round-trip";
const TIMEOUT_MS = 30_000;
/** For taking the twins away, whatever ended the check. */
const DROP_TIMEOUT_MS = 10_000;

/**
 * W6: some of the tenant's rows go both ways that a move's rows go, by SELECT and LOAD DATA and by the binary log and
 * the guarded statement, from a twin of each covered table to another, and are compared with what was sent.
 */
const roundTrip: Check<C> = {
  id: ID,
  rule: "W6",
  when: ["preflight"],
  run: async (context, signal) => {
    const specs = context.specs.filter((spec) => canTravel(context, spec));
    const lacking = (await Promise.all(SIDES.map((side) => missingGrants(context, side)))).flat();
    if (lacking.length > 0 || specs.length === 0 || context.installationId === null) return lacking;
    const trip = new RoundTrip(context, twinsOf(specs, context.draySchema));
    return await trip.run(AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]));
  },
};

export const roundTripChecks: readonly Check<C>[] = [roundTrip];

class RoundTrip {
  readonly #context: C;
  readonly #twins: readonly Twin[];
  readonly #sessions: Partial<Record<Side, MysqlSession>> = {};
  readonly #findings: Finding[] = [];
  readonly #pool: SessionPool;
  readonly #chunks: Chunks;

  constructor(context: C, twins: readonly Twin[]) {
    this.#context = context;
    this.#twins = twins;
    const attributes = { dray_role: "preflight" };
    this.#pool = new SessionPool({
      address: context.addresses.source,
      size: 1,
      attributes,
      readServerUuid: () => null,
    });
    this.#chunks = new Chunks({ pool: this.#pool });
  }

  async run(signal: AbortSignal): Promise<readonly Finding[]> {
    const began = performance.now();
    try {
      if (!(await this.#open(signal))) return [];
      try {
        await Promise.all(SIDES.map((side) => this.#create(side, signal)));
        const rows = await this.#travel(signal);
        if (this.#findings.length === 0) this.#findings.push(this.#allArrived(rows, performance.now() - began));
      } finally {
        await Promise.all(SIDES.map((side) => this.#drop(side)));
      }
      return this.#findings;
    } finally {
      await this.#pool.close();
      for (const session of Object.values(this.#sessions)) await session.close();
    }
  }

  /** False where another check tells why there is no place for twins. */
  async #open(signal: AbortSignal): Promise<boolean> {
    const { draySchema, installationId } = this.#context;
    const [source, target] = await Promise.all(SIDES.map((side) => this.#session(side, signal)));
    if (source?.serverUuid === target?.serverUuid) return false;
    for (const side of SIDES) {
      const session = await this.#session(side, signal);
      try {
        await ensureDraySchema(session, { schema: draySchema[side], installationId: installationId ?? "" }, signal);
      } catch (error) {
        if (isDrayError(error, "DRAY_SCHEMA_TAKEN")) return false;
        throw error;
      }
      await sweepTwins(session, draySchema[side], signal);
    }
    return true;
  }

  async #create(side: Side, signal: AbortSignal): Promise<void> {
    for (const twin of this.#twins) await createTwin(await this.#session(side, signal), side, twin, signal);
  }

  async #drop(side: Side): Promise<void> {
    const signal = AbortSignal.timeout(DROP_TIMEOUT_MS);
    await dropTwins(await this.#session(side, signal), side, this.#twins, signal);
  }

  async #travel(signal: AbortSignal): Promise<number> {
    const { addresses } = this.#context;
    const session = await this.#session("source", signal);
    const stream = await TwinStream.open({ address: addresses.source, session, twins: this.#twins }, signal);
    try {
      const counts = await this.#copySamples(session, signal);
      const streamed = await stream.rows(counts, signal);
      for (const twin of this.#twins) {
        const rows = streamed.get(twin.id);
        if (rows !== undefined) await this.#compare(twin, rows, signal);
      }
      return [...counts.values()].reduce((sum, count) => sum + count, 0);
    } finally {
      await stream.close();
    }
  }

  /** One commit, as each costs the source a sync of its log. */
  async #copySamples(session: MysqlSession, signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
    const counts = new Map<string, number>();
    const candidates = await candidateCounts(session, this.#twins, signal);
    await session.run("START TRANSACTION", signal);
    for (const twin of this.#twins) {
      const rows = candidates.get(twin.id) ?? 1;
      const copy = () => copySample(session, { twin, tenant: this.#context.tenant, rows }, signal);
      const copied = await this.#told(twin, "copy into its twin", copy);
      if (copied) counts.set(twin.id, copied);
    }
    await session.run("COMMIT", signal);
    return counts;
  }

  async #compare(twin: Twin, streamed: readonly CanonicalRow[] | Error, signal: AbortSignal): Promise<void> {
    const { tenant, guardedUpsert } = this.#context;
    const sent = await digests(await this.#session("source", signal), "source", twin.spec, signal);
    const road = async (name: string, send: (target: MysqlSession) => Promise<void>) => {
      await this.#told(twin, name, async () => {
        const target = await this.#session("target", signal);
        await target.run("START TRANSACTION", signal);
        try {
          await send(target);
          const different = differingColumns(twin.spec, sent, await digests(target, "target", twin.spec, signal));
          if (different === null || different.length > 0) this.#findings.push(this.#differs(twin, name, different));
        } finally {
          if (!target.isLost) await target.run("ROLLBACK", signal);
        }
      });
    };
    await road("SELECT and LOAD DATA", (target) => bySnapshot({ chunks: this.#chunks, target, tenant }, twin, signal));
    await road("binary log and guarded statement", async (target) => {
      if (streamed instanceof Error) throw streamed;
      await byStream({ target, tenant, upsert: guardedUpsert }, twin, streamed, signal);
    });
  }

  /** What one table's rows are refused for is a finding, and the others still travel. Lost connections are not. */
  async #told<T>(twin: Twin, road: string, work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      if (!isDrayError(error) || error.problem.retry === "backoff") throw error;
      this.#findings.push({
        id: ID,
        severity: "error",
        subject: twin.id,
        finding: `Rows of the tenant do not come through by ${road}: ${error.message}`,
        remedy: preflightRemedy(error),
        rule: "W6",
      });
      return null;
    }
  }

  #differs(twin: Twin, road: string, columns: readonly string[] | null): Finding {
    return {
      id: ID,
      severity: "error",
      subject: twin.id,
      finding:
        columns === null
          ? `Not as many rows arrive by ${road} as were sent.`
          : `By ${road} these columns arrive other than they were sent: ${listed(columns, this.#context.limits.listedKeys)}.`,
      remedy:
        "Make both definitions equal (SHOW CREATE TABLE on both sides); where they are, report this as a fault of Drayage.",
      rule: "W6",
    };
  }

  #allArrived(rows: number, tookMs: number): Finding {
    return {
      id: ID,
      severity: "info",
      subject: `${this.#twins.length} table(s)`,
      finding: `${rows} row(s) of the tenant came through both roads as they were sent, in ${Math.round(tookMs)} ms.`,
      remedy: "None needed.",
      rule: "W6",
    };
  }

  /** A LOAD DATA that failed has taken its connection with it. */
  async #session(side: Side, signal: AbortSignal): Promise<MysqlSession> {
    const known = this.#sessions[side];
    if (known && !known.isLost) return known;
    const session = await connectMysql(this.#context.addresses[side], {
      side: side === "source" ? "source" : "sink",
      attributes: { dray_role: "preflight" },
      signal,
    });
    this.#sessions[side] = session;
    return session;
  }
}

/** A table whose definition is refused already has its finding. */
function canTravel(context: C, spec: TableSpec): boolean {
  const [source, target] = SIDES.map((side) => liveTable(context, side, spec.schema, spec.name));
  if (!source || !target || columnProblems(spec).length > 0) return false;
  return definitionDifferences(source, target).every(({ severity }) => severity !== "error");
}

async function missingGrants(context: C, side: Side): Promise<readonly Finding[]> {
  const server = context[side];
  const account = await accountOf(server);
  const held = parseGrants(await grantLines(server));
  const grant = twinGrant(context.draySchema[side]);
  const missing = grant.privileges.filter((privilege) => !holds(held, privilege, grant.on));
  if (missing.length === 0) return [];
  return [
    {
      id: ID,
      severity: "error",
      subject: `${server.label} ${account}`,
      finding: `The account lacks ${missing.join(", ")} on ${grant.on}: no twin table can be made there and taken away again, so no row was sent.`,
      remedy: "Grant it by the SQL shown.",
      fixSql: [grantSql({ ...grant, privileges: missing }, account)],
      fixOn: server.label,
      rule: "W6",
    },
  ];
}
