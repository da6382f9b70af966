import { describe, expect, test } from "vitest";
import { type BinlogEvent, EVENT, IGNORABLE_FLAG } from "../../connectors/mysql/binlog-events.ts";
import { GtidSet } from "../../connectors/mysql/gtid-set.ts";
import { LaneCursor } from "../../connectors/mysql/lane-cursor.ts";
import { FeedBuffer } from "../../connectors/mysql/lane-feed.ts";
import { TransactionReader } from "../../connectors/mysql/transaction-reader.ts";
import type { LaneId, Position } from "../../pipeline/entry.ts";

const NOT_A_TYPE = 200;

/** M8: whoever reads on behind an event that it does not know may have lost rows. */
describe("M8: events that nobody knows", () => {
  function lane(): LaneCursor {
    const feed = new FeedBuffer({
      position: "" as Position,
      onFull: () => {},
      onDrained: () => {},
      onClose: async () => {},
    });
    const source = { lane: "m.db.f1" as LaneId, move: "m", tenant: "acme", tables: [] };
    return new LaneCursor({ source, feed, from: { completed: new GtidSet(), partial: null, mark: null } });
  }

  function take(type: number, flags = 0): LaneCursor {
    const reader = new TransactionReader({
      completed: new GtidSet(),
      serverUuid: "u",
      draySchema: "dray",
      isOurs: () => false,
    });
    const reading = lane();
    reader.add(reading);
    const event: BinlogEvent = { type, flags, timestampSeconds: 0, bytes: Buffer.alloc(0), start: 0, end: 0 };
    reader.take(event);
    return reading;
  }

  test.each([
    ["of a later version", NOT_A_TYPE, /does not know it/],
    ["by which the server says that it lost some", EVENT.incident, /changes are missing/],
    ["of a server without GTIDs", EVENT.anonymousGtid, /gtid_mode/],
  ])("one %s stops every lane, with its type and a remedy", async (_, type, why) => {
    const { feed, isStopped } = take(type);
    expect(isStopped).toBe(true);
    expect(feed.failure).toMatchObject({
      code: "EVENT_NOT_UNDERSTOOD",
      facts: { event: type, why: expect.stringMatching(why) },
      problem: { remedy: expect.stringContaining("dray recopy") },
    });
  });

  test("one that the server marks as ignorable is stepped over", () => {
    expect(take(NOT_A_TYPE, IGNORABLE_FLAG)).toMatchObject({ isStopped: false });
  });
});
