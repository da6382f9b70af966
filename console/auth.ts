import { createHash, timingSafeEqual } from "node:crypto";
import { type Caller, ROLES, type Role } from "../cutover/move-service.ts";
import type { TokenConfig } from "../cutover/server-settings.ts";
import { DrayError } from "../pipeline/errors.ts";

export type Credentials = {
  readonly authorization: string | undefined;
  /** Who the client says it is: a name for the journal, no proof of anything. */
  readonly operator: string | undefined;
};

/** K5: says who calls. Throws UNAUTHORIZED. */
export interface Authenticator {
  caller(credentials: Credentials): Caller;
}

/** A Unix socket's mode says who may connect: whoever can is admin. */
export const socketAuthenticator: Authenticator = {
  caller: ({ operator }) => ({ by: nameOf(operator) ?? "socket", role: "admin" }),
};

/** TCP, loopback included: always a token, compared in constant time with every token there is. */
export function tokenAuthenticator(tokens: readonly TokenConfig[]): Authenticator {
  const known = tokens.map((token) => ({ ...token, digest: digestOf(token.token) }));
  return {
    caller({ authorization, operator }) {
      const given = digestOf(/^Bearer (.+)$/.exec(authorization ?? "")?.[1] ?? "");
      let match: TokenConfig | null = null;
      for (const token of known) {
        if (timingSafeEqual(token.digest, given)) match = token;
      }
      if (match === null) throw new DrayError("UNAUTHORIZED");
      const operatorName = nameOf(operator);
      return { by: operatorName === null ? match.name : `${operatorName} (${match.name})`, role: match.role };
    },
  };
}

/** Throws ROLE_TOO_LOW. Each role may do what the ones before it may. */
export function requireRole(caller: Caller, needed: Role): void {
  if (ROLES.indexOf(caller.role) < ROLES.indexOf(needed)) {
    throw new DrayError("ROLE_TOO_LOW", { role: caller.role, needed });
  }
}

/** Of equal length whatever was given, so that comparing says nothing about it. */
function digestOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

function nameOf(operator: string | undefined): string | null {
  const name = (operator ?? "").replace(/[^\x20-\x7e]/g, "").trim();
  return name === "" ? null : name.slice(0, 64);
}
