import type { Check, Finding } from "../../../pipeline/preflight.ts";
import { grantSql, quoteAccount, sourceGrants, targetGrants } from "../grants.ts";
import { listed, type MysqlPreflightContext, servers } from "./context.ts";
import { holds, likeMatches, parseGrants } from "./privileges.ts";
import type { ServerView } from "./server-view.ts";

type C = MysqlPreflightContext;

/** What a role gives counts only where it is active in new sessions; so the session's own active roles are asked. */
const ownGrants: Check<C> = {
  id: "mysql.grant",
  rule: "K5",
  when: ["preflight"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const server of servers(context)) {
      const account = await accountOf(server);
      const held = parseGrants(await grantLines(server));
      const schemas = [...new Set(context.schemas.map((schema) => schema[server.side]))];
      const plan = { account, draySchema: context.draySchema[server.side], schemas };
      const wanted =
        server.side === "source" ? sourceGrants({ ...plan, fencedSchemas: context.fencedSchemas }) : targetGrants(plan);
      for (const grant of wanted) {
        const missing = grant.privileges.filter((privilege) => !holds(held, privilege, grant.on));
        if (missing.length === 0) continue;
        findings.push({
          id: "mysql.grant",
          severity: "error",
          subject: `${server.label} ${account}`,
          finding: `The account lacks ${missing.join(", ")} on ${grant.on}: Drayage ${grant.why}.`,
          remedy: "Grant it by the SQL shown.",
          fixSql: [grantSql({ ...grant, privileges: missing }, account)],
          fixOn: server.label,
          rule: "K5",
        });
      }
    }
    return findings;
  },
};

/**
 * C7: a transaction of somebody else with both a `dray.*` and a covered row would stop the lane. Whoever was given
 * writes there by name is an error; accounts that may write everywhere are administrators, named as a warning.
 */
const drayWriters: Check<C> = {
  id: "mysql.dray-writers",
  rule: "C7",
  when: ["preflight"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const server of servers(context)) {
      const schema = context.draySchema[server.side];
      const ours = new Set([await accountOf(server), ...context.drayAccounts[server.side].map(quoteAccount)]);
      const byName = (await namedWriters(server, schema)).filter((account) => !ours.has(account));
      const everywhere = (await globalWriters(server)).filter(
        (account) => !ours.has(account) && !byName.includes(account),
      );
      if (byName.length > 0) {
        findings.push({
          id: "mysql.dray-writers",
          severity: "error",
          subject: `${server.label} ${schema}.*`,
          finding: `Accounts that are not Drayage's may write ${schema}.*: ${listed(byName, context.limits.listedKeys)}.`,
          remedy: "Take the grants back, or name the accounts as Drayage's own.",
          rule: "C7",
        });
      }
      if (everywhere.length > 0) {
        findings.push({
          id: "mysql.dray-writers",
          severity: "warning",
          subject: `${server.label} ${schema}.*`,
          finding: `Accounts that may write every schema may write ${schema}.* too: ${listed(everywhere, context.limits.listedKeys)}.`,
          remedy: "See that no application uses these accounts.",
          rule: "C7",
        });
      }
    }
    return findings;
  },
};

/** The link itself: where TLS is configured it must be there, whatever the server offers. */
const encrypted: Check<C> = {
  id: "mysql.plain-text-link",
  rule: "K5",
  when: ["preflight"],
  run: async (context) => {
    const findings: Finding[] = [];
    for (const server of servers(context)) {
      const [row] = await server.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'");
      if ((row?.["Value"] ?? "") !== "" || server.isLocal) continue;
      findings.push({
        id: "mysql.plain-text-link",
        severity: "warning",
        subject: server.label,
        finding: "The link to the server is in plain text: rows and marks can be read and changed on the way.",
        remedy: "Set `tls` for the cluster in the server configuration.",
        rule: "K5",
      });
    }
    return findings;
  },
};

export const accountChecks: readonly Check<C>[] = [ownGrants, drayWriters, encrypted];

export async function accountOf(server: ServerView): Promise<string> {
  const [row] = await server.rows("SELECT CURRENT_USER() account_");
  return quoteAccount(row?.["account_"] ?? "");
}

/** Of the session's own account, its active roles among them. */
export async function grantLines(server: ServerView): Promise<readonly string[]> {
  const [roles] = await server.rows("SELECT CURRENT_ROLE() roles_");
  const using = roles?.["roles_"] && roles["roles_"] !== "NONE" ? ` USING ${roles["roles_"]}` : "";
  const rows = await server.rows(`SHOW GRANTS FOR CURRENT_USER()${using}`);
  return rows.flatMap((row) => Object.values(row).filter((value) => value !== null));
}

async function namedWriters(server: ServerView, draySchema: string): Promise<readonly string[]> {
  const inSchema = await server.rows(
    `SELECT User user_, Host host_, Db db_ FROM mysql.db WHERE 'Y' IN (Insert_priv, Update_priv, Delete_priv)`,
  );
  const inTables = await server.rows(
    `SELECT User user_, Host host_ FROM mysql.tables_priv
      WHERE Db = ? AND (FIND_IN_SET('Insert', Table_priv) OR FIND_IN_SET('Update', Table_priv) OR FIND_IN_SET('Delete', Table_priv))`,
    [draySchema],
  );
  const rows = [...inSchema.filter((row) => likeMatches(row["db_"] ?? "", draySchema)), ...inTables];
  return [...new Set(rows.map((row) => quoteAccount(`${row["user_"]}@${row["host_"]}`)))];
}

async function globalWriters(server: ServerView): Promise<readonly string[]> {
  const rows = await server.rows(
    `SELECT User user_, Host host_ FROM mysql.user
      WHERE 'Y' IN (Insert_priv, Update_priv, Delete_priv) AND account_locked = 'N' ORDER BY User, Host`,
  );
  return rows.map((row) => quoteAccount(`${row["user_"]}@${row["host_"]}`));
}
