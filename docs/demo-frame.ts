// The picture of the demonstration: a real run on the virtual clock, stopped at a telling moment.

import {
  createSupportDesk,
  sampleTickets,
  supportResponder,
  supportWorkflow,
} from '../src/examples/customer-support/index.ts'
import { createRuntime, simulated, virtualClock } from '../src/index.ts'
import type { Topic } from '../src/cli/view/describe.ts'
import type { Line } from '../src/cli/view/line.ts'
import { renderFrame } from '../src/cli/view/render.ts'
import { initialView, planOf, reduce } from '../src/cli/view/view-model.ts'

const height = 30

/** The tool call after which the picture is taken: both stages have used tools then, and both are at work. */
const momentToolsEnded = 3

/**
 * The lines of the screen in the middle of a run. The same seed gives the same lines.
 *
 * @param columns - width of the screen
 */
export async function demoFrame(columns: number): Promise<Line[]> {
  const clock = virtualClock({ seed: 7 })
  const workflow = supportWorkflow(createSupportDesk())
  const [{ ticket }] = sampleTickets
  await using runtime = await createRuntime({
    clock,
    backends: {
      light: simulated({ model: 'qwen3-4b', engine: 'light', responder: supportResponder }),
      heavy: simulated({ model: 'qwen3-8b', engine: 'heavy', responder: supportResponder }),
    },
    scheduling: { heavy: { stage: 'priority' } },
    probeTimeoutMs: 0,
  })
  let state = initialView({
    workflow: workflow.name,
    ticket: ticket.text,
    stages: planOf(workflow),
    backends: runtime.backends(),
  })
  let lines: Line[] | undefined
  let toolsEnded = 0
  runtime.subscribe((event) => {
    state = reduce(state, event)
    if (event.type === 'tool.ended') toolsEnded++
    // One turn granted after the last tool: everything shown is under way.
    if (lines !== undefined || toolsEnded < momentToolsEnded || event.type !== 'stage.granted') return
    const topics = new Set<Topic>(['mapping', 'scheduling', 'tool', 'trouble'])
    lines = renderFrame(state, { width: columns, height, nowMs: state.atMs, topics })
  })
  await clock.run(runtime.start(workflow, ticket).result)
  if (lines === undefined) throw new Error('the run took another way: no moment with three tool calls in it')
  return lines
}
