import { createHmac, randomBytes } from "node:crypto";
import type { Clock } from "../../pipeline/clock.ts";
import type { LaneId, Mark, MarkKind } from "../../pipeline/entry.ts";
import { quoteIdentifier } from "./client.ts";
import type { MarkRow } from "./dray-rows.ts";
import type { SessionPool } from "./session-pool.ts";

/** Sending times that are remembered: half an hour of heartbeats. */
const KEPT_TIMES = 8_192;
const DELETE_ROWS = 1_000;

/**
 * Writes marks on the server that is read, and knows its own again. A nonce is 8 random bytes and 8 that only this
 * process can make of them, so that no list of nonces has to be kept and nobody else's mark is ever taken (M1).
 */
export class Marks {
  readonly #pool: SessionPool;
  readonly #table: string;
  readonly #clock: Clock;
  readonly #secret = randomBytes(32);
  readonly #sentAtMs = new Map<string, number>();

  constructor(options: {
    readonly pool: SessionPool;
    readonly draySchema: string;
    readonly clock: Clock;
  }) {
    this.#pool = options.pool;
    this.#table = `${quoteIdentifier(options.draySchema)}.mark`;
    this.#clock = options.clock;
  }

  /** A nonce for a mark that is announced to the reader before it is committed (M5). */
  newNonce(): string {
    const random = randomBytes(8).toString("hex");
    return random + this.#proof(random);
  }

  isOurs(row: MarkRow): boolean {
    const { nonce } = row.mark;
    return nonce.slice(16) === this.#proof(nonce.slice(0, 16));
  }

  /** Returned once committed. Throws where the outcome is unknown: such a mark may appear, and nobody waits for it. */
  async commit(
    mark: Omit<Mark, "nonce"> & { readonly nonce?: string },
    signal: AbortSignal,
  ): Promise<Mark & { readonly scope: LaneId | "server"; readonly kind: MarkKind }> {
    const nonce = mark.nonce ?? this.newNonce();
    const whole = { scope: mark.scope, epoch: mark.epoch, nonce, kind: mark.kind };
    await this.#pool.use(async (session) => {
      this.#remember(nonce);
      await session.execute(
        `INSERT INTO ${this.#table} (scope, epoch, nonce, kind) VALUES (?, ?, UNHEX(?), ?)`,
        [mark.scope, String(mark.epoch), nonce, mark.kind],
        signal,
      );
    }, signal);
    return whole;
  }

  /** When the mark's INSERT was sent, on this process's monotonic clock (M3); undefined once it is forgotten. */
  sentAtMs(nonce: string): number | undefined {
    return this.#sentAtMs.get(nonce);
  }

  /** M1: `below` is the lowest of the newest marks that the lanes of this server have in their logs. Small batches. */
  async deleteBelow(below: bigint, signal: AbortSignal): Promise<number> {
    let deleted = 0;
    for (;;) {
      const { affectedRows } = await this.#pool.use(
        (session) =>
          session.execute(
            `DELETE FROM ${this.#table} WHERE id < ? ORDER BY id LIMIT ${DELETE_ROWS}`,
            [String(below)],
            signal,
          ),
        signal,
      );
      deleted += affectedRows;
      if (affectedRows < DELETE_ROWS) return deleted;
    }
  }

  #proof(random: string): string {
    return createHmac("sha256", this.#secret).update(random).digest("hex").slice(0, 16);
  }

  #remember(nonce: string): void {
    this.#sentAtMs.set(nonce, this.#clock.monotonicMs());
    if (this.#sentAtMs.size <= KEPT_TIMES) return;
    const oldest = this.#sentAtMs.keys().next();
    if (!oldest.done) this.#sentAtMs.delete(oldest.value);
  }
}
