// The frame of a page with the figures of a bench: one file that needs nothing else.

import { escape } from './chart.ts'

/** A page. `body` is HTML; title and notes are text. */
export function htmlPage({ title, notes, body }: { title: string; notes: readonly string[]; body: string }): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escape(title)}</title><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
figure{display:inline-block;width:min(30rem,100%);margin:.5rem 1rem .5rem 0}svg{width:100%;height:auto}
text{font-size:11px;fill:#444}.grid{stroke:#ddd}path{fill:none;stroke-width:2}figcaption{font-weight:600}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.1rem .7rem;text-align:right}th:first-child{text-align:left}
td.text,th.text{text-align:left}
.legend{position:sticky;top:0;background:#fff;padding:.4rem 0}.legend span{margin-right:1rem;display:inline-block}</style>
<h1>${escape(title)}</h1><ul>${notes.map((note) => `<li>${escape(note)}</li>`).join('')}</ul>${body}</html>
`
}

/** A table: the first column names the rows; colours are of those names. */
export function htmlTable(
  heads: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  colourOf?: (name: string) => string,
): string {
  const head = heads.map((each) => `<th>${escape(each)}</th>`).join('')
  const line = ([name, ...cells]: readonly (string | number)[]): string => {
    const colour = colourOf === undefined ? '' : ` style="color:${colourOf(String(name))}"`
    const rest = cells.map(
      (cell) =>
        `<td${typeof cell === 'string' && !/\d/.test(cell) ? ' class="text"' : ''}>${escape(String(cell))}</td>`,
    )
    return `<tr><th${colour}>${escape(String(name))}</th>${rest.join('')}</tr>`
  }
  return `<table><tr>${head}</tr>${rows.map(line).join('')}</table>`
}
