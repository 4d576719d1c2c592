// The figures of the memory bench as one page of HTML that needs nothing else: curves, distributions and a table.

import { chart, escape, type Series } from '../lib/chart.ts'
import { htmlPage, htmlTable } from '../lib/page.ts'

/** One arm at one setting. */
export interface Curve {
  workload: string
  /** Working set over pool; 0 where it was not set. */
  ratio: number
  arm: string
  /** Output tokens a second over seeds. */
  output: { mean: number; deviation: number }
  hitRatio: number
  /** Mean over seeds of the 99th percentile, ms. */
  p99Ms: number
  /** Longest hold of all seeds, ms. */
  maxHoldMs: number
  /** Jain index, 0..1. */
  fairness: number
  /** Distribution of the time to first token. */
  ttftsMs: { share: number; ms: number }[]
}

const colours: Record<string, string> = {
  lru: '#555555',
  'flush-per-request': '#b0752c',
  'flush-per-workflow': '#d4b106',
  thunderagent: '#2878b5',
  'thunderagent-origin': '#7cb4e0',
  continuum: '#2e8b57',
  concur: '#8e5ea2',
  price: '#c62828',
  'price, exchange share 0.02': '#f2a0a0',
  'price, exchange share 0.3': '#e57373',
  'price, exchange share 0.5': '#8e1b1b',
  'price, told all waits': '#000000',
  'no prewarm': '#555555',
  prewarm: '#c62828',
}
const colourOf = (name: string): string => colours[name] ?? '#999999'
/** The ratio that distributions and the table are of. */
const shownRatio = 2

function charts(all: readonly Curve[]): string[] {
  const drawn: string[] = []
  const arms = [...Map.groupBy(all, (curve) => curve.arm)].filter(([, each]) => each.length > 1)
  const byRatio = (y: (curve: Curve) => number): Series[] =>
    arms.map(([name, each]) => ({ name, points: each.map((curve) => ({ x: curve.ratio, y: y(curve) })) }))
  const shown = all.filter(({ ratio }) => ratio === shownRatio || ratio === 0)
  if (arms.length > 0) {
    const xLabel = 'working set / KV pool'
    drawn.push(
      chart(
        byRatio(({ output }) => output.mean),
        { title: 'output tokens a second', xLabel, colourOf },
      ),
      chart(
        byRatio(({ hitRatio }) => hitRatio),
        { title: 'prefix hit ratio', xLabel, yMax: 1, colourOf },
      ),
      chart(
        byRatio(({ p99Ms }) => p99Ms),
        { title: 'p99 of the time to first token, ms', xLabel, logY: true, colourOf },
      ),
      chart(
        shown.map(({ arm, output, p99Ms }) => ({ name: arm, points: [{ x: p99Ms / 1_000, y: output.mean }] })),
        {
          title: `output tokens a second against p99 at ratio ${shownRatio}`,
          xLabel: 'p99 of the time to first token, s: left and up is better',
          scatter: true,
          colourOf,
        },
      ),
    )
  }
  const cdf = shown.map(({ arm, ttftsMs }) => ({
    name: arm,
    points: ttftsMs.map(({ share, ms }) => ({ x: ms, y: share })),
  }))
  const title = arms.length > 0 ? `time to first token at ratio ${shownRatio}, CDF` : 'time to first token, CDF'
  drawn.push(chart(cdf, { title, xLabel: 'ms, logarithmic', logX: true, yMax: 1, colourOf }))
  return drawn
}

function table(all: readonly Curve[]): string {
  const rows = all
    .filter(({ ratio }) => ratio === shownRatio || ratio === 0)
    .map(({ arm, output, hitRatio, ttftsMs, p99Ms, maxHoldMs, fairness }) => {
      const at = (share: number): number => ttftsMs.find((each) => each.share === share)?.ms ?? 0
      const seconds = (ms: number): string => (ms / 1_000).toFixed(ms < 10_000 ? 2 : 0)
      const cells = [
        `${output.mean.toFixed(1)} ± ${output.deviation.toFixed(1)}`,
        hitRatio.toFixed(2),
        seconds(at(0.5)),
        seconds(at(0.9)),
        seconds(p99Ms),
        seconds(maxHoldMs),
        fairness.toFixed(2),
      ]
      return [arm, ...cells]
    })
  const heads = ['', 'output tokens/s', 'hit ratio', 'p50 s', 'p90 s', 'p99 s', 'longest hold s', 'fairness']
  return htmlTable(heads, rows, colourOf)
}

/** The page. */
export function page(curves: readonly Curve[], notes: readonly string[]): string {
  const parts: string[] = []
  for (const [workload, all] of Map.groupBy(curves, (curve) => curve.workload)) {
    const hasRatios = all.some(({ ratio }) => ratio > 0)
    parts.push(
      `<h2>${escape(workload)}${hasRatios ? `, table at ratio ${shownRatio}` : ''}</h2>`,
      table(all),
      ...charts(all),
    )
  }
  const names = Object.keys(colours).filter((name) => curves.some(({ arm }) => arm === name))
  const legend = names.map((name) => `<span style="color:${colourOf(name)}">&#9632; ${escape(name)}</span>`).join(' ')
  return htmlPage({
    title: "KV memory policies against the engine's own LRU",
    notes,
    body: `<p class="legend">${legend}</p>${parts.join('\n')}`,
  })
}
