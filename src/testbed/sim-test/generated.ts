// The subject that comes with the simulation: workflows drawn from the seed, on simulated engines.

import { z } from 'zod'
import type { Shadows } from '../../accounting/shadow-plan.ts'
import { openAi } from '../../engines/openai.ts'
import type { BackendDefinition } from '../../engines/backend-definition.ts'
import { firstOf } from '../../mapping/first-of.ts'
import { loadAware } from '../../mapping/load-aware.ts'
import type { Mapper } from '../../mapping/mapper.ts'
import { modelBit, type ModelBitOptions } from '../../mapping/one-bit.ts'
import { memoryPolicy } from '../../memory/plan.ts'
import { utf8BytesEstimator } from '../../prompts/estimator.ts'
import type { ChatRequest } from '../../schema/chat.ts'
import { schedulingPolicy } from '../../scheduling/registry.ts'
import { system, user } from '../../schema/message.ts'
import type { Reply } from '../../simulator/responder.ts'
import { simpleSpeeds } from '../../simulator/simple-model.ts'
import { createSimulated } from '../../simulator/simulated.ts'
import { workflow, type Workflow } from '../../workflow/builder.ts'
import { tool, type ToolDefinition } from '../../workflow/tool.ts'
import { poolOf, type SimBackend, type SimRun, type SimStage } from './scenario.ts'
import { breakableMemory, breakablePolicy } from './crashes.ts'
import type { SimAnswer, SimKit, SimSetup, SimSubject } from './subject.ts'

const simulated = createSimulated(openAi)

/** Deadlines of one request, ms: short, so that what stalls ends. */
const timeouts = { firstTokenMs: 20_000, idleMs: 5_000, totalMs: 30_000 }

/** Dollars that no scenario spends: what is looked at is that they are accounted for. */
const plenty = 1_000

/** Workflows of any shape, with tools, mappers, routers, schemas, cascades, fallbacks and skipped stages, as the scenario says. */
export const generatedSubject: SimSubject = {
  name: 'generated workflows',
  setUp(kit): SimSetup {
    const { scenario } = kit
    const definitions = new Map(scenario.backends.map((backend) => [backend.name, backendOf(backend)]))
    let starting = false
    const tools = { note: noteTool(kit, () => starting) }
    const heard = new Heard()
    const choose = mapperOf(kit, heard)
    return {
      backends: Object.fromEntries(definitions),
      options: {
        estimator: utf8BytesEstimator,
        cloneMessages: true,
        shadows: shadowsOf(scenario.backends),
        budgets: { tenants: { default: plenty, red: { usd: plenty, per: 'minute' }, blue: plenty } },
        scheduling: Object.fromEntries(
          scenario.backends.map(({ name, stagePolicy, requestPolicy }) => [
            name,
            {
              stage: schedulingPolicy(stagePolicy),
              request: breakablePolicy(schedulingPolicy(requestPolicy), () => kit.crash()),
            },
          ]),
        ),
        ...(scenario.failover && { failover: peersOf(scenario.backends) }),
        ...(scenario.pools && { pools: poolsOf(scenario.backends) }),
        ...(scenario.memory !== undefined && {
          memory: {
            policy: breakableMemory(memoryPolicy(scenario.memory.policy), () => kit.crash()),
            holdMsMax: scenario.memory.holdMsMax,
            prewarm: scenario.memory.prewarm ?? false,
            ...(scenario.memory.kvTokens !== undefined && {
              kvTokens: Object.fromEntries(scenario.backends.map(({ name }) => [name, scenario.memory!.kvTokens!])),
            }),
          },
        }),
      },
      start(runtime, run) {
        const { priority, tenant, deadlineMs } = run
        const options = { priority, tenant, ...(deadlineMs !== undefined && { deadlineMs }) }
        starting = true
        try {
          return runtime.start(workflowOf(run, tools, choose), { index: run.index }, options)
        } finally {
          starting = false
        }
      },
      judge: (run, { runId, result }, answers) =>
        judge(run, result as Record<string, unknown>, answers) ??
        heard.wrong(runId, run, result as Record<string, unknown>),
    }
  },
}

function backendOf(backend: SimBackend): BackendDefinition {
  const { model, windowRequests, queueCapacity, prefillMsPerToken, decodeMsPerToken } = backend
  const speed = { ...simpleSpeeds.instant, prefillMsPerToken, decodeMsPerToken, overheadMs: 1 }
  return simulated({
    model,
    windowRequests,
    queueCapacity,
    timeouts,
    prices: { inputUsdPerMTok: 10, cachedInputUsdPerMTok: 1, outputUsdPerMTok: 40 },
    engine: speed,
    responder: answerOf,
  })
}

/** Copies of a quarter of all first stages go to the last backend. */
function shadowsOf(backends: readonly SimBackend[]): Shadows {
  const { name: backend } = backends.at(-1)!
  const classes = [1, 2, 3, 4, 5, 6, 7, 8].map((stages) => `shape${stages}/s0`)
  return Object.fromEntries(classes.map((stageClass) => [stageClass, { backend, share: 0.25, inFlightMax: 2 }]))
}

/** Other backends of the same model. */
function peersOf(backends: readonly SimBackend[]): Record<string, string[]> {
  return Object.fromEntries(
    backends.map(({ name, model }) => [
      name,
      backends.filter((other) => other.model === model && other.name !== name).map((other) => other.name),
    ]),
  )
}

/** Backends of one model, under a common name. */
function poolsOf(backends: readonly SimBackend[]): Record<string, string[]> {
  return Object.fromEntries(
    [...Map.groupBy(backends, ({ model }) => model)].map(([model, all]) => [
      poolOf(model),
      all.map(({ name }) => name),
    ]),
  )
}

function workflowOf(
  run: SimRun,
  tools: Record<string, ToolDefinition>,
  choose: (stage: SimStage) => Mapper,
): Workflow<unknown, unknown> {
  let definition = workflow(`shape${run.stages.length}`) as unknown as LooseWorkflow
  for (const stage of run.stages) {
    definition = definition.stage(stage.name, {
      after: stage.after.map((i) => run.stages[i]!.name),
      ...(stage.backend === undefined ? { mapping: choose(stage) } : { backend: stage.backend }),
      fallback: stage.fallback.filter((name) => name !== stage.backend),
      ...cascadeOf(stage),
      prompt: () => [
        ...(stage.headTokens > 0 ? [system(`${stage.name}${' rule'.repeat(stage.headTokens)}`)] : []),
        user(`plan ${JSON.stringify(planOf(run, stage))}`),
      ],
      ...(stage.toolCalls > 0 && { tools }),
      ...(stage.json && { output: z.object({ id: z.string() }) }),
      ...(stage.appends && { context: 'append' }),
      ...(stage.skipped && { when: () => false }),
      retry: { attempts: stage.attempts, backoffMs: 100 },
      turnsMax: 6,
    })
  }
  return definition.output(({ results }: { results: unknown }) => results) as unknown as Workflow<unknown, unknown>
}

/** The builder without its types: the names of the stages are not known to the compiler. */
interface LooseWorkflow {
  stage(name: string, options: object): LooseWorkflow
  output(make: (context: { results: unknown }) => unknown): LooseWorkflow
}

/** What the prompt of a stage says, and the model goes by. */
interface Plan {
  id: string
  calls: number
  json: boolean
  tokens: number
}

function planOf(run: SimRun, { name, toolCalls, json, answerTokens }: SimStage): Plan {
  return { id: `${run.index}/${name}`, calls: toolCalls, json, tokens: answerTokens }
}

/** What the model says: tool calls as the last plan in the conversation wants them, then the answer. */
function answerOf(request: ChatRequest): Reply {
  const { messages } = request
  const question = messages.at(-1)!.content
  // A router's: whatever it says must not matter.
  if (question.includes(routerWords)) return { content: ['0', '1', 'perhaps'][question.length % 3]! }
  const at = messages.findLastIndex(({ role, content }) => role === 'user' && content.startsWith('plan '))
  const plan = JSON.parse(messages[at]!.content.slice(5)) as Plan
  const made = messages
    .slice(at)
    .filter((message) => message.role === 'assistant' && (message.toolCalls?.length ?? 0) > 0)
  if (request.tools !== undefined && request.toolChoice !== 'none' && made.length < plan.calls) {
    return { toolCalls: [{ name: 'note', arguments: { key: `${plan.id}/${made.length}` } }] }
  }
  return { content: textOf(plan) }
}

function textOf({ id, json, tokens }: Plan): string {
  return json ? JSON.stringify({ id }) : `${id} ${'word '.repeat(tokens)}`.trim()
}

/** A tool with an effect. */
function noteTool(kit: SimKit, isStarting: () => boolean): ToolDefinition {
  const draw = kit.draw('tool')
  const note = tool({
    description: 'Notes something.',
    input: z.object({ key: z.string() }),
    concurrency: 2,
    async run({ key }, context) {
      const form = kit.strikes('tool') ? draw.int(0, 4) : undefined
      await new Promise<void>((resolve) => void kit.clock.setTimer(form === 0 ? 2_500 : draw.int(0, 20), resolve))
      if (form === 1) throw new Error('the tool is broken')
      if (form === 2) return new Promise(() => {})
      kit.effect(context)
      if (form === 3) return 1n
      if (form === 4) throw new Error('broken after the effect')
      kit.answered(context)
      return { noted: key }
    },
  })
  return {
    ...note,
    get timeoutMs() {
      // Who checks the workflow reads it as well, and is no actor.
      if (!isStarting()) kit.crash()
      return 3_000
    },
  }
}

/** What questions of routers are known by. */
const routerWords = 'is it simple'

function cascadeOf({ cascade, backend, name }: SimStage): object {
  const to = cascade.filter((other) => other !== backend)
  if (to.length === 0) return {}
  // Some answers are never good enough; the last one's is taken all the same.
  return { cascade: { to, accept: () => Promise.resolve(name === 's0' || 'not good enough') } }
}

/** What mappers were told of the ends of the stages that they mapped. */
class Heard {
  readonly #states = new Map<string, string[]>()

  /** A mapper that decides like the other, and listens. */
  by(mapper: Mapper): Mapper {
    const decides: Mapper = (request, context) => mapper(request, context)
    decides.observe = ({ runId, stage, state }) => {
      const key = `${runId} ${stage}`
      this.#states.set(key, [...(this.#states.get(key) ?? []), state])
    }
    return decides
  }

  /** What is wrong with what was heard of a run that completed: each stage that was mapped must have been told of once. */
  wrong(runId: string, { stages }: SimRun, results: Record<string, unknown>): string | undefined {
    for (const { name, backend } of stages) {
      const states = this.#states.get(`${runId} ${name}`) ?? []
      const expected = backend === undefined && results[name] !== undefined ? 'completed' : ''
      if (states.join() !== expected)
        return `the mapper of stage ${name} heard that it ended: ${states.join() || 'never'}`
    }
    return undefined
  }
}

function mapperOf(kit: SimKit, heard: Heard): (stage: SimStage) => Mapper {
  const byLoad = heard.by(loadMapper(kit))
  return ({ chooses, router, answerTokens }) => {
    if (chooses === 'load') return byLoad
    const asked = { router, about: () => `${routerWords}${'?'.repeat(answerTokens)}`, cache: 'none' } as const
    const mapper: Mapper = chooses === 'aware' ? loadAware({ hardness: modelBit(asked), risk: riskOf }) : spread(asked)
    return firstOf(mapper, byLoad)
  }
}

/** A router sends what is complex to the last backend, and the rest to the first. */
function spread(asked: ModelBitOptions): Mapper {
  const bit = modelBit(asked)
  return async (request, context) => {
    const { name } = request.backends.at(-(await bit(request, context)))!
    return { backend: name, reason: 'a router says so' }
  }
}

/** The first backend is bad at what is hard. */
function riskOf({ name }: { name: string }, hardness: number): number {
  return name === 'b1' ? hardness : 0
}

function loadMapper(kit: SimKit): Mapper {
  const draw = kit.draw('mapper')
  return async ({ backends }) => {
    if (kit.strikes('mapper')) {
      const form = draw.int(0, 2)
      if (form === 0) throw new Error('the mapper is broken')
      if (form === 1) return { backend: 'nowhere', reason: 'lost' }
      await new Promise<void>((resolve) => void kit.clock.setTimer(2_000, resolve))
    }
    const able = backends.filter(({ health }) => health !== 'draining')
    const best = (able.length > 0 ? able : backends).reduce((a, b) =>
      b.inFlight + b.waiting < a.inFlight + a.waiting ? b : a,
    )
    return { backend: best.name, reason: 'least load' }
  }
}

/** Every stage must have given what its engine said last, which must be what the model would say. */
function judge(run: SimRun, results: Record<string, unknown>, answers: readonly SimAnswer[]): string | undefined {
  const gone = new Set<number>()
  for (const [i, stage] of run.stages.entries()) {
    const skipped = stage.skipped || (stage.after.length > 0 && stage.after.every((parent) => gone.has(parent)))
    const given = results[stage.name]
    if (skipped) {
      gone.add(i)
      if (given !== undefined) return `stage ${stage.name} was skipped and gave ${JSON.stringify(given)}`
      continue
    }
    const said = textOf(planOf(run, stage))
    const truth: unknown = stage.json ? JSON.parse(said) : said
    if (JSON.stringify(given) !== JSON.stringify(truth)) {
      return `stage ${stage.name} gave ${JSON.stringify(given)}, and the truth is ${JSON.stringify(truth)}`
    }
    const last = answers.findLast((answer) => answer.stage === stage.name)
    if (last === undefined) return `stage ${stage.name} gave an answer, and no engine did`
  }
  return undefined
}
