import { describe, expect, test } from "vitest";
import type { KeyRange } from "../../pipeline/coverage.ts";
import { OpenWindows } from "../../pipeline/open-windows.ts";
import type { ChunkRows } from "../../pipeline/source.ts";
import { RowDigests } from "../../pipeline/verify/row-digests.ts";
import type { Window } from "../../pipeline/window.ts";

const copied: KeyRange = { table: "t", pass: 0, after: null, upTo: null, announces: "end" };
const scope = { purpose: "copy", range: copied } as const;
const rows: ChunkRows = {
  rows: 1,
  bytes: 1,
  digest: async () => new RowDigests(0),
  single: () => [],
  encode: () => ({ body: new Uint8Array(), rows: 1, headroomBytes: 0, release: () => {} }),
};

function windows() {
  const appended: Window[] = [];
  const reader = { connects: 1 };
  const open = new OpenWindows({
    connects: () => reader.connects,
    append: async (window) => {
      appended.push(window);
      return 7;
    },
  });
  return { open, appended, reader };
}

describe("W1, M2: a window closes once its rows and its high mark have come", () => {
  test("the rows first", async () => {
    const { open, appended } = windows();
    const window = open.open(scope);
    const done = open.finish(window, { rows, high: "h", connects: 1 });
    open.high("other");
    expect(appended).toEqual([]);
    open.high("h");
    expect(await done).toBe(7);
    expect(appended).toEqual([window]);
  });

  test("the mark first, for the stream may be faster than the INSERT's answer", async () => {
    const { open, appended } = windows();
    const window = open.open(scope);
    open.high("h");
    window.saw("t", new Uint8Array([7]));
    expect(await open.finish(window, { rows, high: "h", connects: 1 })).toBe(7);
    expect(appended[0]?.leftOut).toHaveLength(1);
  });

  test("a reader that connected anew in between discards it", async () => {
    const { open, appended, reader } = windows();
    const window = open.open(scope);
    const done = open.finish(window, { rows, high: "h", connects: 1 });
    reader.connects = 2;
    open.high("h");
    expect(await done).toBeNull();
    expect(appended).toEqual([]);
    expect(open.isCopying("t")).toBe(false);
  });

  test("one whose table is copied again is given up, and whoever finishes it later is told", async () => {
    const { open, appended } = windows();
    const window = open.open(scope);
    const late = open.open(scope);
    const done = open.finish(window, { rows, high: "h", connects: 1 });
    open.giveUp(["t"]);
    expect(await done).toBeNull();
    expect(await open.finish(late, { rows, high: "i", connects: 1 })).toBeNull();
    expect(appended).toEqual([]);
  });

  test("what ends the lane reaches whoever waits", async () => {
    const { open } = windows();
    const done = open.finish(open.open(scope), { rows, high: "h", connects: 1 });
    open.fail(new Error("gone"));
    await expect(done).rejects.toThrow("gone");
  });
});
