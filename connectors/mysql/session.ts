/**
 * A6: what every session of Drayage sets for itself on both sides, never trusting the server's or the source's own
 * defaults. Each is read back on every connection.
 */
export const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  sql_mode: "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES",
  time_zone: "+00:00",
  character_set_client: "utf8mb4",
  character_set_connection: "utf8mb4",
  character_set_results: "utf8mb4",
  transaction_isolation: "READ-COMMITTED",
  // InnoDB changes an index entry in place where the collation sees no difference ('acme', 'ACME'). A condition that is
  // pushed down to the entry is then judged by a value that is newer than the read view: rows are missed whose change is
  // rolled back afterwards, and rows of others come along.
  optimizer_switch: "index_condition_pushdown=off",
  autocommit: "1",
  innodb_lock_wait_timeout: "5",
  lock_wait_timeout: "10",
  net_read_timeout: "30",
  net_write_timeout: "30",
};

/** What a session that writes rows of a tenant sets beside these: parents may arrive after their children. */
export const SINK_SETTINGS: Readonly<Record<string, string>> = {
  foreign_key_checks: "0",
  unique_checks: "1",
  wait_timeout: "30",
};

/** One SET for all; numbers unquoted, since the server takes no text for them. */
export function setStatement(settings: Readonly<Record<string, string>>): string {
  const one = ([name, value]: [string, string]) => `SESSION ${name} = ${/^\d+$/.test(value) ? value : `'${value}'`}`;
  return `SET ${Object.entries(settings).map(one).join(", ")}`;
}

export function readBackStatement(settings: Readonly<Record<string, string>>): string {
  return `SELECT ${Object.keys(settings)
    .map((name) => `@@SESSION.${name} AS ${name}`)
    .join(", ")}`;
}

/**
 * Settings that did not take, as `name: is X, must be Y`. The order of modes in sql_mode says nothing; of
 * optimizer_switch only what is wanted counts.
 */
export function settingsNotTaken(
  wanted: Readonly<Record<string, string>>,
  found: Readonly<Record<string, string | null>>,
): readonly string[] {
  const parts = (text: string) => text.toUpperCase().split(",").sort();
  return Object.entries(wanted).flatMap(([name, value]) => {
    const actual = found[name] ?? "NULL";
    const counts =
      name === "optimizer_switch" ? parts(actual).filter((one) => parts(value).includes(one)) : parts(actual);
    return counts.join() === parts(value).join() ? [] : [`${name}: is ${actual}, must be ${value}`];
  });
}
