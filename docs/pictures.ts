// Everything in the documentation that is made, not written.

import { drawing } from '../src/cli/visualize.ts'
import { demoFrame } from './demo-frame.ts'
import { terminalSvg } from './terminal-svg.ts'

const columns = 100

/** Names of the state machines that are drawn. */
const machineNames = ['workflow', 'stage', 'backend'] as const

/** Pictures by file name. */
export async function pictures(): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  files.set('demo.svg', terminalSvg(await demoFrame(columns), columns, 'npm start'))
  for (const machine of machineNames) files.set(`machine-${machine}.svg`, drawing({ machine, format: 'svg' }))
  files.set('support-dag.svg', drawing({ workflow: 'support', format: 'svg' }))
  return files
}

/**
 * A Markdown text with its Mermaid diagrams renewed: they stand between `<!-- machine:NAME -->` and
 * `<!-- /machine:NAME -->`, and `<!-- workflow:support -->` and `<!-- /workflow:support -->`. `machine:support` is
 * another way to write the latter.
 *
 * @throws {Error} for a marker without its end
 */
export function withDiagrams(markdown: string): string {
  const diagrams = new Map<string, string>(
    machineNames.map((machine) => [`machine:${machine}`, drawing({ machine, format: 'mermaid' })]),
  )
  const support = drawing({ workflow: 'support', format: 'mermaid' })
  diagrams.set('machine:support', support).set('workflow:support', support)
  let text = markdown
  for (const [name, diagram] of diagrams) {
    const opening = `<!-- ${name} -->`
    const closing = `<!-- /${name} -->`
    const start = text.indexOf(opening)
    if (start === -1) continue
    const end = text.indexOf(closing, start)
    if (end === -1) throw new Error(`"${opening}" has no "${closing}"`)
    text = `${text.slice(0, start + opening.length)}\n\n\`\`\`mermaid\n${diagram}\`\`\`\n\n${text.slice(end)}`
  }
  return text
}
