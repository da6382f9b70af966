import type { Change, ChangeOp, KeyBytes } from "../../pipeline/entry.ts";
import { DrayError, type ErrorCode, isDrayError } from "../../pipeline/errors.ts";
import { type BinlogEvent, EVENT } from "./binlog-events.ts";
import type { LaneCursor } from "./lane-cursor.ts";
import type { RowPlan } from "./row-decoder.ts";
import { isComplete, type RowsHeader } from "./table-map.ts";
import type { RouteGroup } from "./table-routes.ts";

export type Delivery = {
  readonly event: BinlogEvent;
  readonly header: RowsHeader;
  readonly group: RouteGroup;
  /** Place of the event among its transaction's rows events. */
  readonly ordinal: number;
  /** Before a lane's first change of this event; false where the lane takes none of it. */
  readonly touch: (lane: LaneCursor) => boolean;
  readonly stop: (lane: LaneCursor, code: ErrorCode, facts: Record<string, unknown>) => void;
};

/**
 * Gives each row of one rows event to the lanes whose tenant it is or was; a row of nobody costs the stepping and one
 * look at its tenant. What cannot be cut exactly stops the lanes that would have taken it, no others (M8).
 */
export function deliverRows(delivery: Delivery): void {
  const { event, header, group } = delivery;
  const { plan } = group;
  if (plan instanceof DrayError) return stopGroup(delivery, "SCHEMA_CHANGED", { ...plan.facts });
  if (event.type === EVENT.partialUpdateRows)
    return stopGroup(delivery, "PARTIAL_ROW_UPDATE", { event: "PARTIAL_UPDATE_ROWS" });
  if (!isComplete(event.bytes, header)) return stopGroup(delivery, "INCOMPLETE_ROW_IMAGE", { event: header.op });
  try {
    if (header.op === "update") deliverUpdates(delivery, plan);
    else deliverPlain(delivery, plan, header.op);
  } catch (error) {
    if (!isDrayError(error)) throw error;
    stopGroup(delivery, error.code, { ...error.facts });
  }
}

function deliverPlain(delivery: Delivery, plan: RowPlan, op: ChangeOp): void {
  const { bytes, end } = delivery.event;
  for (let at = delivery.header.rowsAt; at < end; ) {
    at = plan.locate(bytes, at, end);
    const lanes = lanesOf(delivery, plan.tenant());
    if (lanes !== undefined) give(delivery, lanes, () => [changeOf(delivery, plan, op, plan.key())]);
  }
}

/** W3: both images are looked up by themselves; a change of tenant or key is a delete and an insert, delete first. */
function deliverUpdates(delivery: Delivery, plan: RowPlan): void {
  const { bytes, end } = delivery.event;
  for (let at = delivery.header.rowsAt; at < end; ) {
    const before = at;
    const after = plan.locate(bytes, before, end);
    const tenantBefore = plan.tenant();
    const left = lanesOf(delivery, tenantBefore);
    const keyBefore = left === undefined ? null : plan.key();
    at = plan.locate(bytes, after, end);
    const tenantAfter = plan.tenant();
    const deleted = () => {
      plan.locate(bytes, before, end);
      return changeOf(delivery, plan, "delete", plan.key());
    };
    const inserted = () => {
      plan.locate(bytes, after, end);
      return changeOf(delivery, plan, "insert", plan.key());
    };
    if (tenantBefore !== tenantAfter) {
      if (left !== undefined) give(delivery, left, () => [deleted()]);
      const joined = lanesOf(delivery, tenantAfter);
      if (joined !== undefined) give(delivery, joined, () => [inserted()]);
    } else if (left !== undefined && keyBefore !== null) {
      give(delivery, left, () => {
        const key = plan.key();
        if (Buffer.compare(key, keyBefore) !== 0) return [deleted(), inserted()];
        return [changeOf(delivery, plan, "update", key)];
      });
    }
  }
}

function lanesOf({ group }: Delivery, tenant: string | null): readonly LaneCursor[] | undefined {
  return tenant === null ? undefined : group.tenants.get(tenant);
}

/** The row is read once, however many lanes take it, and not at all where none does. */
function give(delivery: Delivery, lanes: readonly LaneCursor[], read: () => readonly Change[]): void {
  let changes: readonly Change[] | null = null;
  for (const lane of lanes) {
    if (!lane.takes(delivery.ordinal) || !delivery.touch(lane)) continue;
    if (changes === null) {
      try {
        changes = read();
      } catch (error) {
        if (!isDrayError(error)) throw error;
        for (const each of lanes) if (each.takes(delivery.ordinal)) delivery.stop(each, error.code, { ...error.facts });
        return;
      }
    }
    for (const change of changes) lane.add(change);
  }
}

function changeOf(delivery: Delivery, plan: RowPlan, op: ChangeOp, key: KeyBytes): Change {
  return { table: delivery.group.id, op, key, row: plan.row() };
}

function stopGroup({ group, ordinal, stop }: Delivery, code: ErrorCode, facts: Record<string, unknown>): void {
  for (const lanes of group.tenants.values()) {
    for (const lane of lanes) if (lane.takes(ordinal)) stop(lane, code, { table: group.id, ...facts });
  }
}
