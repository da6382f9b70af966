import type { LaneCapture } from "./lane-capture.ts";
import type { ReadRows } from "./open-windows.ts";
import type { Probe } from "./probe.ts";
import type { LaneSource, StreamSource } from "./source.ts";
import type { WindowRows } from "./verify/window-body.ts";

export type MarkedReadOptions = {
  readonly source: LaneSource;
  readonly stream: StreamSource;
  readonly capture: LaneCapture;
  readonly probe: Probe;
};

/**
 * W1: `low`, one read in a new read view, `high`. Null where the server, its settings or the reader changed in between,
 * so that nothing is known of the read's place (M2).
 */
export async function readBetweenMarks(
  { source, stream, capture, probe }: MarkedReadOptions,
  table: string,
  read: () => Promise<WindowRows>,
  signal: AbortSignal,
): Promise<ReadRows | null> {
  const { epoch, feed } = capture.state();
  const before = await stream.fingerprint(signal);
  await stream.mark(source.lane, epoch, "low", signal);
  await probe("capture.after-low-mark", { table });
  const rows = await read();
  await probe("capture.after-chunk-read", { table });
  const after = await stream.fingerprint(signal);
  if (before !== after || capture.state().feed.connects !== feed.connects) return null;
  const high = await stream.mark(source.lane, epoch, "high", signal);
  return { rows, high: high.nonce, connects: feed.connects };
}
