// A screen of the terminal view as SVG.

import { escapeXml } from '../src/cli/diagram/svg.ts'
import { widthOf, type Line, type Role } from '../src/cli/view/line.ts'

const fontSize = 14
const columnWidth = 8.4
const lineHeight = 19
const padding = 16
const barHeight = 34

/** Colours of roles on the dark ground that the picture brings along. Contrast is at least 4.5 to 1. */
const colors: Record<Role, string> = {
  plain: '#e6edf3',
  strong: '#ffffff',
  quiet: '#9198a1',
  accent: '#d2a8ff',
  ok: '#56d364',
  busy: '#79c0ff',
  waiting: '#e3b341',
  bad: '#ff7b72',
}

/**
 * Lines as a picture of a terminal. The same lines give the same bytes.
 *
 * @param columns - width of the terminal
 */
export function terminalSvg(lines: readonly Line[], columns: number, title: string): string {
  const width = Math.ceil(columns * columnWidth + 2 * padding)
  const height = barHeight + lines.length * lineHeight + 2 * padding
  const rules = Object.entries(colors).map(([role, color]) => `.${role} { fill: ${color}; }`)
  const dots = ['#ff5f57', '#febc2e', '#28c840'].map(
    (color, index) => `<circle cx="${20 + index * 20}" cy="${barHeight / 2}" r="6" fill="${color}"/>`,
  )
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(title)}">`,
    `<title>${escapeXml(title)}</title>`,
    `<style>\ntext { font: ${fontSize}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; }`,
    '.strong { font-weight: 600; }',
    ...rules,
    '</style>',
    `<rect width="${width}" height="${height}" rx="10" fill="#0d1117" stroke="#30363d"/>`,
    ...dots,
    `<text class="quiet" x="${width / 2}" y="${barHeight / 2 + 5}" text-anchor="middle">${escapeXml(title)}</text>`,
    ...lines.flatMap((line, row) => lineSvg(line, barHeight + padding + row * lineHeight + fontSize)),
    '</svg>',
  ].join('\n')}\n`
}

function lineSvg(line: Line, y: number): string[] {
  let column = 0
  const texts: string[] = []
  for (const { text, role } of line) {
    // Runs of spaces are placed, not drawn, so that columns hold whatever font the reader has.
    for (const [word] of text.matchAll(/\S+(?: \S+)*| +/g)) {
      const columns = widthOf(word)
      if (word.trim() !== '') {
        const x = round(padding + column * columnWidth)
        const length = round(columns * columnWidth)
        texts.push(
          `<text class="${role}" x="${x}" y="${y}" textLength="${length}" lengthAdjust="spacingAndGlyphs">${escapeXml(word)}</text>`,
        )
      }
      column += columns
    }
  }
  return texts
}

function round(value: number): string {
  return String(Math.round(value * 10) / 10)
}
