// Charts as SVG, for a page that needs nothing else.

/** A line, or points. */
export interface Series {
  name: string
  points: { x: number; y: number }[]
}

/** How a chart is drawn. */
export interface ChartOptions {
  title: string
  xLabel: string
  logX?: boolean
  logY?: boolean
  yMax?: number
  /** Points with their names, rather than lines. */
  scatter?: boolean
  colourOf(name: string): string
}

const size = { width: 460, height: 270, left: 56, bottom: 36, top: 14, right: 14 }
const shares = [0, 0.25, 0.5, 0.75, 1]

/** Text that may stand in HTML. */
export function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}

function label(value: number): string {
  if (value === 0) return '0'
  return value >= 1_000 ? `${Number((value / 1_000).toPrecision(3))}k` : String(Number(value.toPrecision(3)))
}

/** One axis: values to shares of its length, and back. */
function axis(values: readonly number[], log: boolean, fromZero: boolean, max?: number) {
  const scale = (value: number): number => (log ? Math.log10(Math.max(1, value)) : value)
  const scaled = values.map(scale)
  const low = fromZero && !log ? 0 : Math.min(...scaled)
  const high = max ?? Math.max(...scaled, low + 1e-9) * (fromZero && !log ? 1.05 : 1)
  return {
    at: (value: number): number => (scale(value) - low) / Math.max(1e-9, high - low),
    value(share: number): number {
      const value = low + share * (high - low)
      return log ? 10 ** value : value
    },
  }
}

/** One chart. */
export function chart(series: readonly Series[], options: ChartOptions): string {
  const { title, xLabel, logX = false, logY = false, yMax, scatter = false } = options
  const points = series.flatMap((each) => each.points)
  const { width, height, left, bottom, top, right } = size
  const xs = axis(
    points.map(({ x }) => x),
    logX,
    false,
  )
  const ys = axis(
    points.map(({ y }) => y),
    logY,
    true,
    yMax,
  )
  const px = (x: number): number => left + xs.at(x) * (width - left - right)
  const py = (y: number): number => height - bottom - ys.at(y) * (height - top - bottom)
  const ticks = shares.map((share) => {
    const y = height - bottom - share * (height - top - bottom)
    const x = left + share * (width - left - right)
    return (
      `<text x="${left - 6}" y="${y + 4}" text-anchor="end">${label(ys.value(share))}</text>` +
      `<line x1="${left}" x2="${width - right}" y1="${y}" y2="${y}" class="grid"/>` +
      `<text x="${x}" y="${height - bottom + 15}" text-anchor="middle">${label(xs.value(share))}</text>`
    )
  })
  const drawn = series.map(({ name, points: all }) => {
    const colour = options.colourOf(name)
    const at = all.map(({ x, y }) => [px(x).toFixed(1), py(y).toFixed(1)] as const)
    const said = `<title>${escape(name)}</title>`
    if (scatter) return at.map(([x, y]) => `<circle cx="${x}" cy="${y}" r="5" fill="${colour}">${said}</circle>`)
    const path = at.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${x} ${y}`).join(' ')
    return `<path d="${path}" stroke="${colour}">${said}</path>`
  })
  return (
    `<figure><figcaption>${escape(title)}</figcaption>` +
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}">${ticks.join('')}${drawn.flat().join('')}` +
    `<text x="${(left + width - right) / 2}" y="${height - 4}" text-anchor="middle">${escape(xLabel)}</text></svg></figure>`
  )
}
