// The command `visualize`: machines and workflows as pictures.

import { writeFile } from 'node:fs/promises'
import process from 'node:process'
import { createSupportDesk, supportWorkflow } from '../examples/customer-support/index.ts'
import { backendMachine, messageOf, stageMachine, workflowMachine } from '../index.ts'
import type { Diagram } from './diagram/diagram.ts'
import { machineDiagram, type DrawnMachine } from './diagram/machine-diagram.ts'
import { mermaid } from './diagram/mermaid.ts'
import { svg } from './diagram/svg.ts'
import { workflowDiagram } from './diagram/workflow-diagram.ts'
import { CommandError, unknownName } from './exit-code.ts'

/** Flags of `visualize`, unchecked. */
export interface VisualizeFlags {
  machine?: string
  workflow?: string
  format?: string
  out?: string
}

const machines: ReadonlyMap<string, DrawnMachine> = new Map<string, DrawnMachine>([
  ['workflow', workflowMachine],
  ['stage', stageMachine],
  ['backend', backendMachine],
])

const workflows = new Map([['support', () => supportWorkflow(createSupportDesk())]])

const formats = new Map<string, (diagram: Diagram) => string>([
  ['mermaid', mermaid],
  ['svg', svg],
  ['json', (diagram) => `${JSON.stringify(diagram, null, 2)}\n`],
])

/**
 * The text of the picture that the flags ask for.
 *
 * @throws {CommandError} with exit code 2 for names that there are not, with those that there are
 */
export function drawing({ machine, workflow, format = 'mermaid' }: VisualizeFlags): string {
  if ((machine === undefined) === (workflow === undefined)) {
    const names = `--machine ${[...machines.keys()].join('|')}, or --workflow ${[...workflows.keys()].join('|')}`
    throw new CommandError(`visualize: say what to draw, one of: ${names}`)
  }
  const write = formats.get(format)
  if (write === undefined) throw unknownName('--format', format, [...formats.keys()])
  if (machine !== undefined) {
    const found = machines.get(machine)
    if (found === undefined) throw unknownName('--machine', machine, [...machines.keys()])
    return write(machineDiagram(found))
  }
  const found = workflows.get(workflow!)
  if (found === undefined) throw unknownName('--workflow', workflow!, [...workflows.keys()])
  return write(workflowDiagram(found()))
}

/**
 * Draws to standard output or to a file.
 *
 * @throws {CommandError} with exit code 2 for wrong names, and for a file that cannot be written
 */
export async function visualize(flags: VisualizeFlags): Promise<void> {
  const text = drawing(flags)
  if (flags.out === undefined) {
    process.stdout.write(text)
    return
  }
  try {
    await writeFile(flags.out, text)
  } catch (error) {
    throw new CommandError(`--out: ${JSON.stringify(flags.out)} cannot be written: ${messageOf(error)}`)
  }
}
