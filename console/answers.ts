import type { Problem } from "../cutover/move-service.ts";
import { type DrayError, type ErrorCode, isDrayError } from "../pipeline/errors.ts";

/** What kind of no it is; the CLI's exit code is made of it: 1 failed, 2 usage, 3 refused, 4 held, 5 person. */
export type ErrorKind = "failed" | "usage" | "refused" | "held" | "person";

export type ErrorAnswer = Problem & { readonly kind: ErrorKind; readonly next: readonly string[] };

type Meaning = { readonly status: number; readonly kind: ErrorKind; readonly next?: readonly string[] };

/** Codes with a meaning of their own over HTTP; all others are 503 where trying again can help, else 500. */
const MEANINGS: Readonly<Partial<Record<ErrorCode, Meaning>>> = {
  REQUEST_INVALID: { status: 400, kind: "usage" },
  UNAUTHORIZED: { status: 401, kind: "failed" },
  ROLE_TOO_LOW: { status: 403, kind: "failed" },
  MOVE_UNKNOWN: { status: 404, kind: "usage", next: ["dray list"] },
  MOVE_NAME_INVALID: { status: 400, kind: "usage" },
  LANE_UNKNOWN: { status: 404, kind: "usage" },
  TABLE_UNKNOWN: { status: 404, kind: "usage" },
  SCHEMA_UNKNOWN: { status: 404, kind: "usage" },
  TENANT_KEY_INVALID: { status: 400, kind: "usage" },
  ADAPTER_NOT_HTTP: { status: 400, kind: "usage" },
  CLUSTER_UNKNOWN: { status: 400, kind: "usage" },
  ADAPTER_UNKNOWN: { status: 400, kind: "usage" },
  HOST_NOT_ALLOWED: { status: 403, kind: "usage" },
  MOVE_EXISTS: { status: 409, kind: "usage", next: ["dray list"] },
  ILLEGAL_STEP: { status: 409, kind: "failed" },
  JOURNAL_CONFLICT: { status: 409, kind: "failed" },
  CONFIG_INVALID: { status: 422, kind: "refused" },
  MANIFEST_INVALID: { status: 422, kind: "refused" },
  PREFLIGHT_REFUSED: { status: 422, kind: "refused" },
  MOVE_HELD: { status: 423, kind: "held" },
  ROUTE_AMBIGUOUS: { status: 409, kind: "person" },
  ROUTING_OPEN: { status: 409, kind: "person" },
  OUTCOME_UNKNOWN: { status: 409, kind: "person" },
  OUTCOME_UNREADABLE: { status: 409, kind: "person" },
  ALREADY_COMMITTED: { status: 409, kind: "failed" },
  OWNER_UNPROVEN: { status: 409, kind: "failed" },
};

export type HttpError = { readonly status: number; readonly answer: ErrorAnswer };

/** K4: every error says what is wrong, what to do, and what can be done next. An unexpected one tells no details. */
export function httpError(error: unknown): HttpError {
  if (!isDrayError(error)) return { status: 500, answer: internal() };
  const meaning = MEANINGS[error.code] ?? {
    status: error.problem.retry === "backoff" ? 503 : 500,
    kind: "failed" as const,
  };
  const { next, ...facts } = error.facts;
  const suggested = Array.isArray(next) ? next.map(String) : (meaning.next ?? []);
  return {
    status: meaning.status,
    answer: { ...problemOf(error), facts, kind: meaning.kind, next: suggested },
  };
}

function problemOf({ code, message, facts, problem }: DrayError): Problem {
  return { code, message, facts, remedy: problem.remedy };
}

function internal(): ErrorAnswer {
  return {
    code: "INTERNAL",
    message: "INTERNAL: something unexpected went wrong",
    facts: {},
    remedy: "This is a defect: the server's log has the details. Report it.",
    kind: "failed",
    next: [],
  };
}
