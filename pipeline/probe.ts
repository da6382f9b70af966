/**
 * Named places in the code where a test may hold or kill the process. A no-op unless a test hands in another function;
 * the names are one union, so that the crash tests can prove that each was reached.
 */
export const PROBES = [
  "log.epoch-appended",
  "log.before-append",
  "log.after-append",
  "capture.after-start-mark",
  "capture.after-range",
  "capture.after-low-mark",
  "capture.after-chunk-read",
  "capture.after-high-mark",
  "capture.before-chunk-append",
  "capture.after-chunk-append",
  "apply.after-epoch",
  "apply.before-commit",
  "apply.after-commit",
  "apply.before-watermark",
  "apply.after-watermark",
  "cutover.attempt-journalled",
  "cutover.before-fence",
  "cutover.after-fence",
  "cutover.after-quiesce",
  "cutover.after-s1",
  "cutover.after-prepare",
  "cutover.after-pin",
  "cutover.after-s2",
  "cutover.before-commit",
  "cutover.after-home-commit",
  "cutover.after-target-commit",
  "cutover.after-route",
  "cutover.after-retire",
  "cutover.before-abort-outcome",
  "cutover.after-abort-outcome",
  "cutover.after-unfence",
  "recopy.intended",
  "recopy.journalled",
  "recopy.after-start-mark",
  "abort.after-outcome",
  "abort.after-close",
  "abort.after-cleanup-batch",
] as const;
export type ProbeName = (typeof PROBES)[number];
export type Probe = (name: ProbeName, facts?: Readonly<Record<string, unknown>>) => Promise<void> | void;
export const noProbe: Probe = () => {};
