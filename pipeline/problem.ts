/** What an error code says of itself. */
export type Problem = {
  /**
   * never: permanent, a person or another process decides. backoff: try again. reopen: not where it was met, but once the
   * part it ended has been opened anew. recopy: the lane copies again.
   */
  readonly retry: "never" | "backoff" | "reopen" | "recopy";
  readonly remedy: string;
};
