import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RunningServer } from "../../console/open-server.ts";
import { openMemoryServer, runDray } from "../setup/command-line.ts";
import { MemoryService } from "../setup/memory-service.ts";

let folder: string;
let service: MemoryService;
let server: RunningServer;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "dray-cli-"));
  service = new MemoryService();
  const listen = { kind: "unix", path: join(folder, "dray-data/dray.sock") } as const;
  server = await openMemoryServer(service, listen, join(folder, "dray-data"));
  writeFileSync(join(folder, "shop.yaml"), "name: shop\n");
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const dray = (args: readonly string[]) => runDray(folder, args);
const start = () => {
  const sides = ["--tenant", "acme", "--from", "eu1", "--to", "eu2"];
  return ["start", "--manifest", join(folder, "shop.yaml"), ...sides];
};

describe("V3: verify", () => {
  test("tells what is compared and what differs, 1 where rows differ; values only where they were asked for", async () => {
    await dray(start());
    const equal = await dray(["verify", "shop-acme", "--watch"]);
    expect(equal.code).toBe(0);
    expect(equal.stdout).toContain("lane shop-acme.main.f1: 100% verified, 2 dirty keys, 0 differences");
    expect(equal.stdout).toContain("dray cutover shop-acme --dry-run");
    service.differing = true;
    const wrong = await dray(["verify", "shop-acme", "--table", "shop.users"]);
    expect(wrong.code).toBe(1);
    expect(wrong.stdout).toContain("  shop.users id=5: differing in name (at seq 9, 1970-01-01T00:00:00.000Z)\n");
    expect(wrong.stdout).toContain("dray verify shop-acme --repair");
    expect(service.asked.at(-2)).toEqual([
      "verify",
      "shop-acme",
      { table: "shop.users", repair: false },
      expect.anything(),
    ]);
    const shown = await dray(["verify", "shop-acme", "--show-values"]);
    expect(shown.stdout).toContain("    name: a at eu1, NULL at eu2");
    expect(service.asked.at(-1)?.slice(0, 3)).toEqual(["verification", "shop-acme", true]);
    const usage = await dray(["verify", "shop-acme", "--repair", "--table", "shop.users"]);
    expect([usage.code, usage.stderr]).toEqual([2, expect.stringContaining("leave --table away")]);
  });
});
