import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Change, ChangeOp } from "../../pipeline/entry.ts";
import type { ChunkUnit, LaneSink } from "../../sinks/sink.ts";

/** A tenant's rows: id, text and, in `uniq` only, a value that no two rows of the tenant may share. */
export type ContractRow = { readonly id: number; readonly text: string; readonly unique?: string };
export type ContractTable = "plain" | "uniq";
export type ContractChunk = {
  readonly seq: number;
  readonly after: number | null;
  readonly upTo: number | null;
  readonly rows: readonly ContractRow[];
  readonly pass?: number;
  readonly leftOut?: readonly number[];
};

/** One new lane over two tables: the sink's calls in the contract's words, and what is in the target by its own means. */
export interface SinkHarness {
  /** Again with the same lane: a later applier. */
  open(): Promise<LaneSink>;
  tableId(table: ContractTable): string;
  change(table: ContractTable, op: ChangeOp, row: ContractRow): Change;
  chunk(table: ContractTable, chunk: ContractChunk): ChunkUnit;
  rows(table: ContractTable): Promise<readonly ContractRow[]>;
  /** A neighbour's row, written beside the sink. */
  addForeign(table: ContractTable, row: ContractRow): Promise<void>;
  foreignRows(table: ContractTable): Promise<readonly ContractRow[]>;
  removeRows(): Promise<Readonly<Record<string, number>>>;
}

const NONCE = "ab".repeat(16);
const soon = () => AbortSignal.timeout(60_000);
const anchor = (seq: number) => ({ offset: `o${seq}`, epoch: 3, nonce: NONCE, seq });

/** What every sink owes the applier, whatever its store. */
export function sinkContract(make: () => Promise<SinkHarness>): void {
  let h: SinkHarness;
  let sink: LaneSink;
  const at = (first: number, ...changes: Change[][]) => ({
    seqs: { first, last: first + changes.length - 1, nonce: NONCE },
    changes,
  });
  const put = (id: number, text: string, op: ChangeOp = "update") => h.change("plain", op, { id, text });

  describe("sink contract", () => {
    beforeAll(async () => {
      h = await make();
      sink = await h.open();
    });
    afterAll(() => sink?.close());

    test("A2: a new lane knows nothing; what is applied above the watermark is told with its writer", async () => {
      expect(await sink.progress(soon())).toEqual({ watermark: 0, anchor: null, applied: [], closed: false });
      await sink.applyChanges(at(2, [put(1, "a")], [put(2, "b")]), soon());
      const progress = await sink.progress(soon());
      expect(progress.applied).toEqual([{ first: 2, last: 3, nonce: NONCE }]);
      expect(await h.rows("plain")).toEqual([
        { id: 1, text: "a" },
        { id: 2, text: "b" },
      ]);
    });

    test("A2: seqs that are applied already are not applied again", async () => {
      await expect(sink.applyChanges(at(2, [put(1, "again")], [put(2, "again")]), soon())).rejects.toMatchObject({
        problem: { retry: "backoff" },
      });
      expect((await h.rows("plain"))[0]).toEqual({ id: 1, text: "a" });
    });

    test("A2, L7: the watermark is durable with its anchor, never goes back, and takes what lies below it along", async () => {
      await sink.applyChanges(at(1, [put(3, "c")]), soon());
      await sink.advance(anchor(3), soon());
      await sink.advance(anchor(2), soon());
      expect(await sink.progress(soon())).toEqual({ watermark: 3, anchor: anchor(3), applied: [], closed: false });
    });

    test("A3: the last change of a key wins, deletes and new keys in one batch", async () => {
      const changes = [put(1, "x"), put(2, "b", "delete"), put(4, "d", "insert"), put(1, "y"), put(4, "d", "delete")];
      await sink.applyChanges(at(4, changes, [put(2, "b2", "insert")]), soon());
      expect(await h.rows("plain")).toEqual([
        { id: 1, text: "y" },
        { id: 2, text: "b2" },
        { id: 3, text: "c" },
      ]);
    });

    test("A3: a delete of what is gone and an insert of what is there are no errors", async () => {
      await sink.applyChanges(at(6, [put(99, "", "delete"), put(1, "y2", "insert")]), soon());
      expect((await h.rows("plain"))[0]).toEqual({ id: 1, text: "y2" });
    });

    test("A3: unique values that change hands, and swaps, inside one batch", async () => {
      const u = (id: number, unique: string, op: ChangeOp = "update") =>
        h.change("uniq", op, { id, text: "t", unique });
      await sink.applyChanges(at(7, [u(1, "one", "insert"), u(2, "two", "insert"), u(3, "three", "insert")]), soon());
      const swap = [u(1, "tmp"), u(2, "one"), u(1, "two")];
      const handOver = [u(3, "free"), u(4, "three", "insert"), u(3, "last")];
      await sink.applyChanges(at(8, swap, handOver), soon());
      const found = (await h.rows("uniq")).map(({ id, unique }) => `${id} ${unique}`);
      expect(found).toEqual(["1 two", "2 one", "3 last", "4 three"]);
    });

    test("A1: a row of another tenant stops the lane with its key, and nothing of the batch has happened", async () => {
      await h.addForeign("plain", { id: 50, text: "theirs" });
      const before = await h.rows("plain");
      const batch = at(10, [put(1, "changed")], [put(50, "ours")]);
      await expect(sink.applyChanges(batch, soon())).rejects.toMatchObject({
        code: "GUARD_FOREIGN_ROW",
        facts: { seq: 11, table: h.tableId("plain"), key: "50" },
      });
      await expect(sink.applyChanges(at(10, [put(50, "", "delete")]), soon())).rejects.toMatchObject({
        code: "GUARD_FOREIGN_ROW",
        facts: { seq: 10, key: "50" },
      });
      expect(await h.rows("plain")).toEqual(before);
      expect(await h.foreignRows("plain")).toEqual([{ id: 50, text: "theirs" }]);
      expect((await sink.progress(soon())).applied.some(({ last }) => last >= 10)).toBe(false);
    });

    test("W4: the first pass loads; what the stream brought into the range is replaced, left-out keys are not", async () => {
      await sink.applyChanges(at(12, [put(101, "stream"), put(102, "left"), put(103, "stale")]), soon());
      const rows = [
        { id: 101, text: "chunk" },
        { id: 104, text: "tab\tnew\nline\\ and 'quote'" },
      ];
      await sink.applyChunk(h.chunk("plain", { seq: 13, after: 100, upTo: 104, rows, leftOut: [102] }), soon());
      expect((await h.rows("plain")).filter(({ id }) => id > 100)).toEqual([
        rows[0],
        { id: 102, text: "left" },
        rows[1],
      ]);
    });

    test("W4: a later pass replaces its range and nothing beside it", async () => {
      const rows = [{ id: 102, text: "pass 1" }];
      await sink.applyChunk(h.chunk("plain", { seq: 14, after: 101, upTo: 103, rows, pass: 1 }), soon());
      const found = (await h.rows("plain")).filter(({ id }) => id > 100);
      expect(found.map(({ id, text }) => `${id} ${text.slice(0, 6)}`)).toEqual([
        "101 chunk",
        "102 pass 1",
        "104 tab\tne",
      ]);
      await sink.applyChunk(h.chunk("plain", { seq: 15, after: 100, upTo: null, rows: [], pass: 1 }), soon());
      expect((await h.rows("plain")).filter(({ id }) => id > 100)).toEqual([]);
      expect(await h.foreignRows("plain")).toEqual([{ id: 50, text: "theirs" }]);
    });

    test("W4, A3: stale rows that hold each other's unique values are replaced", async () => {
      const rows = [
        { id: 1, text: "t", unique: "one" },
        { id: 2, text: "t", unique: "two" },
      ];
      await sink.applyChunk(h.chunk("uniq", { seq: 16, after: 0, upTo: 2, rows, pass: 1 }), soon());
      expect((await h.rows("uniq")).slice(0, 2)).toEqual(rows);
    });

    test("A1, A5: a chunk that meets a foreign row changes nothing and names it", async () => {
      await h.addForeign("plain", { id: 205, text: "theirs too" });
      const rows = [204, 205, 206].map((id) => ({ id, text: "ours" }));
      for (const pass of [0, 1]) {
        const chunk = h.chunk("plain", { seq: 17, after: 200, upTo: 300, rows, pass });
        await expect(sink.applyChunk(chunk, soon())).rejects.toMatchObject({
          code: "GUARD_FOREIGN_ROW",
          facts: { seq: 17, table: h.tableId("plain"), key: "205" },
        });
      }
      expect((await h.rows("plain")).filter(({ id }) => id > 200)).toEqual([]);
      expect((await h.foreignRows("plain")).at(-1)).toEqual({ id: 205, text: "theirs too" });
    });

    test("V1: a read view counts the tenant's rows at its place, whatever is applied meanwhile", async () => {
      const before = (await h.rows("plain")).length;
      const view = await sink.openReadView(soon());
      await sink.applyChanges(at(18, [put(400, "later")]), soon());
      expect(await view.countRows(soon())).toMatchObject({ [h.tableId("plain")]: before });
      await view.close();
    });

    test("W4: a table is cleared of the tenant's rows only, and no seq counts as applied", async () => {
      const before = (await sink.progress(soon())).applied;
      expect((await sink.clearTable(h.tableId("uniq"), soon())).rows).toBe(4);
      expect(await h.rows("uniq")).toEqual([]);
      expect((await sink.progress(soon())).applied).toEqual(before);
    });

    test("A7: a later applier owns the lane, the earlier one is refused and has changed nothing", async () => {
      const later = await h.open();
      expect(later.epoch).toBeGreaterThan(sink.epoch);
      const zombie = sink;
      sink = later;
      const fenced = { code: "FENCED" };
      // Its connections were ended, which it may first take for a passing loss.
      const settled = async (call: () => Promise<unknown>) => {
        for (;;) {
          const error = await call().then(
            () => null,
            (thrown: unknown) => thrown,
          );
          if ((error as { problem?: { retry: string } } | null)?.problem?.retry !== "backoff") return error;
        }
      };
      expect(await settled(() => zombie.applyChanges(at(19, [put(500, "zombie")]), soon()))).toMatchObject(fenced);
      expect(await settled(() => zombie.advance(anchor(18), soon()))).toMatchObject(fenced);
      expect(await settled(() => zombie.progress(soon()))).toMatchObject(fenced);
      await zombie.close();
      await later.applyChanges(at(19, [put(500, "later")]), soon());
      expect((await h.rows("plain")).at(-1)).toEqual({ id: 500, text: "later" });
    });

    test("C5: a lane closed for good takes nothing any more; its rows are removed only then, and only its own", async () => {
      await expect(h.removeRows()).rejects.toMatchObject({ code: "LANE_NOT_CLOSED" });
      await sink.closeForGood(soon());
      await sink.closeForGood(soon());
      await expect(sink.applyChanges(at(20, [put(600, "late")]), soon())).rejects.toMatchObject({
        code: "LANE_CLOSED",
      });
      expect((await sink.progress(soon())).closed).toBe(true);
      await expect(h.open()).rejects.toMatchObject({ code: "LANE_CLOSED" });
      const before = (await h.rows("plain")).length;
      expect(await h.removeRows()).toMatchObject({ [h.tableId("plain")]: before });
      expect(await h.rows("plain")).toEqual([]);
      expect((await h.foreignRows("plain")).length).toBe(2);
    });
  });
}
