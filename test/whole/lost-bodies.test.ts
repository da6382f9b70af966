import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { Probe } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { differences } from "./world/compare.ts";
import { cutoverOnceOpen, LocalDriver, phase } from "./world/driver.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const PATIENT = { timeout: 60_000 };
const LARGE_ROWS = 240;

describeWithMysql("L6: the body of a chunk that is lost before it is applied", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver | null = null;
  let chunks: string;
  /** What the server waited for when it was about to read the table again. */
  let reasons: readonly string[] = [];
  /** Each time the target's side is about to be opened, it waits for one of these. */
  let openings: PromiseWithResolvers<void>[] = [];

  /** Chunks of the large table that stand in the log. */
  let appended = 0;

  const probe: Probe = async (name, facts) => {
    if (name === "capture.after-chunk-append" && facts?.["table"] === `${world.schema}.documents`) appended++;
    if (name === "apply.after-epoch") await openings.shift()?.promise;
    if (name === "recopy.intended") reasons = (await driver?.status())?.lanes.flatMap(({ waiting }) => waiting) ?? [];
  };

  /** The copy of `documents` makes one body that is too large for the log. */
  async function create(holds: number): Promise<LocalDriver> {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 20, workers: 2 });
    for (let n = 0; n < LARGE_ROWS; n += 40) {
      const rows = Array.from({ length: 40 }, (_, i) => [`large-${n + i}`, TENANT, text(), 1]);
      await world.admin.a.query(`INSERT INTO ${world.schema}.documents (code, tenant_id, body, stamp) VALUES ?`, [
        rows,
      ]);
    }
    appended = 0;
    openings = Array.from({ length: holds }, () => Promise.withResolvers<void>());
    const installation = world.installation();
    chunks = join(installation.dataDir, "chunks");
    const settings = { chunkBudget: { rows: 1_000, bytes: 64 * 1024 * 1024 } };
    driver = await LocalDriver.open({
      config: world.config(installation),
      manifest: world.manifest(),
      probe,
      settings,
    });
    return driver;
  }

  afterEach(async () => {
    for (const opening of openings) opening.resolve();
    await driver?.close();
    driver = null;
    await world?.close();
  });

  function files(): string[] {
    const all = readdirSync(chunks, { recursive: true, withFileTypes: true });
    return all.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  }

  /** Waits until the copy stands in the log, does it, and lets the target's side go on, which then reads it from there. */
  async function spoil(opening: PromiseWithResolvers<void>, spoiling: (file: string) => void): Promise<void> {
    await expect.poll(() => appended, PATIENT).toBe(1);
    appended = 0;
    const found = files();
    expect(found).toHaveLength(1);
    for (const file of found) spoiling(file);
    opening.resolve();
  }

  async function recopies(move: LocalDriver) {
    const entries = await move.dray.service.journal("it", 0);
    return entries.filter(({ event }) => event === "recopy").map(({ by, facts }) => ({ by, facts }));
  }

  async function expectArrived(move: LocalDriver): Promise<void> {
    await phase(move, "streaming");
    await expect.poll(() => differences(world, TENANT), PATIENT).toEqual([]);
    expect((await move.status()).alarms).toEqual([]);
    expect(await cutoverOnceOpen(move)).toMatchObject({ outcome: "committed" });
    expect(await differences(world, TENANT)).toEqual([]);
  }

  test.each([
    ["CHUNK_LOST", (file: string) => rmSync(file)],
    ["CHUNK_DAMAGED", flip],
  ])("%s: its table is copied again by itself, with a line in the journal and no alarm", async (code, spoiling) => {
    const move = await create(1);
    const [opening] = openings as [PromiseWithResolvers<void>];
    await move.start(TENANT);
    await spoil(opening, spoiling);
    await expect.poll(() => recopies(move), PATIENT).toHaveLength(1);
    const facts = { tables: [`${world.schema}.documents`], because: code, seq: expect.any(Number) };
    expect(await recopies(move)).toMatchObject([{ by: "server", facts }]);
    expect(reasons.join()).toContain(`what a lost body held is read again: ${code}`);
    await expectArrived(move);
  });

  test("a second loss of the table stops the lane, and a recopy by the operator brings it on", async () => {
    const move = await create(2);
    const [first, second] = openings as [PromiseWithResolvers<void>, PromiseWithResolvers<void>];
    await move.start(TENANT);
    await spoil(first, (file) => rmSync(file));
    await expect.poll(() => recopies(move), PATIENT).toHaveLength(1);
    await spoil(second, (file) => rmSync(file));
    const { problem, alarms } = await phase(move, "failed");
    expect(problem).toMatchObject({ code: "CHUNK_LOST", facts: { tables: [`${world.schema}.documents`] } });
    expect(alarms.map(({ code }) => code)).toEqual(["CHUNK_LOST"]);
    expect(await recopies(move)).toHaveLength(1);
    // Trying again does not bring it back.
    await move.act("retry");
    await phase(move, "failed");
    await move.recopy(`${world.schema}.documents`);
    await expectArrived(move);
  });
});

/** What zstd cannot make much smaller. */
function text(): string {
  return randomBytes(45_000).toString("base64");
}

function flip(file: string): void {
  const body = readFileSync(file);
  const at = body.length >> 1;
  body[at] = (body[at] ?? 0) ^ 1;
  writeFileSync(file, body);
}
