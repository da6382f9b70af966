import type { Problems } from "./problem.ts";

/** C6: what an operator meets where another server is, or may become, the target. */
export const FAILOVER_PROBLEMS = {
  TARGET_CANDIDATE_BEHIND: {
    retry: "never",
    remedy:
      "The attempt was aborted and unfenced, as this failover candidate of the target does not have everything: mend its replication, or take it out of `candidates`, then run the cutover again.",
  },
  TARGET_LOST_COMMITS: {
    retry: "never",
    remedy:
      "The server that answers as the target lacks what was acknowledged before the commit, so rows of the tenant may be gone there. Stop the tenant's writes, and do not `dray close`. Bring the old server, or a replica that has the missing set, back as the target: this alarm then ends by itself. Where there is none, carry over by hand what is missing: the source still has the tenant's rows as of the fence.",
  },
  TARGET_UNPROVEN: {
    retry: "never",
    remedy:
      "Another server answers as the target, and as the target gave out no GTIDs nobody can tell whether it has what was acknowledged. Compare the tenant's rows with the source, which has them as of the fence, before you `dray close` the move.",
  },
} as const satisfies Problems;
