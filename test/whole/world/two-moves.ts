import { setTimeout as sleep } from "node:timers/promises";
import type { ResultSetHeader } from "mysql2/promise";
import { expect } from "vitest";
import { isDrayError } from "../../../pipeline/errors.ts";
import type { MysqlAddress } from "../../setup/shared-servers.ts";
import { differences, ledgerProblems } from "./compare.ts";
import { cutoverOnceOpen, type Driver, LocalDriver, phase } from "./driver.ts";
import { Random } from "./random.ts";
import { KEYS } from "./tables.ts";
import { World } from "./world.ts";

const CALLER = { by: "test", role: "admin" as const };

type Move = Pick<Driver, "status" | "cutover" | "act" | "recopy"> & { readonly tenant: string };

/** What an operator may do to either move meanwhile. */
async function act(random: Random, move: Move, schema: string): Promise<void> {
  if (random.chance(0.3)) return await move.recopy(`${schema}.${random.pick(["orders", "handles", "documents"])}`);
  await move.act("pause");
  await sleep(random.below(500));
  await move.act("resume");
}

/** No worker of the traffic touches the rows of this one. */
const PASSER = 100;
const PASSED = 20;
const TENANTS = ["acme", "ACME"] as const;
const TABLES = ["orders", "handles", "documents"] as const;
const INSERTS = {
  orders: () => ({ status: "new", created: "2024-01-01 00:00:00" }),
  handles: (name: string) => ({ name }),
  documents: (code: string) => ({ code }),
} as const;

/** A few rows go to and fro between the two tenants, some of them against each other in one transaction. */
class Passing {
  readonly #world: World;
  readonly #random: Random;
  readonly #rows: { readonly table: (typeof TABLES)[number]; readonly key: string; tenant: string }[] = [];
  #stamp = 900_000_000;
  #isStopping = false;
  #running: Promise<void> | null = null;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  async start(): Promise<void> {
    const { schema, admin, ledger } = this.#world;
    for (let n = 0; n < 3 * PASSED; n++) {
      const table = TABLES[n % 3] ?? "orders";
      const tenant = this.#random.pick(TENANTS);
      const stamp = ++this.#stamp;
      const code = `passed-${n}`;
      const values = { ...INSERTS[table](code), tenant_id: tenant, stamp };
      const [{ insertId }] = await admin.a.query<ResultSetHeader>(`INSERT INTO ${schema}.${table} SET ?`, [values]);
      const key = table === "documents" ? code : String(insertId);
      this.#rows.push({ table, key, tenant });
      ledger.commit([{ side: "a", table, key, state: { tenant, stamp, worker: PASSER } }]);
    }
    this.#running = this.#pass();
  }

  async #pass(): Promise<void> {
    const { schema, admin, ledger } = this.#world;
    while (!this.#isStopping) {
      const stamp = ++this.#stamp;
      const chosen = new Set(Array.from({ length: 1 + this.#random.below(3) }, () => this.#random.pick(this.#rows)));
      await admin.a.query("START TRANSACTION");
      for (const row of chosen) {
        row.tenant = row.tenant === "acme" ? "ACME" : "acme";
        const sql = `UPDATE ${schema}.${row.table} SET tenant_id = ?, stamp = ? WHERE ${KEYS[row.table][0]} = ?`;
        await admin.a.query(sql, [row.tenant, stamp, row.key]);
      }
      await admin.a.query("COMMIT");
      for (const { table, key, tenant } of chosen) {
        ledger.commit([{ side: "a", table, key, state: { tenant, stamp, worker: PASSER } }]);
      }
      await sleep(this.#random.below(10));
    }
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
  }
}

/** Random traffic over two tenants whose moves into one target run at once, while rows pass between them all the time. */
export async function twoMoves(
  servers: { readonly a: MysqlAddress; readonly b: MysqlAddress },
  seed: number,
): Promise<void> {
  const random = new Random(seed);
  const homes = { acme: "a", ACME: "a", delta: "b" } as const;
  const world = await World.create({ servers, kind: "text", homes, rows: 120, workers: 6 });
  const driver = await LocalDriver.open({ config: world.config(world.installation()), manifest: world.manifest() });
  const traffic = world.traffic({ seed, workers: 6, pauseMs: 5 });
  const passing = new Passing(world, new Random(seed + 1));
  try {
    traffic.start();
    await passing.start();
    const moves = await Promise.all(TENANTS.map((tenant) => begin(driver, world, tenant)));
    for (let acts = 4; acts > 0; acts--) {
      await act(random, random.pick(moves), world.schema);
      await sleep(random.below(300));
    }
    await passing.stop();
    for (const move of random.chance(0.5) ? moves : moves.toReversed()) {
      await phase(move, "streaming");
      world.heldAtTarget.add(move.tenant);
      expect(await cutoverOnceOpen(move)).toMatchObject({ outcome: "committed" });
      expect(await differences(world, move.tenant)).toEqual([]);
      world.ledger.switchHome(move.tenant, "b");
      world.heldAtTarget.delete(move.tenant);
    }
    await sleep(200);
    await traffic.stop();
    expect(await ledgerProblems(world, "a", ["acme", "ACME"])).toEqual([]);
    expect(await ledgerProblems(world, "b")).toEqual([]);
    for (const move of moves) expect((await move.status()).alarms).toEqual([]);
  } finally {
    await passing.stop().catch(() => {});
    await traffic.stop().catch(() => {});
    await driver.close();
    await world.close();
  }
}

async function begin({ dray: { service } }: LocalDriver, world: World, tenant: string): Promise<Move> {
  const name = `move-${Buffer.from(tenant).toString("hex")}`;
  const request = { manifest: world.manifest(), manifestFile: "world.yaml", tenant, from: "a", to: "b", name };
  for (;;) {
    try {
      await service.start(request, CALLER, AbortSignal.timeout(60_000));
      break;
    } catch (error) {
      // A row that the other tenant gave away meanwhile still stands in the target as the other's: its id clashes.
      if (!isDrayError(error, "PREFLIGHT_REFUSED")) throw error;
      await sleep(20);
    }
  }
  const whole = { dryRun: false, maxLagSeconds: null, maxPauseMs: null, acceptUnverified: false };
  return {
    tenant,
    status: () => service.status(name),
    cutover: () => service.cutover(name, whole, CALLER, () => {}),
    act: async (verb) => {
      await service[verb](name, CALLER);
    },
    recopy: async (table) => {
      await service.recopy(name, table, CALLER);
    },
  };
}
