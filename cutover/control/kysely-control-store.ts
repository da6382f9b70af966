import { Kysely, sql } from "kysely";
import type { Clock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { LogCheckpoint } from "../../pipeline/log/log.ts";
import type {
  Alarm,
  AlarmDraft,
  ControlStore,
  ExpectedSeq,
  JournalDraft,
  JournalEntry,
  JsonObject,
  LaneDraft,
  LaneRecord,
  Lease,
  LeaseAttempt,
  MoveRecord,
  NewMove,
} from "../control-store.ts";
import { migrate } from "./migrations.ts";
import { alarmOf, journalEntryOf, laneOf, leaseOf, moveOf } from "./rows.ts";
import type { ControlTables } from "./schema.ts";
import { nodeSqliteDialect } from "./sqlite-dialect.ts";

type Options = { readonly file: string; readonly clock: Clock };

/** K2 on kysely: every write is one transaction with its condition inside, so that nothing rests on what was read before. */
export class KyselyControlStore implements ControlStore {
  readonly #database: Kysely<ControlTables>;
  readonly #clock: Clock;

  private constructor(database: Kysely<ControlTables>, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  static async open(options: Options): Promise<ControlStore> {
    const database = new Kysely<ControlTables>({ dialect: nodeSqliteDialect(options.file) });
    try {
      await migrate(database);
    } catch (error) {
      await database.destroy();
      throw error;
    }
    return new KyselyControlStore(database, options.clock);
  }

  async createMove(move: NewMove): Promise<MoveRecord> {
    const atMs = this.#clock.wallMs();
    return this.#database.transaction().execute(async (tx) => {
      const taken = await tx.selectFrom("move").select("name").where("name", "=", move.name).executeTakeFirst();
      if (taken !== undefined) throw new DrayError("MOVE_EXISTS", { move: move.name });
      const row = await tx
        .insertInto("move")
        .values({
          name: move.name,
          manifest: JSON.stringify(move.manifest),
          tenant: move.tenant,
          from_cluster: move.from,
          to_cluster: move.to,
          phase: move.phase,
          generation: 0,
          journal_seq: 1,
          details: JSON.stringify(move.details),
          created_at_ms: atMs,
        })
        .returningAll()
        .executeTakeFirstOrThrow();
      const first = { from: "", event: "create", to: move.phase, facts: {}, by: move.by };
      await tx
        .insertInto("journal")
        .values(journalRow(move.name, 1, atMs, first))
        .execute();
      return moveOf(row);
    });
  }

  async startAgain(move: NewMove, expected: ExpectedSeq, entry: JournalDraft): Promise<MoveRecord> {
    const atMs = this.#clock.wallMs();
    const { name, tenant, from, to } = move;
    const row = await this.#database.transaction().execute(async (tx) => {
      const changed = await tx
        .updateTable("move")
        .set({
          manifest: JSON.stringify(move.manifest),
          tenant,
          from_cluster: from,
          to_cluster: to,
          phase: move.phase,
          journal_seq: expected + 1,
          details: JSON.stringify(move.details),
        })
        .where("name", "=", name)
        .where("journal_seq", "=", expected)
        .where("phase", "=", entry.from)
        .returningAll()
        .executeTakeFirst();
      if (changed !== undefined)
        await tx
          .insertInto("journal")
          .values(journalRow(name, expected + 1, atMs, entry))
          .execute();
      return changed;
    });
    if (row === undefined) throw conflict(await this.getMove(name), expected);
    return moveOf(row);
  }

  async getMove(name: string): Promise<MoveRecord> {
    const row = await this.#database.selectFrom("move").selectAll().where("name", "=", name).executeTakeFirst();
    if (row === undefined) throw new DrayError("MOVE_UNKNOWN", { move: name });
    return moveOf(row);
  }

  async listMoves(): Promise<readonly MoveRecord[]> {
    return (await this.#database.selectFrom("move").selectAll().orderBy("id").execute()).map(moveOf);
  }

  async updateMove(name: string, expected: ExpectedSeq, details: JsonObject): Promise<MoveRecord> {
    const row = await this.#database
      .updateTable("move")
      .set({ details: JSON.stringify(details) })
      .where("name", "=", name)
      .where("journal_seq", "=", expected)
      .returningAll()
      .executeTakeFirst();
    if (row !== undefined) return moveOf(row);
    throw conflict(await this.getMove(name), expected);
  }

  async appendJournal(
    name: string,
    expected: ExpectedSeq,
    entry: JournalDraft,
    details?: JsonObject,
  ): Promise<JournalEntry> {
    const atMs = this.#clock.wallMs();
    const seq = expected + 1;
    const won = await this.#database.transaction().execute(async (tx) => {
      const moved = await tx
        .updateTable("move")
        .set({
          journal_seq: seq,
          phase: entry.to,
          ...(details === undefined ? {} : { details: JSON.stringify(details) }),
        })
        .where("name", "=", name)
        .where("journal_seq", "=", expected)
        .where("phase", "=", entry.from)
        .executeTakeFirst();
      if (moved.numUpdatedRows !== 1n) return false;
      await tx
        .insertInto("journal")
        .values(journalRow(name, seq, atMs, entry))
        .execute();
      return true;
    });
    if (!won) throw conflict(await this.getMove(name), expected);
    return { ...entry, move: name, seq, atMs };
  }

  async journal(name: string, afterSeq: number): Promise<readonly JournalEntry[]> {
    await this.getMove(name);
    const rows = await this.#database
      .selectFrom("journal")
      .selectAll()
      .where("move", "=", name)
      .where("seq", ">", afterSeq)
      .orderBy("seq")
      .execute();
    return rows.map(journalEntryOf);
  }

  async raiseGeneration(name: string, atLeast: number): Promise<number> {
    const row = await this.#database
      .updateTable("move")
      .set({ generation: sql<number>`max(generation, ${atLeast}) + 1` })
      .where("name", "=", name)
      .returning("generation")
      .executeTakeFirst();
    if (row === undefined) throw new DrayError("MOVE_UNKNOWN", { move: name });
    return row.generation;
  }

  async createLanes(move: string, lanes: readonly LaneDraft[], insteadOf: readonly string[] = []): Promise<void> {
    await this.#database.transaction().execute(async (tx) => {
      if (insteadOf.length > 0) await tx.deleteFrom("lane").where("lane", "in", insteadOf).execute();
      for (const { lane, spec } of lanes) {
        await tx
          .insertInto("lane")
          .values({ lane, move, epoch: 0, checkpoint: null, spec: JSON.stringify(spec) })
          .onConflict((clash) => clash.column("lane").doUpdateSet({ spec: JSON.stringify(spec) }))
          .execute();
      }
    });
  }

  async getLane(lane: string): Promise<LaneRecord | null> {
    const row = await this.#database.selectFrom("lane").selectAll().where("lane", "=", lane).executeTakeFirst();
    return row === undefined ? null : laneOf(row);
  }

  async lanes(move: string): Promise<readonly LaneRecord[]> {
    const rows = await this.#database.selectFrom("lane").selectAll().where("move", "=", move).orderBy("lane").execute();
    return rows.map(laneOf);
  }

  async raiseLaneEpoch(lane: string, atLeast: number): Promise<number> {
    const row = await this.#database
      .updateTable("lane")
      .set({ epoch: sql<number>`max(epoch, ${atLeast}) + 1` })
      .where("lane", "=", lane)
      .returning("epoch")
      .executeTakeFirst();
    if (row === undefined) throw new DrayError("LANE_UNKNOWN", { lane });
    return row.epoch;
  }

  async saveCheckpoint(lane: string, epoch: number, checkpoint: LogCheckpoint): Promise<void> {
    const result = await this.#database
      .updateTable("lane")
      .set({ checkpoint: JSON.stringify(checkpoint) })
      .where("lane", "=", lane)
      .where("epoch", "=", epoch)
      .executeTakeFirst();
    if (result.numUpdatedRows === 1n) return;
    const current = await this.getLane(lane);
    if (current === null) throw new DrayError("LANE_UNKNOWN", { lane });
    throw new DrayError("FENCED", { lane, epoch, newerEpoch: current.epoch });
  }

  async dropLane(lane: string): Promise<void> {
    await this.#database.deleteFrom("lane").where("lane", "=", lane).execute();
  }

  async acquireLease(name: string, holder: string, ttlMs: number): Promise<LeaseAttempt> {
    const nowMs = this.#clock.wallMs();
    return this.#database.transaction().execute(async (tx): Promise<LeaseAttempt> => {
      const row = await tx.selectFrom("lease").selectAll().where("name", "=", name).executeTakeFirst();
      if (row !== undefined && row.holder !== holder && row.expires_at_ms > nowMs)
        return { held: false, by: leaseOf(row) };
      const lease = { name, holder, epoch: (row?.epoch ?? 0) + 1, expires_at_ms: nowMs + ttlMs };
      const { name: _, ...changed } = lease;
      await tx
        .insertInto("lease")
        .values(lease)
        .onConflict((clash) => clash.column("name").doUpdateSet(changed))
        .execute();
      return { held: true, lease: leaseOf(lease) };
    });
  }

  async renewLease(lease: Lease, ttlMs: number): Promise<Lease> {
    const nowMs = this.#clock.wallMs();
    const row = await this.#database
      .updateTable("lease")
      .set({ expires_at_ms: nowMs + ttlMs })
      .where("name", "=", lease.name)
      .where("epoch", "=", lease.epoch)
      .where("holder", "=", lease.holder)
      .where("expires_at_ms", ">", nowMs)
      .returningAll()
      .executeTakeFirst();
    if (row === undefined) throw new DrayError("LEASE_LOST", { lease: lease.name, holder: lease.holder });
    return leaseOf(row);
  }

  async releaseLease(lease: Lease): Promise<void> {
    // The row stays: its epoch must go on rising.
    await this.#database
      .updateTable("lease")
      .set({ expires_at_ms: 0 })
      .where("name", "=", lease.name)
      .where("epoch", "=", lease.epoch)
      .where("holder", "=", lease.holder)
      .execute();
  }

  async raiseAlarm(alarm: AlarmDraft): Promise<Alarm> {
    const atMs = this.#clock.wallMs();
    const facts = JSON.stringify(alarm.facts);
    return this.#database.transaction().execute(async (tx) => {
      const again = await tx
        .updateTable("alarm")
        .set({ message: alarm.message, facts, times: sql<number>`times + 1` })
        .where("move", "=", alarm.move)
        .where("code", "=", alarm.code)
        .where("cleared_at_ms", "is", null)
        .returningAll()
        .executeTakeFirst();
      if (again !== undefined) return alarmOf(again);
      const { move, code, message } = alarm;
      const row = { move, code, message, facts, raised_at_ms: atMs, times: 1, cleared_at_ms: null, cleared_by: null };
      return alarmOf(await tx.insertInto("alarm").values(row).returningAll().executeTakeFirstOrThrow());
    });
  }

  async alarms(move: string | null): Promise<readonly Alarm[]> {
    let query = this.#database.selectFrom("alarm").selectAll().where("cleared_at_ms", "is", null).orderBy("id");
    if (move !== null) query = query.where("move", "=", move);
    return (await query.execute()).map(alarmOf);
  }

  async clearAlarm(move: string, code: string, by: string): Promise<boolean> {
    const result = await this.#database
      .updateTable("alarm")
      .set({ cleared_at_ms: this.#clock.wallMs(), cleared_by: by })
      .where("move", "=", move)
      .where("code", "=", code)
      .where("cleared_at_ms", "is", null)
      .executeTakeFirst();
    return result.numUpdatedRows > 0n;
  }

  close(): Promise<void> {
    return this.#database.destroy();
  }
}

function journalRow(move: string, seq: number, atMs: number, entry: JournalDraft): ControlTables["journal"] {
  return {
    move,
    seq,
    at_ms: atMs,
    from_phase: entry.from,
    event: entry.event,
    to_phase: entry.to,
    facts: JSON.stringify(entry.facts),
    by_whom: entry.by,
  };
}

function conflict(current: MoveRecord, expected: ExpectedSeq): DrayError {
  const { name, journalSeq, phase } = current;
  return new DrayError("JOURNAL_CONFLICT", { move: name, expectedSeq: expected, seq: journalSeq, phase });
}
