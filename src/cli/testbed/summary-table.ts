// The figures of a replay for people.

import type { Percentiles, ReplaySummary, Workload } from '../../testing.ts'
import { count, duration } from '../view/format.ts'
import { sanitize } from '../view/sanitize.ts'

/** The summary as lines, without the last line's end. */
export function summaryTable(workload: Workload, summary: ReplaySummary): string {
  const { runs, completed, truncated, failed, turns, virtualSeconds, busySeconds } = summary
  const times = ({ p50, p90, p99 }: Percentiles): string =>
    [p50, p90, p99].map((ms) => duration(ms).padStart(14)).join('')
  const scale = summary.contextScale === 1 ? '' : `, context scale ${summary.contextScale}`
  return [
    `${sanitize(workload.name)}: ${sanitize(workload.source)}`,
    '',
    `runs        ${count(runs)}: ${count(completed)} completed, ${count(truncated)} truncated, ${count(failed)} failed`,
    `turns       ${count(turns)}`,
    `time        ${duration(virtualSeconds * 1_000)}, engine busy ${duration(busySeconds * 1_000)}`,
    `output      ${summary.outputTokensPerSecond.toFixed(1)} tokens/s`,
    `prefix hits ${(summary.prefixHitRatio * 100).toFixed(1)} % of prompt tokens`,
    '',
    `${' '.repeat(12)}${['p50', 'p90', 'p99'].map((name) => name.padStart(14)).join('')}`,
    `first token ${times(summary.ttftMs)}`,
    `queue wait  ${times(summary.queueWaitMs)}`,
    `whole run   ${times(summary.e2eMs)}`,
    '',
    `seed ${summary.seed}${scale}; took ${summary.wallSeconds.toFixed(2)} s, ${count(Math.round(summary.turnsPerWallSecond))} turns/s`,
  ].join('\n')
}
