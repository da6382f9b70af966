import { randomBytes } from "node:crypto";
import { connect, type ServerAddress } from "./mysql.ts";
import { SIDES, type Side } from "./schema.ts";

export interface Account {
  readonly user: string;
  readonly password: string;
}

/**
 * Two accounts a server, as in life: the application may write its tables and nothing else, the product has what its
 * preflight asks for and no more. The administrator's own is left to the demo itself.
 */
export function newAccounts(suffix: string): { readonly application: Account; readonly product: Account } {
  const password = () => randomBytes(12).toString("hex");
  return {
    application: { user: `shop_app${suffix}`, password: password() },
    product: { user: `dray_move${suffix}`, password: password() },
  };
}

export async function createAccounts(options: {
  readonly server: ServerAddress;
  readonly side: Side;
  readonly productSchema: string;
  /** Rows of a tenant that can come back are written at the source too, and the target's binary log is read. */
  readonly ways: "there" | "there and back";
  readonly application: Account;
  readonly product: Account;
}): Promise<void> {
  const { server, side, ways, application, product } = options;
  const admin = await connect(server, { inSchema: "not yet" });
  try {
    for (const { user, password } of [application, product]) {
      await admin.query("CREATE USER ?@'%' IDENTIFIED BY ?", [user, password]);
    }
    const shop = onSchema(server.schema);
    await admin.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ${shop} TO ?@'%'`, [application.user]);
    for (const grant of productGrants(ways === "there" ? [side] : SIDES, shop, onSchema(options.productSchema))) {
      await admin.query(`GRANT ${grant} TO ?@'%'`, [product.user]);
    }
  } finally {
    await admin.end();
  }
}

export async function dropAccounts(server: ServerAddress, accounts: readonly Account[]): Promise<void> {
  const admin = await connect(server, { inSchema: "not yet" });
  try {
    for (const { user } of accounts) await admin.query("DROP USER IF EXISTS ?@'%'", [user]);
  } finally {
    await admin.end();
  }
}

/** As `dray preflight --fix-sql` prints them. */
function productGrants(roles: readonly Side[], shop: string, own: string): string[] {
  const reading = roles.includes("source") ? "REPLICATION SLAVE, REPLICATION CLIENT" : "REPLICATION CLIENT";
  const rows = roles.includes("target") ? "SELECT, INSERT, UPDATE, DELETE, TRIGGER" : "SELECT, TRIGGER";
  return [
    `${reading}, PROCESS, XA_RECOVER_ADMIN ON *.*`,
    "SELECT ON performance_schema.*",
    "SELECT (Host, User, account_locked, Insert_priv, Update_priv, Delete_priv, Super_priv) ON mysql.user",
    "SELECT ON mysql.db",
    "SELECT ON mysql.tables_priv",
    `${rows} ON ${shop}`,
    `SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON ${own}`,
  ];
}

/** In a GRANT on a schema `_` is a wildcard. */
function onSchema(schema: string): string {
  return `\`${schema.replaceAll("_", "\\_")}\`.*`;
}
