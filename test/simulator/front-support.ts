import { onTestFinished } from 'vitest'
import { realClock } from '../../src/clock.ts'
import { buildEngine, type EnginePlan } from '../../src/simulator/engine-plan.ts'
import { serveEngine, type ServeOptions } from '../../src/simulator/openai-front.ts'
import { simpleSpeeds } from '../../src/simulator/simple-model.ts'

/** A tool call, whole or in pieces. */
export interface WireCall {
  index?: number
  id: string
  type?: string
  function: { name?: string; arguments: string }
}

/** A message, or a delta of one. */
export interface WireText {
  role?: string
  content?: string | null
  reasoning?: string
  refusal?: string | null
  tool_calls?: WireCall[]
  [other: string]: unknown
}

/** A completion, or a chunk of one, as tests look at it. */
export interface WireAnswer {
  id: string
  object: string
  choices: { index: number; delta: WireText; message: WireText; finish_reason: string | null }[]
  usage: {
    prompt_tokens: number
    completion_tokens: number
    total_tokens: number
    prompt_tokens_details: { cached_tokens: number }
  }
}

/** A plan of an engine without times that serves model `m`. */
export function planOf(given: Partial<EnginePlan> = {}): EnginePlan {
  return {
    model: 'm',
    contextLength: 32_768,
    speed: 1,
    seed: 7,
    engine: { kind: 'simple', speed: simpleSpeeds.instant },
    responder: undefined,
    ...given,
  }
}

/** Serves an engine for the length of one test. */
export async function serve(given: Partial<EnginePlan> = {}, options: Partial<ServeOptions> = {}) {
  const clock = options.clock ?? realClock({ seed: 7 })
  const engine = await buildEngine(planOf(given), clock)
  const server = await serveEngine(engine, { clock, ...options })
  onTestFinished(() => server.close())
  const url = `${server.url}/v1/chat/completions`
  const post = (body: unknown, init: RequestInit = {}): Promise<Response> =>
    fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
    })
  const ask = async (body: object): Promise<WireAnswer> => (await (await post(body)).json()) as WireAnswer
  return { server, engine: engine.engine, url, post, ask }
}

/** A chat request to model `m` that says `text`. */
export function saying(text: string, extra: object = {}): object {
  return { model: 'm', messages: [{ role: 'user', content: text }], ...extra }
}

/** The events of a whole stream: parsed, except for the closing `[DONE]`. */
export async function eventsOf(response: Response): Promise<(WireAnswer | '[DONE]')[]> {
  const text = await response.text()
  return text
    .split('\n\n')
    .filter((event) => event !== '')
    .map((event) => {
      const data = event.replace(/^data: /, '')
      return data === '[DONE]' ? data : (JSON.parse(data) as WireAnswer)
    })
}

/** The deltas of a whole stream, in order. */
export async function deltasOf(response: Response): Promise<WireText[]> {
  const events = await eventsOf(response)
  return events.flatMap((event) => (event === '[DONE]' ? [] : event.choices.map((choice) => choice.delta)))
}
