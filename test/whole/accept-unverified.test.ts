import { afterEach, beforeEach, expect, test } from "vitest";
import type { CutoverResult } from "../../cutover/move-service.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { describeWithMysql } from "../setup/shared-servers.ts";
import { differences } from "./world/compare.ts";
import { compared, cutoverOnceOpen, LocalDriver, phase, rollbackOnceOpen } from "./world/driver.ts";
import { World } from "./world/world.ts";

const TENANT = "acme";
const ID = 900_001;

describeWithMysql("V2: a person may answer for what is not verified, and that is said ever after", ({ a, b }) => {
  let world: World;
  let driver: LocalDriver;
  let installation: ReturnType<World["installation"]>;
  let onProbe: (name: ProbeName) => Promise<void>;

  beforeEach(async () => {
    const homes = { acme: "a", ACME: "a", delta: "b" } as const;
    world = await World.create({ servers: { a, b }, kind: "text", homes, rows: 60, workers: 2 });
    installation = world.installation();
    onProbe = async () => {};
    await open();
    await run(
      "a",
      `INSERT INTO W.orders (id, tenant_id, status, created, stamp) VALUES (${ID}, 'acme', 'new', NOW(), 1)`,
    );
    await driver.start(TENANT);
    await phase(driver, "streaming");
    await compared(driver);
  });
  afterEach(async () => {
    await driver?.close();
    await world?.close();
  });

  async function open(): Promise<void> {
    const config = world.config(installation);
    driver = await LocalDriver.open({ config, manifest: world.manifest(), probe: (name) => onProbe(name) });
  }

  const run = (side: "a" | "b", sql: string) => world.admin[side].query(sql.replaceAll("W.", `${world.schema}.`));
  const setStatus = (side: "a" | "b", status: string) =>
    run(side, `UPDATE W.orders SET status = '${status}' WHERE id = ${ID}`);

  async function journalled(event: string) {
    return (await driver.dray.service.journal("it", 0)).filter((entry) => entry.event === event);
  }

  const verdictOf = ({ gate }: CutoverResult) => gate.find(({ name }) => name.endsWith("verification"))?.verdict;

  /** Every answer about the move names who accepted what. */
  async function expectTold(): Promise<void> {
    const told = expect.stringMatching(new RegExp(`UNVERIFIED, accepted by test .*orders id=${ID} differing`));
    const accepted = { by: "test", what: expect.stringContaining(`orders id=${ID} differing`) };
    expect(await driver.status()).toMatchObject({ verification: told, accepted });
    expect(await driver.dray.service.list()).toMatchObject([{ move: "it", verification: told, accepted }]);
    const { parts } = await driver.dray.service.evidence("it", AbortSignal.timeout(60_000));
    expect(parts.verification.accepted).toEqual(accepted);
  }

  test("a difference is accepted: journalled, and told after a restart, an attempt that is aborted, and a rollback", async () => {
    await setStatus("b", "void");
    await driver.verify();
    expect((await compared(driver)).differences).toMatchObject([{ key: `id=${ID}`, kind: "differing" }]);
    expect(await driver.cutover()).toMatchObject({
      outcome: "refused",
      reason: expect.stringContaining(`orders id=${ID} differing`),
    });
    expect(await journalled("accept-unverified")).toEqual([]);
    const moved = await cutoverOnceOpen(driver, { acceptUnverified: true });
    expect(moved, `${moved.reason}`).toMatchObject({ outcome: "committed" });
    expect(verdictOf(moved)).toBe("accepted");
    const what = [expect.stringContaining(`orders id=${ID} differing`)];
    expect(await journalled("accept-unverified")).toMatchObject([{ by: "test", facts: { what } }]);
    await phase(driver, "watching");
    await expectTold();

    await driver.close();
    await open();
    await phase(driver, "watching");
    await expectTold();

    // What the tenant writes over it is carried back: the way back is verified, and nothing need be accepted.
    await setStatus("b", "new");
    await run("b", `UPDATE W.orders SET status = 'paid' WHERE id = ${ID}`);
    world.proxy.decide = ({ action }) => (action === "fence" ? { kind: "status", status: 500 } : { kind: "pass" });
    const failed = await rollbackOnceOpen(driver);
    expect(failed).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("FENCE_FAILED") });
    await expectTold();
    world.proxy.decide = () => ({ kind: "pass" });
    expect(await rollbackOnceOpen(driver)).toMatchObject({ outcome: "committed" });
    await phase(driver, "rolled-back");
    await expectTold();
    expect(await journalled("accept-unverified")).toHaveLength(1);
    const { parts } = await driver.dray.service.evidence("it", AbortSignal.timeout(60_000));

    expect(parts.cutovers.map(({ acceptedUnverified }) => acceptedUnverified.length)).toEqual([1, 0, 0]);
    expect(await differences(world, TENANT)).toEqual([]);
  });

  test("where nothing had to be accepted, rows are compared under the fence as always, and nobody is named", async () => {
    // A comparison between the two would find the key equal, and leave it clean.
    const planted = Promise.withResolvers<void>();
    let isChanged = false;
    onProbe = async (name) => {
      if (name === "capture.after-low-mark" && isChanged) await planted.promise;
      if (name === "cutover.before-fence") {
        isChanged = true;
        await setStatus("a", "sent");
      }
      if (name === "cutover.after-s1") await setStatus("b", "void");
      if (name === "cutover.after-s1" || name === "cutover.before-abort-outcome") planted.resolve();
    };
    const result = await cutoverOnceOpen(driver, { acceptUnverified: true });
    expect(verdictOf(result)).toBe("yes");
    expect(result).toMatchObject({ outcome: "aborted", reason: expect.stringContaining("VERIFY_DIFFERS") });
    expect(result.reason).toContain(`orders id=${ID}: differing in status`);
    expect(await journalled("accept-unverified")).toEqual([]);
    expect(await driver.status()).toMatchObject({ accepted: null });
    expect((await driver.status()).verification).not.toContain("UNVERIFIED");
  });
});
