import { DrayError, isDrayError } from "../../pipeline/errors.ts";

/**
 * A8. transient: nothing is wrong for good, and the outcome of what was under way may be unknown. guard: a row that is
 * not the tenant's own was met and nothing was changed (A1). final: trying again meets the same.
 */
export type MysqlErrorKind = "transient" | "guard" | "final";

export type MysqlFailure = {
  readonly kind: MysqlErrorKind;
  /** MySQL's or the network's own name: ER_LOCK_DEADLOCK, ECONNRESET, … */
  readonly code: string;
  /** The connection is gone: what was under way has an unknown outcome. */
  readonly connectionLost: boolean;
};

const LOST: ReadonlySet<string> = new Set([
  "PROTOCOL_CONNECTION_LOST",
  "PROTOCOL_ENQUEUE_AFTER_FATAL_ERROR",
  "PROTOCOL_ENQUEUE_AFTER_QUIT",
  "PROTOCOL_PACKETS_OUT_OF_ORDER",
  "ECONNRESET",
  "ECONNREFUSED",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EHOSTDOWN",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ENOENT",
  "ER_SERVER_SHUTDOWN",
  "ER_QUERY_INTERRUPTED_SHUTDOWN",
  "ER_CLIENT_INTERACTION_TIMEOUT",
  "ER_CONNECTION_KILLED",
  "ER_SESSION_WAS_KILLED",
  "ER_NET_READ_ERROR",
  "ER_NET_READ_INTERRUPTED",
  "ER_NET_ERROR_ON_WRITE",
  "ER_NET_WRITE_INTERRUPTED",
  "ER_NEW_ABORTING_CONNECTION",
  "ER_ABORTING_CONNECTION",
  "MYSQL_STATEMENT_ABORTED",
]);

const TRANSIENT: ReadonlySet<string> = new Set([
  "ER_LOCK_DEADLOCK",
  "ER_LOCK_WAIT_TIMEOUT",
  "ER_LOCK_NOWAIT",
  "ER_QUERY_INTERRUPTED",
  "ER_QUERY_TIMEOUT",
  "ER_OPTION_PREVENTS_STATEMENT",
  "ER_READ_ONLY_MODE",
  "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION",
  "ER_SCHEMA_READ_ONLY",
  "ER_CON_COUNT_ERROR",
  "ER_TOO_MANY_USER_CONNECTIONS",
  "ER_USER_LIMIT_REACHED",
  "ER_OUT_OF_RESOURCES",
  "ER_OUTOFMEMORY",
  "ER_RECORD_FILE_FULL",
  "ER_DISK_FULL",
  "ER_DISK_FULL_NOWAIT",
  "ER_ENGINE_OUT_OF_MEMORY",
  "ER_LOCK_TABLE_FULL",
  "ER_TRANS_CACHE_FULL",
  "ER_ERROR_ON_WRITE",
  "ER_ERROR_DURING_COMMIT",
  "ER_NEED_REPREPARE",
  "ER_TABLE_DEF_CHANGED",
  "ER_CHECKREAD",
]);

/** Refused logins; mysql2 gives the client's own name where the server answered before the handshake was done. */
const ACCESS: ReadonlySet<string> = new Set([
  "ER_ACCESS_DENIED_ERROR",
  "ER_DBACCESS_DENIED_ERROR",
  "ER_ACCESS_DENIED_NO_PASSWORD_ERROR",
  "ER_ACCOUNT_HAS_BEEN_LOCKED",
  "ER_MUST_CHANGE_PASSWORD",
  "ER_MUST_CHANGE_PASSWORD_LOGIN",
  "ER_HOST_NOT_PRIVILEGED",
  "ER_HOST_IS_BLOCKED",
  "ER_SECURE_TRANSPORT_REQUIRED",
  "AUTH_SWITCH_PLUGIN_ERROR",
  "HANDSHAKE_NO_SSL_SUPPORT",
]);

/** Errors by number that mysql2 has no name for. */
const NAMES: Readonly<Record<number, string>> = { 3989: "ER_SCHEMA_READ_ONLY", 4031: "ER_CLIENT_INTERACTION_TIMEOUT" };

export function classifyMysqlError(error: unknown): MysqlFailure {
  if (isDrayError(error)) {
    if (error.cause !== undefined && error.code.startsWith("MYSQL_")) return classifyMysqlError(error.cause);
    return { kind: error.problem.retry === "backoff" ? "transient" : "final", code: error.code, connectionLost: false };
  }
  const code = codeOf(error);
  if (LOST.has(code)) return { kind: "transient", code, connectionLost: true };
  if (TRANSIENT.has(code)) return { kind: "transient", code, connectionLost: false };
  if (code === "ER_DATA_OUT_OF_RANGE" || code === "ER_DUP_ENTRY" || code === "ER_DUP_ENTRY_WITH_KEY_NAME") {
    return { kind: "guard", code, connectionLost: false };
  }
  return { kind: "final", code, connectionLost: false };
}

/** The error with the server's name on it and a retry class; the password never gets in, nor do a statement's values. */
export function mysqlError(error: unknown, server: string, doing: "connect" | "run"): DrayError {
  if (isDrayError(error)) return error;
  const { kind, code } = classifyMysqlError(error);
  const number = numberOf(error);
  const facts = { server, error: code, ...(number === undefined ? {} : { number }), message: messageOf(error, code) };
  if (ACCESS.has(code)) return new DrayError("MYSQL_ACCESS_DENIED", facts, error);
  if (kind === "transient") {
    return new DrayError(doing === "connect" ? "MYSQL_UNREACHABLE" : "MYSQL_TRANSIENT", facts, error);
  }
  return new DrayError(kind === "guard" ? "MYSQL_GUARD" : "MYSQL_REFUSED", facts, error);
}

function codeOf(error: unknown): string {
  const number = numberOf(error);
  const byNumber = number === undefined ? undefined : NAMES[number];
  if (byNumber) return byNumber;
  if (typeof error === "object" && error !== null && "code" in error && typeof error.code === "string") {
    return error.code;
  }
  // What mysql2 says, without a code, of a connection that has ended meanwhile.
  if (error instanceof Error && /closed state|connection is closed/i.test(error.message))
    return "PROTOCOL_CONNECTION_LOST";
  return number === undefined ? "UNKNOWN" : `MYSQL_${number}`;
}

function numberOf(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("errno" in error)) return undefined;
  return typeof error.errno === "number" && error.errno > 0 ? error.errno : undefined;
}

/** What these quote are names of tables, columns, accounts and variables; any other message may quote a row's value. */
const QUOTES_NAMES: ReadonlySet<string> = new Set([
  ...ACCESS,
  "ER_BAD_DB_ERROR",
  "ER_BAD_FIELD_ERROR",
  "ER_BAD_NULL_ERROR",
  "ER_COLUMNACCESS_DENIED_ERROR",
  "ER_DATA_TOO_LONG",
  "ER_NO_DEFAULT_FOR_FIELD",
  "ER_NO_SUCH_TABLE",
  "ER_OPTION_PREVENTS_STATEMENT",
  "ER_SCHEMA_READ_ONLY",
  "ER_SPECIFIC_ACCESS_DENIED_ERROR",
  "ER_TABLEACCESS_DENIED_ERROR",
  "ER_UNKNOWN_SYSTEM_VARIABLE",
]);

/** K5: a row's value never gets into a log. */
function messageOf(error: unknown, code: string): string | undefined {
  if (!(error instanceof Error)) return undefined;
  return QUOTES_NAMES.has(code) ? error.message : error.message.replaceAll(/'.*'|".*"/gs, "'…'");
}
