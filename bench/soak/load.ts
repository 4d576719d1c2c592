// The mixed load of the soak: runs that are awaited, watched, with tools and schema, cancelled, late, and badly answered.

import { z } from 'zod'
import { createRuntime, simulated, system, tool, user, workflow, type Runtime } from '../../src/index.ts'

const instruction = system('You answer customers of a shop. Say what you did, and promise nothing more.')
const Question = z.object({ text: z.string() })

const plain = workflow('plain', { input: Question })
  .stage('draft', { backend: 'light', prompt: ({ input }) => [instruction, user(input.text)] })
  .stage('check', {
    after: ['draft'],
    backend: 'heavy',
    context: 'append',
    prompt: ({ results }) => `Check this: ${results.draft}`,
  })

const look = tool({
  description: 'Looks up an order.',
  input: z.object({ order: z.string() }),
  run: async ({ order }) => {
    await new Promise((resolve) => setImmediate(resolve))
    if (order.length % 5 === 0) throw new Error(`there is no order ${order}`)
    return { order, state: 'sent' }
  },
})

const tools = workflow('tools', { input: Question }).stage('answer', {
  backend: 'heavy',
  tools: { look },
  output: z.object({ answer: z.string(), settled: z.boolean() }),
  prompt: ({ input }) => [instruction, user(input.text)],
})

const fan = workflow('fan', { input: Question })
  .stage('split', { backend: 'light', prompt: ({ input }) => input.text })
  .stage('left', { after: ['split'], backend: 'heavy', prompt: ({ results }) => results.split })
  .stage('right', { after: ['split'], backend: 'light', prompt: ({ results }) => results.split })

/**
 * Different texts. What is remembered of texts is bounded (the bench `tokens`) but fills for hours, and would hide what leaks.
 */
const tickets = 1_000

/** What one run does. */
type Kind = 'awaited' | 'watched' | 'tools' | 'cancelled' | 'late'

/** Kinds by their share of a hundred runs. */
const shares: Record<Kind, number> = { awaited: 35, watched: 25, tools: 20, cancelled: 12, late: 8 }
const kinds = Object.entries(shares).flatMap(([kind, share]) => Array.from({ length: share }, () => kind as Kind))

/** Opens the runtime of the soak: two simulated engines behind HTTP, each in a thread; one answer in twenty is broken. */
export function openSoak(): Promise<Runtime> {
  const faults = [
    {
      when: { rate: 0.05 },
      fault: ['B3' as const, 'B4' as const, 'B6' as const, 'B11' as const, 'B26' as const],
      at: 'any' as const,
    },
  ]
  const common = { transport: 'http' as const, windowRequests: 32, queueCapacity: 1_000, faults }
  return createRuntime({
    backends: {
      light: simulated({ ...common, model: 'qwen3-4b', engine: 'light', speed: 100 }),
      heavy: simulated({ ...common, model: 'qwen3-8b', speed: 100 }),
    },
    scheduling: { heavy: { stage: 'priority' } },
    memory: { policy: 'paper' },
  })
}

/** Does one run, whose kind follows from its number, and says how it ended: its state, or the code of its error. */
export async function oneRun(runtime: Runtime, number: number): Promise<string> {
  const ticket = number % tickets
  const kind = kinds[(number * 37) % kinds.length]!
  const input = {
    text: `Ticket ${ticket}: where is order ${'x'.repeat(ticket % 40)}${ticket}? It should have come on day ${ticket % 31}.`,
  }
  const options = {
    tenant: `tenant-${number % 20}`,
    priority: number % 3,
    ...(kind === 'late' && { deadlineMs: 1 + (number % 60) }),
  }
  const chosen = kind === 'tools' ? tools : number % 2 === 0 ? plain : fan
  const run = runtime.start<{ text: string }, unknown>(chosen, input, options)
  if (kind === 'watched' || kind === 'cancelled') {
    let tokens = 0
    for await (const event of run.events) {
      if (event.type === 'stage.token' && ++tokens === 20 && kind === 'cancelled') run.cancel('the bench')
    }
  }
  const { state, error } = await run.outcome
  return state === 'failed' ? (error?.code ?? 'failed') : state
}
