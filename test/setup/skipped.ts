/** How a suite is named that was skipped for want of a server: the only reason for which a suite may stay idle. */
export const SKIPPED_FOR_WANT = "not run here, no server:";
