// The runner threads of one runtime, seen from the control thread
//
// Owns: the threads, which run is on which, what each has asked of shared actors and not given back.
// Does not own: what a run does (runner thread), or queues, caches and tool limits (their actors).
// Invariants
//   T1. A thread that ends gives back everything its runs held: slots, places in queues, running tools.
//   T2. A run of it is started again, if no tool with effects was called and it was not tried too often; or it fails
//       with ORLA_RUNNER_LOST. Either way it ends.
//   T3. Transition numbers of a run count up by one, whatever threads it was on.
//   T4. A message of a thread that has ended is not heard any more.

import { MessageChannel, Worker } from 'node:worker_threads'
import { releaseProxy, wrap } from 'comlink'
import type { ActorMessage, Address, Post } from '../actors/messages.ts'
import type { Supervisor } from '../actors/supervisor.ts'
import { roundMs, type Clock } from './clock.ts'
import { CancelledError, messageOf, OrlaError, RunnerLostError } from './errors.ts'
import type { Feed } from './feed.ts'
import { limits } from './limits.ts'
import type { Logger } from './log.ts'
import type { RunnerStatus } from './runtime-api.ts'
import type { Answered } from './runtime-shadows.ts'
import type { ThreadsPlan } from './runtime-modules.ts'
import { RemoteRun, toolKey, type Shard } from './runtime-remote-run.ts'
import {
  Outbox,
  type BackendGlimpse,
  type FromRunner,
  type RemoteStart,
  type RunnerBoot,
  type RunnerCalls,
  type ToRunner,
} from './runtime-runner-protocol.ts'
import { Unpacker } from './runtime-runner-unpack.ts'
import { packGrant, type Packed, type PackedGrant } from './runtime-runner-wire.ts'
import type { StageHistory } from './prediction/stage-history.ts'
import type { RunEvent, Transition } from './schema/transition.ts'
import type { WorkflowDefinition } from './workflow/definition.ts'
import type { RunRecorder } from './workflow/recorder.ts'
import { emptyReport, type RunOutcome } from './workflow/report.ts'
import type { ToolDefinition } from './workflow/tool.ts'
import { entryFile, threadOptions } from './threads.ts'
import { TurnoverMap } from './turnover-map.ts'

/** What runners need of the runtime around them. */
export interface RunnersInput {
  plan: ThreadsPlan
  boot: Omit<RunnerBoot, 'index' | 'backends' | 'forecasts' | 'watched'>
  clock: Clock
  log: Logger
  supervisor: Supervisor
  feed: Feed
  recorder: RunRecorder | undefined
  /** A request was drawn to be copied. */
  shadow(answered: Answered): void
  history: StageHistory
  backends(): BackendGlimpse[]
  /** Whether any policy reads forecasts. */
  forecasts(): boolean
  post: Post
  /** A transition goes to the memory manager. */
  transition(transition: Transition, nowMs: number): void
  ended(outcome: RunOutcome, definitionId: string): void
  /** A message found nobody on its thread. */
  undelivered(message: string): void
}

interface Executing {
  shard: Shard
  resolve: (value: unknown) => void
  reject: (error: unknown) => void
}

/** The runner threads. */
export class Runners {
  readonly #input: RunnersInput
  readonly #shards: Shard[] = []
  readonly #runs = new TurnoverMap<string, RemoteRun>()
  readonly #executing = new TurnoverMap<number, Executing>()
  readonly #restarts: number[] = []
  #calls = 0
  #closing = false

  constructor(input: RunnersInput) {
    this.#input = input
    for (let index = 0; index < input.plan.count; index++) {
      this.#restarts.push(-1)
      input.supervisor.add({ name: `runner ${index}`, start: () => this.#start(index) })
    }
    input.feed.observedChanged = (watched) => this.#tellAll({ type: 'watch', runId: undefined, watched })
  }

  /** Resolves when every thread has loaded its module. Rejects with why one has not. */
  async ready(): Promise<void> {
    await Promise.all(this.#shards.map(({ ready }) => ready))
  }

  /** Makes a run on one of the threads. */
  run(start: Omit<RemoteStart, 'watched' | 'again'>, definition: WorkflowDefinition): RemoteRun {
    const run = new RemoteRun(start, definition, this.#input.clock.nowMs(), (each) => this.#runs.get(each.id) === each)
    this.#runs.set(start.runId, run)
    this.#place(run)
    return run
  }

  /** Tells all threads of the backends, which have changed. */
  backendsChanged(): void {
    if (this.#shards.length > 0)
      this.#tellAll({ type: 'backends', backends: this.#input.backends(), forecasts: this.#input.forecasts() })
  }

  /** A tool as its actor on this thread calls it: limits are kept here, `run` is called on the thread of the run. */
  toolProxy(workflow: string, stage: string, tool: string, definition: ToolDefinition): ToolDefinition {
    return {
      ...definition,
      run: (args, { signal, ...context }) => {
        const run = this.#runs.get(context.runId)
        if (run?.shard?.alive !== true) throw new Error('the thread of the run has ended')
        const { shard } = run
        if (definition.repeatable !== true && !run.effects.includes(tool)) run.effects.push(tool)
        const call = ++this.#calls
        return new Promise((resolve, reject) => {
          this.#executing.set(call, { shard, resolve, reject })
          signal.addEventListener('abort', () => shard.outbox.send({ type: 'abortTool', call }), { once: true })
          shard.outbox.send({ type: 'tool', call, workflow, stage, tool, args, context })
        })
      },
    }
  }

  /** How the threads are. */
  status(): RunnerStatus[] {
    return this.#shards.map((shard) => ({
      index: shard.index,
      state: !shard.alive ? 'ended' : shard.isReady ? 'running' : 'starting',
      liveRuns: this.#runsOn(shard).length,
      restarts: this.#restarts[shard.index]!,
      sent: shard.outbox.messages,
      batchesSent: shard.outbox.batches,
      heard: shard.heard,
    }))
  }

  /** CPU time of each thread so far, us; 0 for one that does not answer. */
  async cpuUs(): Promise<number[]> {
    return Promise.all(
      this.#shards.map(({ alive, calls, gone }) =>
        alive ? Promise.race([calls.cpuUs(), gone.then(() => 0)]) : Promise.resolve(0),
      ),
    )
  }

  /** Ends the threads. What still runs there is over. */
  async close(): Promise<void> {
    this.#closing = true
    for (const run of this.#runs.values()) run.stop ??= new CancelledError('shutdown', 'the runtime is closing')
    // Those that were told to stop get a moment to say how it went.
    const { clock } = this.#input
    const told = Promise.withResolvers<void>()
    const timer = clock.setTimer(limits.runnerCloseMs, told.resolve)
    const idle = Promise.all([...this.#runs.values()].map((run) => run.over.promise))
    await Promise.race([idle, told.promise])
    await Promise.all(
      this.#shards.map(async ({ alive, isReady, worker, calls, gone }) => {
        if (alive && isReady) await Promise.race([calls.close(), gone, told.promise]).catch(() => undefined)
        await worker.terminate()
      }),
    )
    clock.clearTimer(timer)
    for (const shard of this.#shards) this.#lost(shard, 'the runtime is closing')
  }

  #start(index: number): { stop(): void } {
    const { plan, boot, log, supervisor, feed } = this.#input
    const calls = new MessageChannel()
    const hot = new MessageChannel()
    const worker = new Worker(workerUrl, {
      name: `orla-runner-${index}`,
      ...threadOptions(workerUrl, boot.module),
      workerData: { calls: calls.port2, hot: hot.port2 },
      transferList: [calls.port2, hot.port2],
      ...(plan.heapMb !== undefined && { resourceLimits: { maxOldGenerationSizeMb: plan.heapMb } }),
    })
    const gone = Promise.withResolvers<void>()
    const proxy = wrap<RunnerCalls>(calls.port1)
    const outbox = new Outbox<ToRunner>(
      hot.port1,
      (message, error) => this.#uncloneable(message, error),
      (message, push) => push(shortOf(message), message),
    )
    const unpacker = new Unpacker()
    const shard: Shard = {
      index,
      worker,
      calls: proxy,
      ready: Promise.resolve(),
      isReady: false,
      gone: gone.promise,
      outbox,
      alive: true,
      requests: new Map(),
      toolCalls: new Map(),
      heard: 0,
    }
    const died = (why: string): void => {
      gone.resolve()
      if (!shard.alive) return
      const error = new OrlaError('ORLA_RUNNER_LOST', `runner thread ${index} ended: ${why}`, { retryable: true })
      proxy[releaseProxy]()
      hot.port1.close()
      const runs = this.#lost(shard, why)
      if (this.#closing) return
      if (!this.#begun) return
      supervisor.ended(`runner ${index}`, { error })
      for (const run of runs) this.#again(run, why)
    }
    worker.on('error', (error) => died(messageOf(error)))
    worker.on('exit', (code) => died(`it exited with code ${code}`))
    hot.port1.on('message', (batch: (FromRunner | Packed)[]) =>
      this.#receive(
        shard,
        batch.flatMap((message) => unpacker.unpack(message) ?? []),
      ),
    )
    const booted = proxy.boot({
      ...boot,
      index,
      backends: this.#input.backends(),
      forecasts: this.#input.forecasts(),
      watched: feed.observed,
    })
    const early = gone.promise.then(() => {
      throw new OrlaError('ORLA_RUNNER_LOST', `runner thread ${index} ended before it was ready`, { retryable: true })
    })
    shard.ready = Promise.race([booted, early]).then(() => void (shard.isReady = true))
    shard.ready.catch((error: unknown) => {
      if (!shard.alive) return
      log.error({ runner: index, error }, 'a runner thread cannot start')
      void worker.terminate()
    })
    this.#shards[index] = shard
    this.#restarts[index]!++
    return { stop: () => void (shard.alive && !this.#closing && worker.terminate()) }
  }

  /** False until all threads were ready once: before that, whoever makes the runtime hears of failures. */
  get #begun(): boolean {
    return this.#shards.every(({ isReady, index }) => isReady || this.#restarts[index]! > 0)
  }

  #place(run: RemoteRun): void {
    let hash = 0
    for (let i = 0; i < run.id.length; i++) hash = (Math.imul(hash, 31) + run.id.charCodeAt(i)) | 0
    const shard = this.#shards[Math.abs(hash) % this.#shards.length]!
    run.shard = shard
  }

  /** O(live runs). */
  #runsOn(shard: Shard): RemoteRun[] {
    return [...this.#runs.values()].filter((run) => run.shard === shard)
  }

  /** Takes back what a thread held. Returns its runs that are to be started again. */
  #lost(shard: Shard, why: string): RemoteRun[] {
    if (!shard.alive) return []
    shard.alive = false
    shard.outbox.close()
    const { post } = this.#input
    for (const { to, message } of shard.toolCalls.values()) {
      post(to, { type: 'tool.cancel', callId: message.callId, replyTo: message.replyTo })
    }
    for (const [call, { shard: on, reject }] of this.#executing) {
      if (on !== shard) continue
      this.#executing.delete(call)
      reject(new Error(`the thread of the tool ended: ${why}`))
    }
    for (const [requestId, name] of shard.requests) {
      post({ actor: 'backend', name }, { type: 'backend.withdraw', requestId })
    }
    const again: RemoteRun[] = []
    for (const run of this.#runsOn(shard)) {
      run.shard = undefined
      post({ actor: 'memory' }, { type: 'memory.forget', runId: run.id })
      if (run.stop !== undefined) this.#fail(run, run.stop)
      else if (!run.begun) again.push(run)
      else if (run.effects.length > 0 || run.restarts >= limits.runRestartsMax || this.#closing) {
        this.#fail(run, new RunnerLostError(run.id, why, run.effects))
      } else again.push(run)
    }
    return again
  }

  /** Starts a run again, on the thread that took the place of its own. */
  #again(run: RemoteRun, why: string): void {
    if (this.#runs.get(run.id) !== run) return
    if (run.stop !== undefined) return this.#fail(run, run.stop)
    this.#place(run)
    if (run.shard?.alive !== true) return this.#fail(run, new RunnerLostError(run.id, why, []))
    if (run.begun) run.resume(`started again: its runner thread ended (${why})`)
  }

  /** Ends a run whose thread is not there to say so. */
  #fail(run: RemoteRun, error: OrlaError): void {
    const facts = error.toJSON()
    const to = error instanceof CancelledError ? 'cancelled' : 'failed'
    const atMs = roundMs(this.#input.clock.nowMs() - run.startedAtMs)
    const { id: runId, state: from } = run
    const seq = run.seq + 1
    this.#onTransition(run, { type: 'run.failed', seq, atMs, runId, from, to, reason: error.message, error: facts })
    const stages = Object.fromEntries(
      run.definition.stages.map(({ name }) => [
        name,
        { ...emptyReport(), state: 'cancelled' as const, reason: error.message },
      ]),
    )
    this.#end(run, {
      runId,
      workflow: run.definition.name,
      state: to,
      error: facts,
      results: {},
      stages,
      durationMs: atMs,
    })
  }

  #end(run: RemoteRun, outcome: RunOutcome): void {
    if (!this.#runs.delete(run.id)) return
    run.feed.close()
    this.#input.ended(outcome, run.definitionId)
    run.over.resolve()
  }

  #tellAll(message: ToRunner): void {
    for (const shard of this.#shards) shard.outbox.send(message)
  }

  #uncloneable(message: ToRunner, error: unknown): void {
    const why = `it cannot cross threads: ${messageOf(error)}; give plain data`
    if (message.type === 'begin') {
      const run = this.#runs.get(message.run.runId)
      if (run !== undefined) this.#fail(run, new OrlaError('ORLA_INPUT', `the input is not for threads, ${why}`))
    } else if (message.type === 'tool') {
      this.#executing.get(message.call)?.reject(new Error(`the arguments are lost, ${why}`))
      this.#executing.delete(message.call)
    } else this.#input.log.error({ message: message.type }, `a message is lost, ${why}`)
  }

  #receive(shard: Shard, batch: readonly FromRunner[]): void {
    if (!shard.alive) return
    let tokens = 0
    shard.heard += batch.length
    for (const message of batch) {
      if (message.type === 'token') tokens++
      try {
        this.#take(shard, message)
      } catch (error) {
        this.#input.log.error({ runner: shard.index, message: message.type, error }, 'a message of a runner broke')
      }
    }
    if (tokens > 0) shard.outbox.send({ type: 'heard', tokens })
  }

  #take(shard: Shard, message: FromRunner): void {
    switch (message.type) {
      case 'transition': {
        const run = this.#runs.get(message.transition.runId)
        if (run !== undefined) this.#onTransition(run, message.transition)
        return
      }
      case 'post':
        return this.#onPost(shard, message.to, message.message)
      case 'token':
        return this.#publish(message.event)
      case 'dropped': {
        const { runId, atMs, count } = message
        return this.#publish({ type: 'events.dropped', runId, atMs, count })
      }
      case 'ended': {
        const run = this.#runs.get(message.outcome.runId)
        if (run !== undefined) this.#end(run, message.outcome)
        return
      }
      case 'turn':
        this.#input.recorder?.turn(message.facts)
        return
      case 'shadow':
        return this.#input.shadow(message.answered)
      case 'answered':
        return this.#input.history.answered(...message.told)
      case 'completed':
        return this.#input.history.completed(...message.told)
      case 'toolDone': {
        const executing = this.#executing.get(message.call)
        this.#executing.delete(message.call)
        if (message.ok) executing?.resolve(message.value)
        else executing?.reject(new Error(message.message))
        return
      }
      case 'log':
        return this.#input.log[message.level]({ runner: shard.index, ...message.details }, message.message)
      case 'dead':
        return this.#input.undelivered(message.message)
    }
  }

  #onPost(shard: Shard, to: Address, message: ActorMessage): void {
    switch (message.type) {
      case 'backend.request':
        if (to.actor === 'backend') shard.requests.set(message.request.requestId, to.name)
        break
      case 'backend.withdraw':
      case 'backend.release':
        shard.requests.delete(message.requestId)
        break
      case 'tool.call':
        shard.toolCalls.set(toolKey(message.replyTo.runId, message.replyTo.stage, message.callId), { to, message })
        break
      case 'tool.cancel':
        shard.toolCalls.delete(toolKey(message.replyTo.runId, message.replyTo.stage, message.callId))
        break
      default:
    }
    this.#input.post(to, message)
  }

  #onTransition(run: RemoteRun, transition: Transition): void {
    run.seq = transition.seq
    if (!('stage' in transition) && transition.type.startsWith('run.')) run.state = transition.to
    this.#input.transition(transition, this.#input.clock.nowMs())
    this.#publish(transition)
  }

  #publish(event: RunEvent): void {
    this.#runs.get(event.runId)?.feed.publish(event)
    this.#input.feed.publish(event)
  }
}

/** A message to a runner in short, where it has such a form. */
function shortOf(message: ToRunner): ToRunner | PackedGrant {
  if (message.type !== 'post' || message.to.actor !== 'stage' || message.message.type !== 'stage.granted')
    return message
  return packGrant(message.to, message.message) ?? message
}

const workerUrl = entryFile(import.meta.url, 'runtime-runner-worker')
