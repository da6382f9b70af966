import { Gauge, Registry } from "prom-client";
import type { MoveService } from "../cutover/move-service.ts";

/** Read when asked, so that nothing is remembered twice. Tenants' keys are not among the labels. */
export function metricsText(service: MoveService): { readonly contentType: string; read(): Promise<string> } {
  const registry = new Registry();
  const gauge = <Label extends string>(name: string, help: string, labelNames: readonly Label[]): Gauge<Label> =>
    new Gauge({ name, help, labelNames: [...labelNames], registers: [registry] });
  const phase = gauge("dray_move_phase", "1 for the phase the move is in", ["move", "phase"]);
  const alarms = gauge("dray_move_alarms", "Open alarms of the move", ["move"]);
  const lane = ["move", "lane"] as const;
  const lag = gauge("dray_lane_lag_seconds", "Between a commit at the source and its effect in the target", lane);
  const headroom = gauge("dray_lane_headroom_seconds", "Until the source purges what was not read", lane);
  const rows = gauge("dray_lane_rows_per_second", "Rows written to the target", lane);
  const bytes = gauge("dray_lane_bytes_per_second", "Bytes written to the target", lane);
  const behind = gauge("dray_lane_entries_behind", "Entries in the log that the target has not applied", lane);
  return {
    contentType: registry.contentType,
    async read() {
      registry.resetMetrics();
      for (const move of await service.list()) {
        phase.set({ move: move.move, phase: move.phase }, 1);
        alarms.set({ move: move.move }, move.alarms.length);
        for (const status of move.lanes) {
          const labels = { move: move.move, lane: status.lane };
          if (status.lagSeconds !== null) lag.set(labels, status.lagSeconds);
          if (status.headroomSeconds !== null) headroom.set(labels, status.headroomSeconds);
          rows.set(labels, status.rowsPerSecond);
          bytes.set(labels, status.bytesPerSecond);
          if (status.tailSeq !== null && status.watermark !== null)
            behind.set(labels, status.tailSeq - status.watermark);
        }
      }
      return registry.metrics();
    },
  };
}
