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

const dray = (args: readonly string[], env: Record<string, string> = {}, typed?: string) =>
  runDray(folder, args, env, typed);
const start = () => {
  const sides = ["--tenant", "acme", "--from", "eu1", "--to", "eu2"];
  return ["start", "--manifest", join(folder, "shop.yaml"), ...sides];
};

describe("finish", () => {
  test("a dry run counts and changes nothing; before the retention the tenant must be typed", async () => {
    await dray(start());
    const dry = await dray(["finish", "shop-acme", "--dry-run"]);
    expect(dry.code).toBe(0);
    expect(dry.stdout).toContain("shop-acme: can be finished; nothing has happened (dry run)\n");
    expect(dry.stdout).toContain("  yes     retention: 200.0 h since the cutover (limit 168 h)\n");
    expect(dry.stdout).toContain("        3000 rows of shop.users at the source\n");
    const hurried = await dray(["finish", "shop-acme", "--now", "--yes"]);
    expect([hurried.code, hurried.stderr]).toEqual([2, expect.stringContaining("--tenant TENANT")]);
    const silent = await dray(["finish", "shop-acme"]);
    expect([silent.code, silent.stderr]).toEqual([2, expect.stringContaining("needs --yes")]);
    expect(service.moves.get("shop-acme")?.phase).toBe("copying");
  });

  test("a person types the move's name; what is removed and what is left is told at the end", async () => {
    await dray(start());
    const wrong = await dray(["finish", "shop-acme"], {}, "acme");
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining("there is no rollback afterwards")]);
    const done = await dray(["finish", "shop-acme", "--now", "--tenant", "acme"], {}, "shop-acme");
    expect(done.code).toBe(0);
    expect(done.stdout).toContain("shop-acme: finished\n  done, 3000 rows removed\n");
    expect(done.stdout).toContain("1 rows appeared behind the fence and are left:\n    shop.users id=7\n");
    const request = { dryRun: false, now: true, tenant: "acme", acceptUnverified: false };
    expect(service.asked.at(-1)?.slice(0, 3)).toEqual(["finish", "shop-acme", request]);
  });
});
