import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { KyselyControlStore } from "../../cutover/control/kysely-control-store.ts";
import type { ControlStore } from "../../cutover/control-store.ts";
import { MoveLease } from "../../cutover/move-lease.ts";
import { systemClock } from "../../pipeline/clock.ts";

let folder: string;
let control: ControlStore;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "dray-lease-"));
  control = await KyselyControlStore.open({ file: join(folder, "control.db"), clock: systemClock });
});
afterEach(async () => {
  await control.close();
  rmSync(folder, { recursive: true });
});

function take(holder: string, ttlMs: number, onLost: (error: unknown) => void = () => {}): Promise<MoveLease> {
  return MoveLease.take({ control, move: "m", holder, ttlMs, clock: systemClock, onLost });
}

describe("K2: who works on a move", () => {
  test("another is refused and told who holds it, until it is released", async () => {
    const mine = await take("one", 30_000);
    await expect(take("two", 30_000)).rejects.toMatchObject({ code: "MOVE_HELD", facts: { by: "one" } });
    await mine.release();
    await (await take("two", 30_000)).release();
  });

  test("outlives its own term while its holder renews it", async () => {
    const mine = await take("one", 300);
    await systemClock.sleep(700);
    await expect(take("two", 300)).rejects.toMatchObject({ code: "MOVE_HELD" });
    await mine.release();
  });

  test("the same installation takes its own again at once, and what held it before learns that it is lost", async () => {
    const lost = Promise.withResolvers<unknown>();
    await take("one", 300, lost.resolve);
    const again = await take("one", 30_000);
    expect(await lost.promise).toMatchObject({ code: "LEASE_LOST" });
    await again.release();
  });
});
