// One runner thread, seen from inside
//
// Owns: the runs of its shard, drivers of its own, its prompt meter, and the tools' functions.
// Does not own: queues, windows and mapping, caches, tool limits (control thread).
// Invariants
//   N1. What a run says goes out on one port in the order it was said: its transitions come before its next request.
//   N2. Token events that the control thread has not heard of are bounded; what is beyond is dropped and counted.
//   N3. What cannot cross threads fails its run, and nothing else.

import { threadCpuUsage } from 'node:process'
import { expose } from 'comlink'
import type { ActorMessage, Address, RunMessage, StageMessage } from '../actors/messages.ts'
import { startRoot } from '../actors/root.ts'
import { WorkflowActor, type WorkflowServices } from '../actors/workflow.ts'
import { realClock } from './clock.ts'
import { CancelledError, errorFromFacts, messageOf, StageError } from './errors.ts'
import { Feed } from './feed.ts'
import { limits } from './limits.ts'
import type { Logger } from './log.ts'
import { WarmHeads } from './mapping/warm-heads.ts'
import { createTokenCorrection } from './prompts/correction.ts'
import { loadEstimator } from './prompts/estimator.ts'
import { CriticalPaths } from './prediction/critical-path.ts'
import { StageHistory } from './prediction/stage-history.ts'
import { DriverLease } from './runtime-driver-lease.ts'
import { loadModule, type WorkflowModule } from './runtime-modules.ts'
import { shadowOf } from './runtime-shadows.ts'
import {
  Outbox,
  type BackendGlimpse,
  type FromRunner,
  type RemoteStart,
  type RunnerBoot,
  type RunnerCalls,
  type RunnerPorts,
  type ToRunner,
} from './runtime-runner-protocol.ts'
import { threadLog } from './runtime-thread-log.ts'
import { Packer } from './runtime-runner-pack.ts'
import { granted, type PackedGrant } from './runtime-runner-wire.ts'
import type { TokenEvent } from './schema/transition.ts'
import { createPromptPool } from './workers/prompt-pool.ts'
import { TurnoverMap } from './turnover-map.ts'

/** Serves the control thread until the thread ends. */
export function serveRunner({ calls, hot }: RunnerPorts): void {
  let runner: Runner | undefined
  const waiting: (ToRunner | PackedGrant)[] = []
  // What arrives before it is ready waits for it, in order.
  hot.on('message', (batch: (ToRunner | PackedGrant)[]) => {
    if (runner === undefined) waiting.push(...batch)
    else runner.receive(batch)
  })
  const served: RunnerCalls = {
    async boot(boot) {
      const made = await makeRunner(boot, hot)
      runner = made
      made.receive(waiting.splice(0))
    },
    cpuUs() {
      const { user, system } = threadCpuUsage()
      return user + system
    },
    async close() {
      await runner?.close()
    },
  }
  expose(served, calls)
}

async function makeRunner(boot: RunnerBoot, hot: RunnerPorts['hot']): Promise<Runner> {
  const [module, estimator] = await Promise.all([loadModule(boot.module), loadEstimator('o200k_base')])
  const clock = realClock({ seed: boot.seed, originMs: boot.clockOriginMs })
  const packer = new Packer()
  const outbox = new Outbox<FromRunner>(
    hot,
    (message, error) => runner.uncloneable(message, error),
    (message, push) => {
      if (message.type === 'ended') {
        const reports = packer.reports(message.outcome.stages)
        if (reports !== undefined) {
          push(reports, message)
          return push({ ...message, outcome: { ...message.outcome, stages: {} } }, message)
        }
      }
      push(packer.pack(message), message)
    },
  )
  const log = threadLog((line) => outbox.send(line))
  const leases = new Map<string, DriverLease>()
  for (const [name, definition] of Object.entries(module.backends)) {
    const elsewhere = boot.elsewhere[name]
    const environment = { backend: name, clock, log, ...(elsewhere !== undefined && { elsewhere }) }
    const driver = await definition.connect(environment)
    const changed = (before: string, now: string): void => {
      log.warn({ backend: name, before, now }, 'a backend answers with another model')
      outbox.send({ type: 'post', to: { actor: 'memory' }, message: { type: 'memory.emptied', backend: name } })
    }
    const { timeouts } = definition.settings
    const guard = { clock, backend: name, timeouts, responseCharsMax: limits.responseBytesMax }
    leases.set(name, new DriverLease(driver, guard, changed))
  }
  const runner: Runner = new Runner({ boot, module, estimator, clock, log, outbox, leases })
  return runner
}

interface RunnerParts {
  boot: RunnerBoot
  module: WorkflowModule
  estimator: Awaited<ReturnType<typeof loadEstimator>>
  clock: ReturnType<typeof realClock>
  log: Logger
  outbox: Outbox<FromRunner>
  leases: Map<string, DriverLease>
}

/** What stages of this thread took. The control thread hears of it too. */
class ToldHistory extends StageHistory {
  readonly #outbox: Outbox<FromRunner>

  constructor(outbox: Outbox<FromRunner>) {
    super()
    this.#outbox = outbox
  }

  override answered(...told: Parameters<StageHistory['answered']>): void {
    super.answered(...told)
    this.#outbox.send({ type: 'answered', told })
  }

  override completed(...told: Parameters<StageHistory['completed']>): void {
    super.completed(...told)
    this.#outbox.send({ type: 'completed', told })
  }
}

class Runner {
  readonly #parts: RunnerParts
  readonly #services: WorkflowServices
  readonly #feed = new Feed()
  readonly #runs = new TurnoverMap<string, { actor: WorkflowActor; unwatch: (() => void) | undefined }>()
  readonly #tools = new Map<number, AbortController>()
  readonly #prompts: ReturnType<typeof createPromptPool>
  #backends = new Map<string, BackendGlimpse>()
  #unwatch: (() => void) | undefined
  /** Token events that the control thread did not say it heard. */
  #unheard = 0
  #dropped = 0
  #forecasts = false

  constructor(parts: RunnerParts) {
    this.#parts = parts
    const { boot, estimator, clock, log, outbox, leases } = parts
    this.#prompts = createPromptPool({ estimator, mode: 'pool', ...boot.prompts })
    this.#know(boot.backends)
    if (boot.watched) this.#watch(undefined, true)
    const history = new ToldHistory(outbox)
    this.#forecasts = boot.forecasts
    this.#services = {
      history,
      paths: new CriticalPaths(history),
      forecasts: () => this.#forecasts,
      clock,
      random: clock.random(`retries/${boot.index}`),
      post: (to, message) => outbox.send({ type: 'post', to, message }),
      root: startRoot(log),
      log,
      feed: this.#feed,
      correction: createTokenCorrection(),
      recorder: boot.records ? { turn: (facts) => outbox.send({ type: 'turn', facts }), ended() {} } : undefined,
      foresight: undefined,
      shadow: shadowOf(boot.shadows, clock.random(`shadows/${boot.index}`), (answered) =>
        outbox.send({ type: 'shadow', answered }),
      ),
      measure: (messages, tools, signal) => this.#prompts.measure(messages, { tools, signal }),
      render: (prompt, context, signal) => {
        const built = this.#prompts.render(prompt, context, { signal })
        return built instanceof Promise ? built.then(({ messages }) => messages) : built.messages
      },
      modelOf: (backend) => this.#backends.get(backend)!.model,
      pricesOf: (backend) => this.#backends.get(backend)?.prices,
      peersOf: (backend) => boot.failover[backend] ?? [],
      isPool: (name) => boot.pools.includes(name),
      placesNow: () => undefined,
      warmHeads: new WarmHeads(),
      canServe: (backend) => this.#backends.get(backend)?.serves ?? false,
      infer: (backend, request, context, sink, timeouts) => leases.get(backend)!.chat(request, context, sink, timeouts),
      transition: (transition) => outbox.send({ type: 'transition', transition }),
      ended: (outcome) => {
        this.#runs.delete(outcome.runId)
        outbox.send({ type: 'ended', outcome })
      },
    }
  }

  receive(batch: readonly (ToRunner | PackedGrant)[]): void {
    for (const message of batch) {
      if (typeof message === 'string') this.#grant(message)
      else this.#take(message)
    }
  }

  #grant(requestId: PackedGrant): void {
    const { runId, stage } = granted(requestId)
    this.#deliver({ actor: 'stage', runId, stage }, { type: 'stage.granted', requestId })
  }

  /** A message cannot be cloned: its run gets to know, in the way that kind of message has. */
  uncloneable(message: FromRunner, error: unknown): void {
    const { outbox, log } = this.#parts
    const why = `it cannot cross threads: ${messageOf(error)}; return plain data`
    if (message.type === 'ended') {
      const { outcome } = message
      const facts = new StageError('ORLA_STAGE_OUTPUT', `the result of the run is lost, ${why}`).toJSON()
      const { result: _result, ...rest } = outcome
      const stages = Object.fromEntries(
        Object.entries(outcome.stages).map(([name, report]) => [name, { ...report, toolCalls: [] }]),
      )
      outbox.send({ type: 'ended', outcome: { ...rest, state: 'failed', error: facts, results: {}, stages } })
    } else if (message.type === 'toolDone') {
      outbox.send({ type: 'toolDone', call: message.call, ok: false, message: `its result is lost, ${why}` })
    } else if (message.type === 'post' && message.message.type === 'mapper.map') {
      const { replyTo } = message.message
      const facts = new StageError('ORLA_STAGE_BUILDER', `what its mapper is told is lost, ${why}`).toJSON()
      this.#runs.get(replyTo.runId)?.actor.deliver(replyTo.stage, { type: 'stage.unmapped', error: facts })
    } else {
      log.error({ message: message.type }, `a message is lost, ${why}`)
    }
  }

  async close(): Promise<void> {
    const { leases } = this.#parts
    await Promise.all([this.#prompts.close(), ...[...leases.values()].map((lease) => lease.retire())])
  }

  #take(message: ToRunner): void {
    switch (message.type) {
      case 'begin':
        return this.#make(message.run).start(message.input)
      case 'refuse':
        return this.#make(message.run).refuse(errorFromFacts(message.error))
      case 'cancel':
        this.#runs.get(message.runId)?.actor.cancel(new CancelledError(message.by, message.reason))
        return
      case 'post':
        return this.#deliver(message.to, message.message)
      case 'watch':
        return this.#watch(message.runId, message.watched)
      case 'backends':
        this.#forecasts = message.forecasts
        return this.#know(message.backends)
      case 'heard':
        this.#unheard -= message.tokens
        return
      case 'tool':
        return void this.#call(message)
      case 'abortTool':
        this.#tools.get(message.call)?.abort()
        return
    }
  }

  #make(run: RemoteStart): WorkflowActor {
    const { module } = this.#parts
    const { definition } = module.workflows.get(run.workflow)!
    const { runId, definitionId, tenant, priority, deadlineMs, targetMs, budgetUsd, again } = run
    const actor = new WorkflowActor(
      { runId, definition, definitionId, tenant, priority, deadlineMs, targetMs, budgetUsd, again },
      this.#services,
    )
    this.#runs.set(runId, { actor, unwatch: undefined })
    if (run.watched) this.#watch(runId, true)
    return actor
  }

  #deliver(to: Address, message: ActorMessage): void {
    const { outbox } = this.#parts
    if (to.actor === 'run') this.#runs.get(to.runId)?.actor.receive(message as RunMessage)
    else if (to.actor === 'stage') {
      const taken = this.#runs.get(to.runId)?.actor.deliver(to.stage, message as StageMessage) ?? false
      if (!taken) outbox.send({ type: 'dead', message: message.type })
    }
  }

  #know(backends: readonly BackendGlimpse[]): void {
    // A backend that was removed keeps its model: stages that ran there may be live.
    for (const [name, backend] of this.#backends) this.#backends.set(name, { ...backend, serves: false })
    for (const backend of backends) this.#backends.set(backend.name, backend)
  }

  #watch(runId: string | undefined, watched: boolean): void {
    if (runId === undefined) {
      this.#unwatch?.()
      this.#unwatch = watched
        ? this.#feed.subscribe((event) => void (event.type === 'stage.token' && this.#token(event)))
        : undefined
      return
    }
    const run = this.#runs.get(runId)
    if (run === undefined) return
    run.unwatch?.()
    run.unwatch = watched
      ? run.actor.feed.subscribe((event) => {
          if (event.type === 'stage.token' && !this.#feed.observed) this.#token(event)
        })
      : undefined
  }

  #token(event: TokenEvent): void {
    const { outbox } = this.#parts
    if (this.#unheard >= limits.observerBacklogMax) {
      this.#dropped++
      return
    }
    if (this.#dropped > 0) {
      outbox.send({ type: 'dropped', runId: event.runId, atMs: event.atMs, count: this.#dropped })
      this.#dropped = 0
    }
    this.#unheard++
    outbox.send({ type: 'token', event })
  }

  async #call({ call, workflow, stage, tool, args, context }: Extract<ToRunner, { type: 'tool' }>): Promise<void> {
    const { module, outbox } = this.#parts
    const controller = new AbortController()
    this.#tools.set(call, controller)
    try {
      const { definition } = module.workflows.get(workflow)!.definition.byName.get(stage)!.tools.get(tool)!
      const value: unknown = await definition.run(args, { ...context, signal: controller.signal })
      outbox.send({ type: 'toolDone', call, ok: true, value })
    } catch (error) {
      outbox.send({ type: 'toolDone', call, ok: false, message: messageOf(error) })
    } finally {
      this.#tools.delete(call)
    }
  }
}
