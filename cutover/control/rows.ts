import type { Selectable } from "kysely";
import type { LogCheckpoint } from "../../pipeline/log/log.ts";
import type { Manifest } from "../../pipeline/manifest.ts";
import type { Alarm, JournalEntry, Json, JsonObject, LaneRecord, Lease, MoveRecord } from "../control-store.ts";
import type { ControlTables } from "./schema.ts";

type Row<Table extends keyof ControlTables> = Selectable<ControlTables[Table]>;

export function moveOf(row: Row<"move">): MoveRecord {
  return {
    name: row.name,
    manifest: JSON.parse(row.manifest) as Manifest,
    tenant: row.tenant,
    from: row.from_cluster,
    to: row.to_cluster,
    phase: row.phase,
    generation: row.generation,
    journalSeq: row.journal_seq,
    details: JSON.parse(row.details) as JsonObject,
    createdAtMs: row.created_at_ms,
  };
}

export function journalEntryOf(row: Row<"journal">): JournalEntry {
  return {
    move: row.move,
    seq: row.seq,
    atMs: row.at_ms,
    from: row.from_phase,
    event: row.event,
    to: row.to_phase,
    facts: JSON.parse(row.facts) as JsonObject,
    by: row.by_whom,
  };
}

export function laneOf(row: Row<"lane">): LaneRecord {
  return {
    lane: row.lane,
    move: row.move,
    epoch: row.epoch,
    checkpoint: row.checkpoint === null ? null : (JSON.parse(row.checkpoint) as LogCheckpoint),
    spec: JSON.parse(row.spec) as Json,
  };
}

export function leaseOf(row: Row<"lease">): Lease {
  return { name: row.name, holder: row.holder, epoch: row.epoch, expiresAtMs: row.expires_at_ms };
}

export function alarmOf(row: Row<"alarm">): Alarm {
  return {
    id: row.id,
    move: row.move,
    code: row.code,
    message: row.message,
    facts: JSON.parse(row.facts) as JsonObject,
    raisedAtMs: row.raised_at_ms,
    times: row.times,
  };
}
