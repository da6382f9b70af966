import { DRAY_TABLES } from "./dray-schema.ts";
import { quoteIdentifier } from "./identifier.ts";

export type GrantPlan = {
  /** 'user'@'host' as it stands in a GRANT. */
  readonly account: string;
  readonly draySchema: string;
  readonly schemas: readonly string[];
};

export type Grant = {
  readonly privileges: readonly string[];
  /** `*.*`, `schema.*` or `schema.table`, unquoted. */
  readonly on: string;
  readonly why: string;
};

/** Of mysql.user, what says who may write `dray.*`; never a column that holds a secret. */
export const USER_COLUMNS = [
  "Host",
  "User",
  "account_locked",
  "Insert_priv",
  "Update_priv",
  "Delete_priv",
  "Super_priv",
];

/** READ ONLY as a fence needs ALTER on its schema; nothing else of Drayage does. */
export function sourceGrants(plan: GrantPlan & { readonly fencedSchemas?: readonly string[] }): readonly Grant[] {
  return [
    { privileges: ["REPLICATION SLAVE", "REPLICATION CLIENT"], on: "*.*", why: "reads the binary log" },
    { privileges: ["PROCESS"], on: "*.*", why: "sees transactions in flight (C11)" },
    { privileges: ["XA_RECOVER_ADMIN"], on: "*.*", why: "sees prepared XA transactions (M7)" },
    ...watching(),
    ...plan.schemas.map((schema) => ({
      privileges: ["SELECT", "TRIGGER", ...(plan.fencedSchemas?.includes(schema) ? ["ALTER"] : [])],
      on: `${schema}.*`,
      why: "reads the tenant's rows, and sees triggers",
    })),
    dray(plan.draySchema),
  ];
}

export function targetGrants(plan: GrantPlan): readonly Grant[] {
  return [
    { privileges: ["REPLICATION CLIENT"], on: "*.*", why: "reads the state of the binary log" },
    { privileges: ["PROCESS"], on: "*.*", why: "sees transactions in flight (A7)" },
    { privileges: ["XA_RECOVER_ADMIN"], on: "*.*", why: "sees prepared XA transactions (M7)" },
    ...watching(),
    ...plan.schemas.map((schema) => ({
      privileges: ["SELECT", "INSERT", "UPDATE", "DELETE", "TRIGGER"],
      on: `${schema}.*`,
      why: "writes the tenant's rows, and sees triggers (A9)",
    })),
    dray(plan.draySchema),
  ];
}

export function grantSql(grant: Grant, account: string): string {
  return `GRANT ${grant.privileges.join(", ")} ON ${quoteTarget(grant.on)} TO ${account}`;
}

/** `'user'@'host'` from what CURRENT_USER() answers. */
export function quoteAccount(currentUser: string): string {
  const at = currentUser.lastIndexOf("@");
  const quote = (part: string) => `'${part.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
  return `${quote(currentUser.slice(0, at))}@${quote(currentUser.slice(at + 1))}`;
}

function watching(): readonly Grant[] {
  return [
    { privileges: ["SELECT"], on: "performance_schema.*", why: "sees who holds locks on covered tables (C11)" },
    { privileges: [`SELECT (${USER_COLUMNS.join(", ")})`], on: "mysql.user", why: "sees who may write dray.* (C7)" },
    { privileges: ["SELECT"], on: "mysql.db", why: "sees who may write dray.* (C7)" },
    { privileges: ["SELECT"], on: "mysql.tables_priv", why: "sees who may write dray.* (C7)" },
  ];
}

/** W6: twins of the covered tables are made there, and taken away again. */
export function twinGrant(draySchema: string): Grant {
  return {
    privileges: ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP"],
    on: `${draySchema}.*`,
    why: "makes twin tables there and takes them away again",
  };
}

function dray(draySchema: string): Grant {
  return {
    privileges: ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP"],
    on: `${draySchema}.*`,
    why: `keeps its ${Object.keys(DRAY_TABLES).length} tables there, and the twin tables of preflight (W6)`,
  };
}

/** In a GRANT on a whole schema `_` and `%` are wildcards, which would let the account into a neighbour's schema. */
function quoteTarget(on: string): string {
  const dot = on.indexOf(".");
  const [schema, table] = [on.slice(0, dot), on.slice(dot + 1)];
  const quote = (name: string | undefined) => (name === "*" ? "*" : quoteIdentifier(name ?? ""));
  return table === "*" && schema !== "*"
    ? `${quote(schema.replace(/[\\_%]/g, "\\$&"))}.*`
    : `${quote(schema)}.${quote(table)}`;
}
