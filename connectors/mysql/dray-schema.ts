/**
 * The tables that Drayage keeps in a cluster, in a schema of its own (`dray` by default, M). The installation's id says
 * whose they are: another's is refused with DRAY_SCHEMA_TAKEN. None has a trigger, a foreign key or a default that is
 * not a constant, so that their row events are exactly what was inserted.
 */
export const DRAY_TABLES: Readonly<Record<string, string>> = {
  installation: `
    one TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at TIMESTAMP(6) NOT NULL`,
  // M1: inserted rows only; the nonce is never reused.
  mark: `
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    scope VARCHAR(190) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    epoch BIGINT UNSIGNED NOT NULL,
    nonce BINARY(16) NOT NULL,
    kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    UNIQUE KEY nonce (nonce), KEY scope (scope, id)`,
  // A7: one row a lane; the higher epoch owns it, and a closed one is closed for good (C5).
  applier: `
    lane VARCHAR(190) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    epoch BIGINT UNSIGNED NOT NULL,
    closed TINYINT UNSIGNED NOT NULL,
    connections JSON NOT NULL`,
  // A8: whose move each lane carries into this server; a lane whose copied rows an abort has removed is gone from it.
  lane: `
    lane VARCHAR(190) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    move VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    tenant VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    tables JSON NOT NULL`,
  // A2: the first write of every applying transaction. NULL seqs mark nothing applied and only name the lane (C7).
  applied: `
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    lane VARCHAR(190) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    first_seq BIGINT UNSIGNED NULL,
    last_seq BIGINT UNSIGNED NULL,
    log_nonce CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL,
    UNIQUE KEY lane_seq (lane, first_seq)`,
  watermark: `
    lane VARCHAR(190) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    seq BIGINT UNSIGNED NOT NULL,
    log_offset VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    log_epoch BIGINT UNSIGNED NULL,
    log_nonce CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL`,
  // C1: the outcome of an attempt; the first INSERT wins.
  cutover: `
    move VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    generation BIGINT UNSIGNED NOT NULL,
    outcome VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    home_uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    facts JSON NOT NULL,
    PRIMARY KEY (move, generation)`,
  // C4: SQL adapters check and write the generation in their own transaction.
  generation: `
    adapter VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    move VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    tenant VARBINARY(255) NOT NULL,
    generation BIGINT UNSIGNED NOT NULL,
    state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    home VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    routed_generation BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (adapter, move, tenant)`,
};

/** Statements that make the schema where it is missing; safe to run again. `quote` is the one quoting function (A6). */
export function drayDdl(schema: string, quote: (identifier: string) => string): readonly string[] {
  return [
    `CREATE SCHEMA IF NOT EXISTS ${quote(schema)} DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
    ...Object.entries(DRAY_TABLES).map(
      ([table, columns]) => `CREATE TABLE IF NOT EXISTS ${quote(schema)}.${quote(table)} (${columns}\n) ENGINE=InnoDB`,
    ),
  ];
}
