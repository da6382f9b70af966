import { DrayError } from "../pipeline/errors.ts";
import type { ControlStore, JournalEntry, JsonObject, MoveRecord, NewMove } from "./control-store.ts";
import { isPhase, next, type Phase, type PhaseEvent } from "./phases.ts";

/**
 * A move's place in its state machine: every step is durable in the journal before anything is done because of it (K1).
 * Steps are compared and set, so that of two that decide at once one is told so.
 */
export class Journal {
  readonly #store: ControlStore;
  #move: MoveRecord;

  private constructor(store: ControlStore, move: MoveRecord) {
    this.#store = store;
    this.#move = move;
  }

  static async open(store: ControlStore, name: string): Promise<Journal> {
    return new Journal(store, await store.getMove(name));
  }

  get move(): MoveRecord {
    return this.#move;
  }

  get phase(): Phase {
    const { phase } = this.#move;
    if (!isPhase(phase)) throw new DrayError("CONTROL_STORE_DAMAGED", { move: this.#move.name, phase });
    return phase;
  }

  /** Details that are given are kept in the same step: no crash leaves one without the other. */
  async advance(event: PhaseEvent, facts: JsonObject, by: string, details?: JsonObject): Promise<Phase> {
    const from = this.phase;
    const to = next(from, event);
    const { name, journalSeq } = this.#move;
    const entry = await this.#store.appendJournal(name, journalSeq, { from, event, to, facts, by }, details);
    this.#move = { ...this.#move, phase: to, journalSeq: entry.seq, ...(details === undefined ? {} : { details }) };
    return to;
  }

  /** Something worth keeping that changes no phase: who looked at bodies, which seq was skipped. */
  async note(event: string, facts: JsonObject, by: string): Promise<void> {
    const phase = this.phase;
    const draft = { from: phase, event, to: phase, facts, by };
    const entry = await this.#store.appendJournal(this.#move.name, this.#move.journalSeq, draft);
    this.#move = { ...this.#move, journalSeq: entry.seq };
  }

  /** The name's next move begins where this one ended; what both were stands in the one journal. */
  async startAgain(move: NewMove): Promise<void> {
    const from = this.phase;
    const to = next(from, "start-again");
    const { tenant, from: source, to: target, generation } = this.#move;
    const facts = { earlier: { tenant, from: source, to: target, generation }, from: move.from, to: move.to };
    const entry = { from, event: "start-again", to, facts, by: move.by };
    this.#move = await this.#store.startAgain({ ...move, phase: to }, this.#move.journalSeq, entry);
  }

  async setDetails(details: JsonObject): Promise<void> {
    this.#move = await this.#store.updateMove(this.#move.name, this.#move.journalSeq, details);
  }

  /** 1 + the highest of ours and `atLeast`; never handed out again. */
  async raiseGeneration(atLeast: number): Promise<number> {
    const generation = await this.#store.raiseGeneration(this.#move.name, atLeast);
    this.#move = { ...this.#move, generation };
    return generation;
  }

  entries(afterSeq: number): Promise<readonly JournalEntry[]> {
    return this.#store.journal(this.#move.name, afterSeq);
  }
}
