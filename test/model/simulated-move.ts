import { type Direction, type Side as Home, wayFrom } from "../../cutover/direction.ts";
import type { Fencing } from "../../cutover/fencing.ts";
import type { AttemptNote, Move, MoveDetails } from "../../cutover/move.ts";
import { allowed, next, type Phase, type PhaseEvent } from "../../cutover/phases.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";
import type { OutcomeStore } from "../../pipeline/outcome.ts";
import { noProbe } from "../../pipeline/probe.ts";
import type { Memory } from "./coordinator.ts";
import type { SimulatedHistory } from "./history.ts";
import type { Lane } from "./lane.ts";
import { otherSide, type SideName } from "./sides.ts";

export type MoveParts = {
  readonly memory: Memory;
  /** Durable, or LEASE_LOST. */
  readonly write: (change: Partial<Memory>) => void;
  readonly clock: Clock;
  readonly fencing: Fencing;
  readonly outcomes: (side: SideName) => OutcomeStore;
  readonly history: SimulatedHistory;
  /** The one that carries from where the tenant lives. */
  readonly lane: () => Lane;
  readonly stopLanes: () => void;
  readonly closeLane: (signal: AbortSignal) => Promise<void>;
  readonly removeRows: (signal: AbortSignal) => Promise<void>;
};

/**
 * As much of a Move as reconcile, move-end and confirm-targets ask for, over what the model remembers: the phases are the
 * product's own table, all else is one store with one lane.
 */
export function simulatedMove(parts: MoveParts): Move {
  const { memory, write } = parts;
  const direction = () => wayFrom(memory.home);
  const details = (): Partial<MoveDetails> => ({
    lives: { side: memory.home as Home, generation: memory.earlier },
    attempt: memory.note === null ? null : ({ ...memory.note, direction: direction() } as AttemptNote),
    earlier: 0,
    lanes: {},
  });
  const store = (home: SideName) => ({
    definition: { name: "db" },
    pair: {
      sourceControl: { outcomes: parts.outcomes(home) },
      targetControl: {
        outcomes: parts.outcomes(otherSide(home)),
        history: parts.history,
        closeLane: (_lane: string, signal: AbortSignal) => parts.closeLane(signal),
      },
      removeRows: (_source: unknown, _on: unknown, signal: AbortSignal) => parts.removeRows(signal),
    },
  });
  const stores = { forward: [store("from")], reverse: [store("to")] };
  const openLanes = () => {
    const { name } = parts.lane();
    return [{ source: { lane: name, tables: [] }, store: stores[direction()][0], direction: direction() }];
  };
  const move = {
    name: "m1",
    get phase() {
      return phaseOf(memory);
    },
    get details() {
      return details();
    },
    get way() {
      return direction();
    },
    require: (event: PhaseEvent) => {
      const now = phaseOf(memory);
      if (!allowed(now).includes(event)) throw new DrayError("ILLEGAL_STEP", { phase: now, event });
    },
    advance: async (event: PhaseEvent) => {
      const to = next(phaseOf(memory), event);
      write({ phase: to === "rolling-back" ? "cutting-over" : (to as Memory["phase"]) });
    },
    setDetails: async ({ attempt }: { readonly attempt?: AttemptNote }) => {
      if (attempt) write({ note: { generation: attempt.generation, homeUuid: attempt.homeUuid } });
    },
    context: {
      clock: parts.clock,
      probe: noProbe,
      logger: { info: () => {}, warn: () => {} },
      stores,
      fencing: (_way: Direction) => parts.fencing,
      journal: {
        get move() {
          return { generation: memory.generation };
        },
        raiseGeneration: async (atLeast: number) => {
          write({ generation: Math.max(memory.generation, atLeast) + 1 });
          return memory.generation;
        },
      },
    },
    lanes: {
      get all() {
        return openLanes();
      },
      roleOf: () => "active",
      stop: async () => parts.stopLanes(),
      load: async () => {},
      alone: (work: () => Promise<void>) => work(),
      dropAll: async () => {},
    },
  };
  // Whatever else those modules might come to ask of it fails at once.
  return move as unknown as Move;
}

/** The model keeps the phases of both ways under one name. */
function phaseOf({ phase, home }: Memory): Phase {
  if (home === "from" || phase === "failed" || phase === "aborting" || phase === "aborted") return phase;
  return phase === "streaming" ? "watching" : "rolling-back";
}
