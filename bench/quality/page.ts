// The exam as one page of HTML that needs nothing else: cost against accuracy, areas with their intervals, cascades.

import { chart, type Series } from '../lib/chart.ts'
import { htmlPage, htmlTable } from '../lib/page.ts'
import type { ExamOutcome } from './judge.ts'
import { cascadeName, tableRows } from './report.ts'

const colours: Record<string, string> = {
  random: '#555555',
  'one-bit (rule: 50 words)': '#b0752c',
  'threshold (words)': '#2878b5',
  'learned (as a bandit)': '#f28e8e',
  'learned (warm start)': '#c62828',
  oracle: '#2e8b57',
}
const colourOf = (name: string): string => colours[name] ?? (name.startsWith('cascade') ? '#8e5ea2' : '#999999')

/** The page. */
export function page(outcome: ExamOutcome, notes: readonly string[]): string {
  const { verdicts, cascade } = outcome
  const line = ({ arm, points }: (typeof verdicts)[number]): Series => ({
    name: arm,
    points: points.map(({ cost, accuracy }) => ({ x: cost, y: accuracy })),
  })
  const real = verdicts.filter(({ looksAtLabels, arm }) => !looksAtLabels || arm === 'oracle')
  const xLabel = 'share of questions that the strong model answers'
  const drawn = [
    chart(real.map(line), { title: 'accuracy', xLabel, yMax: 1, colourOf }),
    chart(
      real.map(({ arm, points }) => ({
        name: arm,
        points: points.map(({ cost, accuracy }) => {
          const [first, last] = [points[0]!.accuracy, points.at(-1)!.accuracy]
          return { x: cost, y: Math.max(0, accuracy - first - cost * (last - first)) }
        }),
      })),
      { title: 'accuracy above random routing at the same cost', xLabel, colourOf },
    ),
    chart(
      cascade.map((each) => ({ name: cascadeName(each), points: [{ x: each.cost, y: each.accuracy }] })),
      {
        title: 'cascades: accuracy against cost in strong answers',
        xLabel: 'cost, a weak answer at a tenth: left and up is better',
        scatter: true,
        yMax: 1,
        colourOf,
      },
    ),
  ]
  const rows = tableRows(outcome)
  const heads = ['', ...Object.keys(rows[0]!).slice(1)]
  const cells = rows.map((row) => Object.values(row).map(String))
  const legend = Object.keys(colours).map((name) => `<span style="color:${colourOf(name)}">&#9632; ${name}</span>`)
  const body = `<p class="legend">${legend.join(' ')}</p>${drawn.join('')}${htmlTable(heads, cells, colourOf)}`
  return htmlPage({ title: 'Quality for money', notes, body })
}
