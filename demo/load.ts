import { Holdings } from "./holdings.ts";
import type { LedgerWriter } from "./ledger.ts";
import type { Pool } from "./pool.ts";
import { Random } from "./random.ts";
import type { RouterClient, Where } from "./router-client.ts";
import type { Side, TableName } from "./schema.ts";
import { nextTransaction, RowMissing, Session, type Transaction } from "./transactions.ts";

const TICK_MS = 10;
const REFUSED_RETRY_MS = 5;
const FAILED_RETRY_MS = 50;
const FAILURES_MAX = 100;
/** Older answers than this are not acted on at COMMIT; the fence's grace must be longer. */
export const STALE_ANSWER_MS = 50;
/** What a tenant may fall behind its rate and still make up for. */
const BACKLOG_SECONDS = 3;
const FOCUS_SHARE = 0.5;
/** So many transactions of a tenant at once, where commits are slow; each waits on the disk, so they share its syncs. */
const FOCUS_SLOTS = 12;
const OTHER_SLOTS = 4;
/** An answer of this age is asked for again before COMMIT, so that a slow statement seldom costs the transaction. */
const REFRESH_MS = STALE_ANSWER_MS / 2;

export interface TenantStats {
  acknowledged: Record<Side, number>;
  unknown: number;
  refused: number;
  staleRollbacks: number;
  failed: number;
}
export interface StrayWrite {
  readonly table: TableName;
  readonly key: string;
}

type Lane = {
  readonly holdings: Holdings;
  readonly stats: TenantStats;
  dueCount: number;
  busyCount: number;
};

/**
 * Writes for every tenant at a given pace until stopped. One tenant, the focus, has half of the pace. Nothing is
 * acknowledged that the ledger does not know, and nothing is committed on an answer of the router older than 50 ms.
 */
export class Load {
  readonly #ledger: LedgerWriter;
  readonly #router: RouterClient;
  readonly #pools: Readonly<Record<Side, Pool>>;
  readonly #random: Random;
  readonly #perSecond: number;
  readonly #lanes = new Map<string, Lane>();
  readonly #running = new Set<Promise<void>>();
  #focus: string;
  #timer: NodeJS.Timeout | undefined;
  #tickedAtMs = 0;
  #startedAtMs = 0;
  #seconds = 0;
  #heldAtMs: number | null = null;
  #lastError: string | null = null;

  constructor(options: {
    readonly ledger: LedgerWriter;
    readonly router: RouterClient;
    readonly pools: Readonly<Record<Side, Pool>>;
    readonly perSecond: number;
    readonly seed: number;
    readonly focus: string;
  }) {
    this.#ledger = options.ledger;
    this.#router = options.router;
    this.#pools = options.pools;
    this.#perSecond = options.perSecond;
    this.#random = new Random({ seed: options.seed });
    this.#focus = options.focus;
  }

  /** Learns which rows the tenants have, then begins. */
  async start(tenants: readonly string[]): Promise<void> {
    for (const tenant of tenants) {
      const { side } = await this.#router.where(tenant);
      const connection = await this.#pools[side].take();
      const holdings = await Holdings.load(connection, tenant);
      await connection.query("ROLLBACK");
      this.#pools[side].give(connection);
      const stats = { acknowledged: { source: 0, target: 0 }, unknown: 0, refused: 0, staleRollbacks: 0, failed: 0 };
      this.#lanes.set(tenant, { holdings, stats, dueCount: 0, busyCount: 0 });
    }
    this.#startedAtMs = this.#tickedAtMs = performance.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  focus(tenant: string): void {
    if (!this.#lanes.has(tenant)) throw new Error(`no tenant ${tenant}`);
    this.#focus = tenant;
  }

  /** Resolves when every transaction has its outcome, or none because it was never sent. */
  async stop(): Promise<void> {
    if (this.#timer === undefined) return;
    this.release();
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#seconds = (performance.now() - this.#startedAtMs) / 1000;
    await Promise.all(this.#running);
  }

  /** Resolves when nothing is under way; nothing begins before `release`. The pace is of the time between. */
  async hold(): Promise<void> {
    this.#heldAtMs ??= performance.now();
    await Promise.all(this.#running);
  }

  release(): void {
    if (this.#heldAtMs === null) return;
    const heldMs = performance.now() - this.#heldAtMs;
    this.#startedAtMs += heldMs;
    this.#tickedAtMs = performance.now();
    this.#heldAtMs = null;
  }

  stats(): { seconds: number; lastError: string | null; tenants: Record<string, TenantStats> } {
    const tenants = Object.fromEntries([...this.#lanes].map(([tenant, { stats }]) => [tenant, stats]));
    const seconds = this.#isStopped ? this.#seconds : (performance.now() - this.#startedAtMs) / 1000;
    return { seconds, lastError: this.#lastError, tenants };
  }

  /** Sabotage: one write at the source that nobody may make, acknowledged there whatever the router says. */
  async stray(tenant: string): Promise<StrayWrite> {
    const lane = this.#lanes.get(tenant);
    const user = lane?.holdings.takeUser(this.#random);
    if (user === undefined) throw new Error(`no row of ${tenant} to write`);
    const connection = await this.#pools.source.take();
    try {
      const session = new Session({ connection, tenant });
      await session.update("users", user, { name: "A Stray" });
      const serial = this.#ledger.intent({ tenant, side: "source", stray: true, writes: session.writes });
      await connection.query("COMMIT");
      this.#ledger.outcome(serial, "acknowledged", wallMs());
      this.#pools.source.give(connection);
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return { table: "users", key: user };
  }

  /** Sabotage: a row that is written to no more, so that what is done to it stays. */
  reserve(tenant: string): StrayWrite {
    const pair = this.#lanes.get(tenant)?.holdings.takePair(this.#random);
    if (pair === undefined) throw new Error(`no row of ${tenant} to leave alone`);
    return { table: "orders", key: pair.order };
  }

  get #isStopped(): boolean {
    return this.#timer === undefined;
  }

  #tick(): void {
    if (this.#heldAtMs !== null) return;
    const nowMs = performance.now();
    const seconds = (nowMs - this.#tickedAtMs) / 1000;
    this.#tickedAtMs = nowMs;
    const others = this.#lanes.size - 1;
    for (const [tenant, lane] of this.#lanes) {
      const share = tenant === this.#focus ? (others === 0 ? 1 : FOCUS_SHARE) : (1 - FOCUS_SHARE) / others;
      const rate = this.#perSecond * share;
      lane.dueCount = Math.min(lane.dueCount + rate * seconds, Math.max(1, rate * BACKLOG_SECONDS));
      this.#fill(tenant, lane);
    }
  }

  #fill(tenant: string, lane: Lane): void {
    const slots = tenant === this.#focus ? FOCUS_SLOTS : OTHER_SLOTS;
    while (!this.#isStopped && this.#heldAtMs === null && lane.dueCount >= 1 && lane.busyCount < slots) {
      lane.dueCount--;
      lane.busyCount++;
      const run = this.#one(lane).finally(() => {
        this.#running.delete(run);
        lane.busyCount--;
        this.#fill(tenant, lane);
      });
      this.#running.add(run);
    }
  }

  async #one(lane: Lane): Promise<void> {
    const transaction = nextTransaction(lane.holdings, this.#random, Date.now());
    let failures = 0;
    for (;;) {
      const result = await this.#attempt(lane, transaction).catch((error: unknown) => {
        this.#lastError = String(error);
        lane.stats.failed++;
        return error instanceof RowMissing ? ("missing" as const) : ("failed" as const);
      });
      if (result === "committed") return transaction.committed();
      // Its rows are never touched again, so that the check finds them as they were left.
      if (result === "unknown" || result === "missing") return;
      if (this.#isStopped) return transaction.abandoned();
      if (result === "refused") await sleep(REFUSED_RETRY_MS);
      if (result === "failed") {
        if (++failures === FAILURES_MAX) return transaction.abandoned();
        await sleep(FAILED_RETRY_MS);
      }
    }
  }

  async #attempt(lane: Lane, transaction: Transaction): Promise<"committed" | "unknown" | "refused" | "stale"> {
    const { tenant } = lane.holdings;
    const { stats } = lane;
    let answer = await this.#router.where(tenant);
    const { side } = answer;
    if (answer.fenced) {
      stats.refused++;
      return "refused";
    }
    const connection = await this.#pools[side].take();
    const session = new Session({ connection, tenant });
    let isCommitSent = false;
    let serial = 0;
    try {
      await transaction.run(session);
      if (ageMs(answer) > REFRESH_MS) answer = await this.#router.where(tenant);
      const isElsewhere = answer.fenced || answer.side !== side;
      if (isElsewhere || ageMs(answer) > STALE_ANSWER_MS) {
        await connection.query("ROLLBACK");
        this.#pools[side].give(connection);
        if (isElsewhere) stats.refused++;
        else stats.staleRollbacks++;
        return isElsewhere ? "refused" : "stale";
      }
      serial = this.#ledger.intent({ tenant, side, stray: false, writes: session.writes });
      isCommitSent = true;
      await connection.query("COMMIT");
      this.#ledger.outcome(serial, "acknowledged", wallMs());
      stats.acknowledged[side]++;
      this.#pools[side].give(connection);
      return "committed";
    } catch (error) {
      // Closing the session rolls back what was not sent to be committed.
      connection.destroy();
      if (!isCommitSent) throw error;
      this.#ledger.outcome(serial, "unknown", wallMs());
      stats.unknown++;
      return "unknown";
    }
  }
}

const ageMs = ({ askedAtMs }: Where): number => performance.now() - askedAtMs;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Wall time with the resolution and steadiness of the monotonic clock. */
function wallMs(): number {
  return performance.timeOrigin + performance.now();
}
