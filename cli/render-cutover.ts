import type { CutoverResult, GateCondition, MoveEvent } from "../cutover/move-service.ts";
import { EXIT, type ExitCode } from "./command.ts";

const SIGN: Readonly<Record<GateCondition["verdict"], string>> = {
  yes: "yes    ",
  no: "NO     ",
  unknown: "UNKNOWN",
  accepted: "ACCEPT ",
  absent: "absent ",
};

export function gateLines(gate: readonly GateCondition[]): string[] {
  return gate.map(({ name, verdict, value, limit }) => {
    return `  ${SIGN[verdict]} ${name}: ${value}${limit === null ? "" : ` (limit ${limit})`}`;
  });
}

/** One line as it happens; null for what the result will say again. */
export function eventLine(event: MoveEvent): string | null {
  if (event.type !== "step") return null;
  const facts = Object.entries(event.facts).map(
    ([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return `${event.step} ${event.state}${facts.length > 0 ? ` ${facts.join(" ")}` : ""}`;
}

const HEADLINE: Readonly<Record<CutoverResult["outcome"], string>> = {
  committed: "committed",
  aborted: "attempt aborted; the tenant works on at",
  refused: "refused by the gate; nothing has happened",
  "would-run": "the gate is open; nothing has happened (dry run)",
  "needs-person": "committed, but a routing call's outcome is not known: a person must look",
};

const EXIT_OF: Readonly<Record<CutoverResult["outcome"], ExitCode>> = {
  committed: EXIT.done,
  aborted: EXIT.failed,
  refused: EXIT.refused,
  "would-run": EXIT.done,
  "needs-person": EXIT.person,
};

export function cutoverExit({ outcome }: CutoverResult): ExitCode {
  return EXIT_OF[outcome];
}

/** Where the tenant was fenced, by the cluster's name: on the way back that is the one that it had moved to. */
function headline({ outcome, status }: CutoverResult): string {
  if (outcome !== "aborted") return HEADLINE[outcome];
  const home = status.attempt?.direction === "reverse" ? status.to : status.from;
  return `${HEADLINE.aborted} ${home} and everything copied is kept`;
}

export function cutoverLines(result: CutoverResult): string[] {
  return [
    `${result.status.move}: ${headline(result)}`,
    ...(result.reason === null ? [] : [`  ${result.reason}`]),
    ...gateLines(result.gate),
    ...pauseLines(result),
    ...(result.pauseMs === null ? [] : [`  pause ${result.pauseMs.toFixed(1)} ms`]),
    `  verification: ${result.status.verification}; rollback: ${result.status.rollback}`,
  ];
}

/** Before: what is predicted and how that is known. Afterwards: what it took, beside what was predicted. */
function pauseLines({ steps, predicted, outcome }: CutoverResult): string[] {
  if (outcome === "would-run" && predicted.length > 0) {
    const total = predicted.reduce((sum, { ms }) => sum + ms, 0);
    return [
      "  predicted pause:",
      ...predicted.map(({ step, ms, how }) => `  ${ms.toFixed(1).padStart(9)} ms  ${step.padEnd(12)} ${how}`),
      `  ${total.toFixed(1).padStart(9)} ms  in all`,
    ];
  }
  const known = new Map(predicted.map(({ step, ms }) => [step, ms]));
  return steps.map(({ step, tookMs }) => {
    const before = known.get(step);
    // A step that came again was predicted once.
    known.delete(step);
    const predictedMs = before === undefined ? "" : ` (predicted ${before.toFixed(1)} ms)`;
    return `  ${tookMs.toFixed(1).padStart(9)} ms  ${step}${predictedMs}`;
  });
}
