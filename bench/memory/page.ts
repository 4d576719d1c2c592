// The figures of the memory bench as one page of HTML that needs nothing else: curves and distributions as SVG.

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
}
const size = { width: 460, height: 260, left: 52, bottom: 34, top: 12, right: 12 }

interface Line {
  name: string
  points: { x: number; y: number }[]
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}

/** One chart. `logX` for times. */
function chart(
  title: string,
  xLabel: string,
  lines: readonly Line[],
  options: { logX?: boolean; yMax?: number },
): string {
  const points = lines.flatMap((line) => line.points)
  const scale = (x: number): number => (options.logX === true ? Math.log10(Math.max(1, x)) : x)
  const xs = points.map(({ x }) => scale(x))
  const xMin = Math.min(...xs)
  const xMax = Math.max(...xs, xMin + 1e-9)
  const yMax = options.yMax ?? Math.max(...points.map(({ y }) => y), 1e-9) * 1.05
  const { width, height, left, bottom, top, right } = size
  const px = (x: number): number => left + ((scale(x) - xMin) / (xMax - xMin)) * (width - left - right)
  const py = (y: number): number => height - bottom - (y / yMax) * (height - top - bottom)
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const y = share * yMax
    const x = xMin + share * (xMax - xMin)
    const value = options.logX === true ? 10 ** x : x
    const text = value >= 1_000 ? `${(value / 1_000).toPrecision(3)}k` : value.toPrecision(3)
    return (
      `<text x="${left - 6}" y="${py(y) + 4}" text-anchor="end">${Number(y.toPrecision(3))}</text>` +
      `<line x1="${left}" x2="${width - right}" y1="${py(y)}" y2="${py(y)}" class="grid"/>` +
      `<text x="${left + share * (width - left - right)}" y="${height - bottom + 14}" text-anchor="middle">${text}</text>`
    )
  })
  const paths = lines.map(({ name, points: all }) => {
    const path = all.map(({ x, y }, i) => `${i === 0 ? 'M' : 'L'}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join(' ')
    return `<path d="${path}" stroke="${colours[name] ?? '#000'}"><title>${escape(name)}</title></path>`
  })
  return `<figure><figcaption>${escape(title)}</figcaption><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}">${ticks.join('')}${paths.join('')}<text x="${(left + width - right) / 2}" y="${height - 4}" text-anchor="middle">${escape(xLabel)}</text></svg></figure>`
}

/** The page. */
export function page(curves: readonly Curve[], notes: readonly string[]): string {
  const figures: string[] = []
  for (const [workload, all] of Map.groupBy(curves, (curve) => curve.workload)) {
    const arms = Map.groupBy(all, (curve) => curve.arm)
    const byRatio = (y: (curve: Curve) => number): Line[] =>
      Array.from(arms, ([name, each]) => ({ name, points: each.map((curve) => ({ x: curve.ratio, y: y(curve) })) }))
    figures.push(`<h2>${escape(workload)}</h2>`)
    if (all.some(({ ratio }) => ratio > 0)) {
      const x = 'working set / KV pool'
      figures.push(
        chart(
          'output tokens a second',
          x,
          byRatio(({ output }) => output.mean),
          {},
        ),
      )
      figures.push(
        chart(
          'prefix hit ratio',
          x,
          byRatio(({ hitRatio }) => hitRatio),
          { yMax: 1 },
        ),
      )
    }
    for (const ratio of new Set(all.map((curve) => curve.ratio))) {
      if (ratio !== 0 && ratio !== 2) continue
      const lines = all
        .filter((curve) => curve.ratio === ratio)
        .map(({ arm, ttftsMs }) => ({ name: arm, points: ttftsMs.map(({ share, ms }) => ({ x: ms, y: share })) }))
      const title = ratio === 0 ? 'time to first token, CDF' : `time to first token at ratio ${ratio}, CDF`
      figures.push(chart(title, 'ms, logarithmic', lines, { logX: true, yMax: 1 }))
    }
  }
  const names = Object.keys(colours).filter((name) => curves.some(({ arm }) => arm === name))
  const legend = names.map((name) => `<span style="color:${colours[name]}">&#9632; ${escape(name)}</span>`).join(' ')
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>KV memory policies</title><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
figure{display:inline-block;width:min(30rem,100%);margin:.5rem 1rem .5rem 0}svg{width:100%;height:auto}
text{font-size:11px;fill:#444}.grid{stroke:#ddd}path{fill:none;stroke-width:2}figcaption{font-weight:600}
.legend{position:sticky;top:0;background:#fff;padding:.4rem 0}.legend span{margin-right:1rem;white-space:nowrap}</style>
<h1>KV memory policies against the engine's own LRU</h1><p class="legend">${legend}</p>
<ul>${notes.map((note) => `<li>${escape(note)}</li>`).join('')}</ul>${figures.join('')}</html>
`
}
