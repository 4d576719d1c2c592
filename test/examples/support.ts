// A support desk at work: runtimes with a simulated model, on the virtual clock or over HTTP.

import {
  createRuntime,
  simulated,
  virtualClock,
  type Responder,
  type RunEvent,
  type RunOutcome,
  type Runtime,
  type SchedulingOptions,
} from '../../src/index.ts'
import {
  createSupportDesk,
  sampleTickets,
  supportResponder,
  supportWorkflow,
  type SupportDesk,
  type SupportResult,
} from '../../src/examples/customer-support/index.ts'

/** What one run left behind. */
export interface Handled {
  outcome: RunOutcome<SupportResult>
  effects: ReturnType<SupportDesk['effectsOf']>
  transitions: RunEvent[]
}

/** Text of a sample ticket. */
export function sampleText(name: string): string {
  const found = sampleTickets.find((sample) => sample.name === name)
  if (found === undefined) throw new Error(`there is no sample "${name}"`)
  return found.ticket.text
}

/** Handles one ticket on the virtual clock. */
export async function handle(
  text: string,
  options: { desk?: SupportDesk; responder?: Responder | URL; scheduling?: SchedulingOptions } = {},
): Promise<Handled> {
  const { desk = createSupportDesk(), responder = supportResponder } = options
  const clock = virtualClock({ seed: 1 })
  const runtime = await createRuntime({
    clock,
    cloneMessages: true,
    backends: {
      light: simulated({ model: 'qwen3-4b', engine: 'light', responder }),
      heavy: simulated({ model: 'qwen3-8b', engine: 'heavy', responder }),
    },
    ...(options.scheduling !== undefined && { scheduling: { heavy: options.scheduling } }),
  })
  const transitions: RunEvent[] = []
  runtime.subscribe((event) => void transitions.push(event))
  try {
    const outcome = await clock.run(runtime.start(supportWorkflow(desk), { text }).outcome)
    return { outcome, effects: desk.effectsOf(outcome.runId), transitions }
  } finally {
    await runtime.close()
  }
}

/** A runtime whose engines are OpenAI servers in a thread of their own, in real time at `speed`. */
export function httpRuntime(speed: number): Promise<Runtime> {
  return createRuntime({
    backends: {
      light: simulated({ model: 'qwen3-4b', engine: 'light', responder: supportResponder, transport: 'http', speed }),
      heavy: simulated({ model: 'qwen3-8b', engine: 'heavy', responder: supportResponder, transport: 'http', speed }),
    },
    scheduling: { heavy: { stage: 'priority' } },
  })
}

/** What a run did, in one line each: who got the ticket, and which mails went out. */
export function traceOf({ emails, tickets }: Handled['effects']): string[] {
  return [
    ...tickets.map(({ stage, team, priority }) => `${stage}: ticket to ${team}, ${priority}`),
    ...emails.map(({ stage, to }) => `${stage}: mail to ${to}`),
  ].toSorted()
}
