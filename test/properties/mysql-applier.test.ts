import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { connectMysql, type MysqlSession } from "../../connectors/mysql/client.ts";
import { encodeChanges, encodeChunk } from "../../pipeline/change-codec.ts";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { Change, EntryDraft, Position } from "../../pipeline/entry.ts";
import { SqliteLog } from "../../pipeline/log/sqlite-log.ts";
import { noProbe } from "../../pipeline/probe.ts";
import { Applier } from "../../sinks/applier.ts";
import { MysqlTarget, type Row } from "../contracts/mysql-target.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";

const RUNS = Number(process.env["RUNS"] ?? 2);
const SEED = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
const ENTRIES = 300;
const IDS = 60;

/** A source's tables in memory: what the target must hold once the log is applied. */
class Source {
  readonly plain = new Map<number, string>();
  readonly uniq = new Map<number, string>();
  readonly #random: () => number;
  constructor(random: () => number) {
    this.#random = random;
  }
  pick(count: number): number {
    return Math.floor(this.#random() * count);
  }

  /** One to five row changes, as a source's transaction would have them. */
  transaction(target: MysqlTarget): Change[] {
    const changes: Change[] = [];
    for (let i = this.pick(5); i >= 0; i--)
      changes.push(...(this.pick(3) === 0 ? this.#uniq(target) : this.#plain(target)));
    return changes;
  }

  /** Rows change in the range without a word in the stream, as where they lay outside of what was announced (W3). */
  silently(table: "plain" | "uniq", from: number, to: number): void {
    for (let id = from; id <= to; id++) {
      if (this.pick(3) === 0) this[table].delete(id);
      else if (this.pick(2) === 0)
        this[table].set(id, table === "plain" ? `silent ${this.pick(1e6)}` : `s${id}.${this.pick(1e6)}`);
    }
  }

  #plain(target: MysqlTarget): Change[] {
    const id = 1 + this.pick(IDS);
    if (this.pick(4) === 0) {
      this.plain.delete(id);
      return [target.change("plain", "delete", row(id, null))];
    }
    const op = this.plain.has(id) ? "update" : "insert";
    this.plain.set(id, `v${this.pick(1e6)}`);
    return [target.change("plain", op, row(id, this.plain.get(id) ?? null))];
  }

  #uniq(target: MysqlTarget): Change[] {
    const [a, b] = [1 + this.pick(IDS), 1 + this.pick(IDS)];
    const [ofA, ofB] = [this.uniq.get(a), this.uniq.get(b)];
    const set = (id: number, value: string) => {
      const op = this.uniq.has(id) ? "update" : "insert";
      this.uniq.set(id, value);
      return target.change("uniq", op, row(id, value));
    };
    if (ofA !== undefined && ofB !== undefined && a !== b) {
      if (this.pick(2) === 0) return [set(a, `tmp${this.pick(1e6)}`), set(b, ofA), set(a, ofB)];
      this.uniq.delete(a);
      return [target.change("uniq", "delete", row(a, ofA)), set(b, ofA)];
    }
    return ofA === undefined ? [set(a, `u${a}.${this.pick(1e6)}`)] : [];
  }
}

describeWithMysql("Applier on a MySQL target", (mysql) => {
  let target: MysqlTarget;
  let killer: MysqlSession;
  let folder: string;
  let chunkStore: DirectoryChunkStore;
  let log: SqliteLog;
  beforeEach(async () => {
    target = await MysqlTarget.open(mysql.b);
    killer = await connectMysql(mysql.b, { side: "source" });
    folder = mkdtempSync(join(tmpdir(), "dray-mysql-applier-"));
    chunkStore = new DirectoryChunkStore({ folder: join(folder, "chunks"), clock: systemClock });
    log = new SqliteLog({ folder, chunkStore, clock: systemClock });
    await target.create("plain", "id INT PRIMARY KEY, tenant INT NOT NULL, v VARCHAR(40), KEY p (tenant, id)");
    await target.create(
      "uniq",
      "id INT PRIMARY KEY, tenant INT NOT NULL, v VARCHAR(40), UNIQUE KEY v (tenant, v), KEY p (tenant, id)",
    );
    await target.sql.run(`INSERT INTO ${target.table("uniq")} VALUES (${IDS + 1}, 8, 'u1.1'), (-1, 8, 'theirs')`);
  });
  afterEach(async () => {
    await log?.close();
    await killer?.close();
    await target?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  for (let run = 0; run < RUNS; run++) {
    const seed = SEED + run;
    test(`A2, A3, A4, W4: stream and chunks through restarts and kills end as the source is (SEED=${seed})`, async () => {
      const random = generator(seed);
      const source = new Source(random);
      const lane = target.lane("7");
      const writer = await log.openWriter({
        lane: lane.lane,
        aboveEpoch: 0,
        checkpoint: null,
        anchor: null,
        signal: hangGuard(),
      });
      let seq = 0;
      const append = async (draft: EntryDraft) => {
        await writer.append(draft);
        seq++;
      };
      const writing = (async () => {
        for (let i = 0; i < ENTRIES; i++) {
          // Slow enough that restarts and kills fall among the entries.
          if (i % 3 === 0) await systemClock.sleep(source.pick(15));
          if (source.pick(12) === 0) await append(chunkOf(target, source));
          else
            await append(
              draftOf(
                { kind: "changes", tables: {}, endsTransaction: true },
                encodeChanges(source.transaction(target)),
              ),
            );
        }
      })();
      let finished = false;
      let restarts = 0;
      let amidst = 0;
      while (!finished) {
        const sink = await target.open(lane, () => systemClock.sleep(source.pick(8)));
        const applier = new Applier({ lane: lane.lane, log, sink, chunkStore, clock: systemClock, probe: noProbe });
        const stop = new AbortController();
        const running = applier.run(stop.signal);
        const pauseMs = 20 + source.pick(120);
        if (restarts++ < 6) {
          await systemClock.sleep(pauseMs);
          if (applier.state().inFlight > 0) amidst++;
          if (restarts % 2) await killSome(lane.lane);
          await systemClock.sleep(pauseMs);
        } else {
          await writing;
          await applier.whenWatermark(seq, hangGuard());
          finished = true;
        }
        stop.abort();
        await running;
        await sink.close();
      }
      expect(await target.rows("plain")).toEqual(textOf(source.plain));
      const ours = (await target.rows("uniq")).filter((text) => text.split(" ")[1] === "7");
      expect(ours).toEqual(textOf(source.uniq));
      expect((await target.rows("uniq")).length - ours.length).toBe(2);
      expect(await target.applied(lane.lane)).toEqual([]);
      expect(amidst).toBeGreaterThan(0);
    });
  }

  async function killSome(lane: string): Promise<void> {
    const sessions = await killer.executeQuery(
      `SELECT PROCESSLIST_ID AS id FROM performance_schema.session_connect_attrs
       WHERE ATTR_NAME = 'dray_lane' AND ATTR_VALUE = ?`,
      [lane],
    );
    for (const { id } of sessions.slice(0, 3)) await killer.run(`KILL CONNECTION ${id}`).catch(() => {});
  }
});

function chunkOf(target: MysqlTarget, source: Source): EntryDraft {
  const table = source.pick(3) === 0 ? "uniq" : "plain";
  const from = 1 + source.pick(IDS);
  const to = Math.min(IDS, from + source.pick(20));
  source.silently(table, from, to);
  const ids = Array.from({ length: to - from + 1 }, (_, i) => from + i).filter((id) => source[table].has(id));
  const rows = ids.map((id) => row(id, source[table].get(id) ?? null));
  const pass = source.pick(2);
  const chunk = target.chunk({ table, rows, pass, after: row(from - 1, null), upTo: row(to, null) });
  const body = encodeChunk({ leftOut: [], rows: chunk.body });
  return draftOf({ kind: "chunk", range: chunk.range, rows: rows.length, leftOut: 0 }, body);
}

function row(id: number, value: string | null): Row {
  return [String(id), "7", value];
}

function draftOf(detail: EntryDraft["detail"], body: Uint8Array): EntryDraft {
  return { position: "p" as Position, committedAtMs: 0, coverage: { tables: [] }, detail, body };
}

function textOf(rows: ReadonlyMap<number, string>): string[] {
  return [...rows].sort(([a], [b]) => a - b).map(([id, value]) => `${id} 7 ${value}`);
}

function hangGuard(): AbortSignal {
  return AbortSignal.timeout(90_000);
}

/** mulberry32: the same run again from the same seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
