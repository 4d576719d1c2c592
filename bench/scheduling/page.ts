// Policies on the fixed mix as one page of HTML that needs nothing else.

import { chart, type Series } from '../lib/chart.ts'
import { htmlPage, htmlTable } from '../lib/page.ts'

/** One policy at one load, means over seeds. */
export interface PolicyRow {
  policy: string
  /** Share of what the engine can serve. */
  load: number
  meanMs: number
  p99Ms: number
  slowdown: number
  jain: number
  maxWaitMs: number
  deadlineMisses: number
  seeds: number
  /** Standard deviations over seeds. */
  spread: { meanMs: number; p99Ms: number }
}

const colours: Record<string, string> = {
  fcfs: '#555555',
  priority: '#999999',
  sjf: '#b0752c',
  wsjf: '#d4b106',
  las: '#8e5ea2',
  'critical-path': '#c62828',
  hrrn: '#2878b5',
  edf: '#000000',
  fair: '#2e8b57',
  drr: '#7cb4e0',
}
const colourOf = (name: string): string => colours[name] ?? '#bbbbbb'
const seconds = (ms: number): string => (ms / 1_000).toFixed(ms < 100_000 ? 1 : 0)

/** The page. */
export function page(rows: readonly PolicyRow[], notes: readonly string[]): string {
  const byPolicy = [...Map.groupBy(rows, ({ policy }) => policy)]
  const lines = (y: (row: PolicyRow) => number): Series[] =>
    byPolicy.map(([name, each]) => ({ name, points: each.map((row) => ({ x: row.load, y: y(row) })) }))
  const several = new Set(rows.map(({ load }) => load)).size > 1
  const xLabel = 'load: arrivals over what the engine can serve'
  const drawn = [
    ...(several
      ? [
          chart(
            lines(({ meanMs }) => meanMs),
            { title: 'mean completion, ms', xLabel, logY: true, colourOf },
          ),
          chart(
            lines(({ p99Ms }) => p99Ms),
            { title: 'p99 of completion, ms', xLabel, logY: true, colourOf },
          ),
          chart(
            lines(({ slowdown }) => slowdown),
            { title: 'mean slowdown against running alone', xLabel, logY: true, colourOf },
          ),
          chart(
            lines(({ jain }) => jain),
            { title: "Jain index over the tenants' mean slowdowns", xLabel, yMax: 1, colourOf },
          ),
        ]
      : []),
    chart(
      rows
        .filter(({ load }) => load === 0.95)
        .map(({ policy, meanMs, p99Ms }) => ({ name: policy, points: [{ x: meanMs / 1_000, y: p99Ms / 1_000 }] })),
      {
        title: 'p99 against mean completion at load 0.95, s',
        xLabel: 'mean, s: left and down is better',
        scatter: true,
        colourOf,
      },
    ),
  ]
  const heads = ['', 'mean s', '±', 'p99 s', '±', 'slowdown', 'Jain', 'longest wait s', 'late']
  const tables = [...Map.groupBy(rows, ({ load }) => load)].map(([load, each]) => {
    const cells = each.map((row) => [
      row.policy,
      seconds(row.meanMs),
      seconds(row.spread.meanMs),
      seconds(row.p99Ms),
      seconds(row.spread.p99Ms),
      row.slowdown.toFixed(1),
      row.jain.toFixed(2),
      seconds(row.maxWaitMs),
      row.deadlineMisses.toFixed(0),
    ])
    return `<h2>load ${load}</h2>${htmlTable(heads, cells, colourOf)}`
  })
  const legend = byPolicy.map(([name]) => `<span style="color:${colourOf(name)}">&#9632; ${name}</span>`)
  const body = `<p class="legend">${legend.join(' ')}</p>${drawn.join('')}${tables.join('')}`
  return htmlPage({ title: 'Scheduling policies on a fixed mix', notes, body })
}
