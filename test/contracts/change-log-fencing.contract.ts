import { describe, expect, test } from "vitest";
import type { LogAnchor } from "../../pipeline/entry.ts";
import { givenLog, type LogHarness } from "./change-log.contract.ts";
import { appendMany, changesDraft, gate, newLane, noise, openOptions, readSome, upTo } from "./log-drafts.ts";

const MIB = 1024 * 1024;

/** L3, L4, L7: one writer counts, and a log that lost entries is found out. Every ChangeLog passes it. */
export function fencingContract(makeHarness: () => Promise<LogHarness>): void {
  const given = givenLog(makeHarness);
  describe("L3 and L4 one writer", () => {
    test("a checkpoint that cannot be saved ends the writer; what was acknowledged stays", async () => {
      const lane = newLane();
      const saveCheckpoint = async () => {
        throw new Error("the control store is away");
      };
      const writer = await given.log.openWriter(openOptions(lane, { saveCheckpoint }));
      for (const n of upTo(16)) await writer.append(changesDraft(`p${n}`, noise(MIB)));
      await expect(writer.append(changesDraft("p17"))).rejects.toThrow("the control store is away");
      const next = await given.log.openWriter(openOptions(lane, { aboveEpoch: writer.epoch }));
      expect(next.tail?.seq).toBe(16);
      await next.close();
      await given.log.drop(lane);
    });

    test("an older writer is fenced at its next append, and nothing of it counts", async () => {
      const lane = newLane();
      const zombie = await given.log.openWriter(openOptions(lane));
      await appendMany(zombie, 3);
      const other = await given.harness.open();
      const owner = await other.openWriter(openOptions(lane));
      await expect(zombie.append(changesDraft("zombie"))).rejects.toMatchObject({ code: "FENCED" });
      await expect(zombie.append(changesDraft("zombie"))).rejects.toMatchObject({ code: "FENCED" });
      await appendMany(owner, 2, 4);
      await expect(readSome(given.log, lane, 5).then((es) => es.map((e) => e.header.position))).resolves.toEqual(
        upTo(5).map((n) => `p${n}`),
      );
      await owner.close();
      if (other !== given.log) await other.close();
    });

    test("a zombie that appends between another's epoch entry and its reading back does not count", async () => {
      const lane = newLane();
      const zombie = await given.log.openWriter(openOptions(lane));
      await appendMany(zombie, 2);
      const place = gate();
      const other = await given.harness.open({
        probe: (name) => (name === "log.epoch-appended" ? place.hold() : undefined),
      });
      const opening = other.openWriter(openOptions(lane, { aboveEpoch: zombie.epoch }));
      await place.reached;
      await expect(zombie.append(changesDraft("zombie"))).rejects.toMatchObject({ code: "FENCED" });
      place.open();
      const owner = await opening;
      expect(owner.tail).toMatchObject({ seq: 2, position: "p2" });
      await appendMany(owner, 1, 3);
      expect((await readSome(given.log, lane, 3)).map((e) => e.header.position)).toEqual(["p1", "p2", "p3"]);
      await owner.close();
      if (other !== given.log) await other.close();
    });

    test("a zombie held just before its write, while another opens and writes, does not count", async () => {
      const lane = newLane();
      const place = gate();
      let isHeld = false;
      const zombies = await given.harness.open({
        probe: (name, facts) => {
          if (name !== "log.before-append" || facts?.["lane"] !== lane || facts["seq"] !== 2 || isHeld) return;
          isHeld = true;
          return place.hold();
        },
      });
      const zombie = await zombies.openWriter(openOptions(lane));
      await zombie.append(changesDraft("p1"));
      const late = zombie.append(changesDraft("zombie"));
      const refused = expect(late).rejects.toMatchObject({ code: "FENCED" });
      await place.reached;
      const owner = await given.log.openWriter(openOptions(lane));
      await owner.append(changesDraft("p2"));
      place.open();
      await refused;
      await owner.append(changesDraft("p3"));
      expect((await readSome(given.log, lane, 3)).map((e) => e.header.position)).toEqual(["p1", "p2", "p3"]);
      await owner.close();
      if (zombies !== given.log) await zombies.close();
    });

    test("of two that open at the same time, at most one writes on", async () => {
      for (let round = 0; round < 3; round++) {
        const lane = newLane();
        const other = await given.harness.open();
        const opened = await Promise.allSettled([
          given.log.openWriter(openOptions(lane)),
          other.openWriter(openOptions(lane)),
        ]);
        const writers = opened.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
        const appended = await Promise.allSettled(writers.map((writer) => writer.append(changesDraft("p1"))));
        const wrote = appended.filter((result) => result.status === "fulfilled").length;
        expect(wrote).toBeLessThanOrEqual(1);
        for (const result of [...opened, ...appended]) {
          if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "FENCED" });
        }
        await Promise.all(writers.map((writer) => writer.close()));
        const next = await given.log.openWriter(openOptions(lane));
        expect(next.tail?.seq ?? 0).toBe(wrote);
        await next.close();
        if (other !== given.log) await other.close();
      }
    });

    test("a closed writer finishes what was called before and refuses what comes after", async () => {
      const lane = newLane();
      const writer = await given.log.openWriter(openOptions(lane));
      const before = appendMany(writer, 20);
      const closing = writer.close();
      await expect(writer.append(changesDraft("late"))).rejects.toMatchObject({ code: "LOG_UNAVAILABLE" });
      await closing;
      expect((await before).length).toBe(20);
      expect((await readSome(given.log, lane, 20)).length).toBe(20);
    });
  });

  describe("L7 a log that lost entries", () => {
    test("an anchor that is not there exactly is LOG_TRUNCATED", async () => {
      const lane = newLane();
      const writer = await given.log.openWriter(openOptions(lane));
      const anchors = await appendMany(writer, 5);
      const real = anchors[2] as LogAnchor;
      const wrong: LogAnchor[] = [
        { ...real, nonce: "f".repeat(32) },
        { ...real, seq: 4 },
        { ...real, offset: String(Number(real.offset) + 1) },
        { ...real, offset: String(Number(real.offset) + 1000), seq: 1003 },
      ];
      for (const anchor of wrong) {
        await expect(readSome(given.log, lane, 1, anchor)).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
        await expect(given.log.openWriter(openOptions(lane, { anchor }))).rejects.toMatchObject({
          code: "LOG_TRUNCATED",
        });
      }
      await expect(readSome(given.log, newLane(), 1, real)).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await writer.close();
    });

    test("a checkpoint ahead of the tail is LOG_TRUNCATED", async () => {
      const lane = newLane();
      const writer = await given.log.openWriter(openOptions(lane));
      const [anchor] = await appendMany(writer, 1);
      await writer.close();
      const checkpoint = { ...(anchor as LogAnchor), offset: "4000", seq: 4000 };
      await expect(given.log.openWriter(openOptions(lane, { checkpoint }))).rejects.toMatchObject({
        code: "LOG_TRUNCATED",
      });
    });
  });
}
