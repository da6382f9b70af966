import { reasonOf } from "../pipeline/backoff.ts";
import type { Holding } from "../sinks/target-history.ts";
import type { AcknowledgedTarget } from "./acknowledged.ts";
import { opposite } from "./direction.ts";
import type { Move, MoveDetails } from "./move.ts";
import type { Phase } from "./phases.ts";

/** A server that does not answer by then says nothing this time. */
const ANSWER_MS = 10_000;
/** The tenant serves at the target of the last switch. */
const FOLLOWED: ReadonlySet<Phase> = new Set<Phase>(["watching", "finishing", "rolled-back"]);
/** The same behind a way back, whatever has become of the move since: an attempt that was aborted, a pause, a recopy. */
const FOLLOWED_AT_HOME: ReadonlySet<Phase> = new Set<Phase>(["copying", "streaming", "paused", "failed"]);
const ALARMS = ["TARGET_LOST_COMMITS", "TARGET_UNPROVEN"] as const;

/** Whether the side that the tenant lives on was the target of a switch, and serves it in this phase. */
export function isFollowed(phase: Phase, { lives, targets }: Pick<MoveDetails, "lives" | "targets">): boolean {
  return FOLLOWED.has(phase) || (FOLLOWED_AT_HOME.has(phase) && lives.side === "from" && targets.length > 0);
}

/**
 * C6, behind the commit: whichever server answers as the target has all that was acknowledged before it. Looked at every
 * few seconds while the move is watching; one that has it counts as the target from then on, one that lacks something is
 * an alarm until it has it, or another one does. Of a target that does not answer nothing is claimed.
 */
export class TargetWatch {
  readonly #move: Move;
  /** By store, what was said last: nobody is told twice, and a change is told either way. */
  readonly #said = new Map<string, string>();
  #running: Promise<void> | null = null;

  constructor(move: Move) {
    this.#move = move;
  }

  /** Begins where it is followed, and has not begun; it ends by itself with the phase, or with the move's life. */
  follow(): void {
    if (this.#running !== null || !this.#isFollowed) return;
    this.#running = this.#run().finally(() => {
      this.#running = null;
    });
  }

  get #isFollowed(): boolean {
    return isFollowed(this.#move.phase, this.#move.details);
  }

  /** Resolves once nothing of it is under way any more; the caller has ended what it follows. */
  async ended(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    const { context, life } = this.#move;
    const { alarms, clock, settings, logger } = context;
    this.#said.clear();
    while (!life.aborted && this.#isFollowed) {
      for (const target of this.#move.details.targets) {
        await this.#look(target, life).catch((error: unknown) => {
          if (life.aborted) return;
          const { name: move } = this.#move;
          logger.error({ move, store: target.store, error: reasonOf(error) }, "what the target holds was not kept");
        });
      }
      await clock.sleep(settings.targetWatchMs, life).catch(() => {});
    }
    if (life.aborted) return;
    // Whoever closed the move has read its alarms; one that came in that very moment must not stay open for good.
    for (const code of ALARMS) await alarms.clear(this.#move.name, code).catch(() => {});
  }

  async #look(target: AcknowledgedTarget, life: AbortSignal): Promise<void> {
    const { context, name } = this.#move;
    const { store } = target;
    const way = context.stores[opposite(this.#move.way)];
    const pair = way.find(({ definition }) => definition.name === store)?.pair;
    if (pair === undefined) return;
    const signal = AbortSignal.any([life, AbortSignal.timeout(ANSWER_MS)]);
    const holding = await pair.targetControl.history.holds(target.set, signal).catch((error: unknown) => {
      if (!life.aborted && this.#said.get(store) !== "silent") {
        const facts = { move: name, store, error: reasonOf(error) };
        context.logger.warn(facts, "the target does not answer: what it holds cannot be told");
      }
      return null;
    });
    if (life.aborted || !this.#isFollowed) return;
    const says = holding === null ? "silent" : verdictOf(target, holding);
    if (this.#said.get(store) === says) return;
    if (holding !== null) await this.#tell(target, holding);
    this.#said.set(store, says);
  }

  async #tell(target: AcknowledgedTarget, { serverUuid: now, missing }: Holding): Promise<void> {
    const { context, name } = this.#move;
    const { store, set, serverUuid: was } = target;
    if (missing !== null) {
      const facts = { store, was, now, missing: missing.set, count: String(missing.count) };
      const message = `the server that answers as the target (${now}) lacks ${missing.count} transactions that were acknowledged before the commit: ${missing.set}`;
      await context.alarms.raise(name, "TARGET_LOST_COMMITS", message, facts);
      await this.#move.note("target-lost-commits", facts, "server");
    } else if (set === null && now !== was) {
      const message = `another server (${now}) answers as the target than at the commit (${was}), and there are no GTIDs to tell what it holds`;
      await context.alarms.raise(name, "TARGET_UNPROVEN", message, { store, was, now });
      await this.#move.note("target-unproven", { store, was, now }, "server");
    } else {
      const open = await context.alarms.of(name);
      const regained = ALARMS.filter((code) => open.some((alarm) => alarm.code === code));
      if (now !== was || regained.length > 0)
        await this.#move.note("target-has-all", { store, was, now, set }, "server");
      if (now !== was) {
        await this.#move.setDetails(({ targets }) => ({
          targets: targets.map((each) => (each.store === store ? { ...each, serverUuid: now } : each)),
        }));
      }
      for (const code of regained) await context.alarms.clear(name, code);
    }
  }
}

function verdictOf({ serverUuid, set }: AcknowledgedTarget, { serverUuid: now, missing }: Holding): string {
  if (missing !== null) return `lost ${now} ${missing.set}`;
  if (set === null && now !== serverUuid) return `unproven ${now}`;
  return `has all ${now}`;
}
