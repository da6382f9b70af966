/**
 * What an error code means to an operator. Facts carry names, ids, positions and limits; a secret or a row's value never
 * gets in (K5).
 */
export type Problem = {
  /**
   * never: permanent, a person or another process decides. backoff: try again. reopen: not where it was met, but once the
   * part it ended has been opened anew. recopy: the lane copies again.
   */
  readonly retry: "never" | "backoff" | "reopen" | "recopy";
  readonly remedy: string;
};

export type Problems = Readonly<Record<string, Problem>>;
