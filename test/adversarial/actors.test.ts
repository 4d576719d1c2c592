// Single actors under any order of messages: withdrawn twice, released before granted, admitted after the end, changed in
// mid-queue, told of runs that there are not.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { backendLogic, type BackendState } from '../../actors/backend.ts'
import { startActor } from '../../actors/logic.ts'
import { mapperLogic } from '../../actors/mapper.ts'
import { memoryManagerLogic } from '../../actors/memory-manager.ts'
import type { ActorMessage, BackendMessage, MemoryMessage, StageMessage, ToolMessage } from '../../actors/messages.ts'
import { toolLogic } from '../../actors/tool.ts'
import { breakerDefaults } from '../../machines/backend.ts'
import { virtualClock, type Timer } from '../../src/clock.ts'
import { limits } from '../../src/limits.ts'
import type { Logger } from '../../src/log.ts'
import type { BackendView } from '../../src/mapping/mapper.ts'
import { memoryPlan, memoryPolicyNames } from '../../src/memory/plan.ts'
import { StageHistory } from '../../src/prediction/stage-history.ts'
import type { Transition } from '../../src/schema/transition.ts'
import { schedulingPolicy, schedulingPolicyNames } from '../../src/scheduling/registry.ts'
import type { StageDefinition } from '../../src/workflow/definition.ts'
import { tool } from '../../src/workflow/tool.ts'

const runs = 200

/** A log in which an error is a failure. */
function strictLog(): { log: Logger; errors: string[] } {
  const errors: string[] = []
  const log: Logger = { debug() {}, info() {}, warn() {}, error: (_, message) => void errors.push(message) }
  return { log, errors }
}

/** Numbers of requests, runs and calls: few, so that messages meet. */
const which = fc.nat(9)

type BackendStep = BackendMessage | { type: 'ask'; cost: number; retry: boolean } | { type: 'wait'; ms: number }

const requestId = which.map((i) => `run-1/s/${i}.1`)
const backendStep: fc.Arbitrary<BackendStep> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ type: fc.constant('ask' as const), cost: fc.nat(100), retry: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('backend.withdraw' as const), requestId }) },
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant('backend.release' as const),
      requestId,
      verdict: fc.constantFrom('ok' as const, 'faulty' as const, 'inconclusive' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('backend.admitted' as const),
      requestIds: fc.array(requestId, { maxLength: 3 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('backend.reconfigure' as const),
      windowRequests: fc.nat(3),
      queueCapacity: fc.nat(5),
      requestPolicy: fc.constantFrom(...schedulingPolicyNames),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom<BackendMessage>(
      { type: 'backend.drain' },
      { type: 'backend.resume' },
      { type: 'backend.replaced' },
      { type: 'backend.readmit' },
    ),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('wait' as const), ms: fc.nat(5_000) }) },
)

test.each([undefined, 1_000])(
  'a backend answers each request once and never grants beyond its window (held at most %s ms)',
  async (holdMsMax) => {
    await fc.assert(
      fc.asyncProperty(fc.array(backendStep, { maxLength: 60, size: 'max' }), async (steps) => {
        const clock = virtualClock()
        const { log, errors } = strictLog()
        const answers = new Map<string, string>()
        const inFlight = new Set<string>()
        const withdrawn = new Set<string>()
        let windowRequests = 2
        const post = (_to: unknown, message: ActorMessage): void => {
          if (message.type !== 'stage.granted' && message.type !== 'stage.rejected') return
          const id = message.requestId
          expect(answers.get(id), `${id} is answered again`).toBeUndefined()
          expect(withdrawn, 'an answer to what was withdrawn').not.toContain(id)
          answers.set(id, message.type)
          if (message.type === 'stage.rejected') return
          inFlight.add(id)
          expect(inFlight.size).toBeLessThanOrEqual(windowRequests)
        }
        const actor = startActor(backendLogic, {
          name: 'b',
          windowRequests,
          queueCapacity: 4,
          policies: { stage: schedulingPolicy('fcfs'), request: schedulingPolicy('fcfs') },
          breaker: breakerDefaults,
          holdMsMax,
          isLast: () => false,
          policyOf: (name) => schedulingPolicy(name as 'fcfs'),
          clock,
          log,
          post,
        })
        const load = (): ReturnType<BackendState['load']> => actor.state.load()
        let asked = 0
        const leave = (id: string): void => void inFlight.delete(id)
        for (const step of steps) {
          if (step.type === 'wait') await clock.advance(step.ms)
          else if (step.type === 'ask') {
            const id = `run-1/s/${asked++}.1`
            // A withdrawal or a release that came first was about nothing.
            withdrawn.delete(id)
            actor.send({
              type: 'backend.request',
              replyTo: { actor: 'stage', runId: 'run-1', stage: 's' },
              retry: step.retry,
              request: {
                requestId: id,
                runId: 'run-1',
                stageClass: `w/${step.cost % 3}`,
                tenant: 'default',
                stagePriority: 0,
                requestPriority: step.cost % 4,
                promptTokens: step.cost,
                uncachedTokens: step.cost,
                outputTokens: 10,
                askedTokens: 10,
                serviceMs: 10,
                remainingMs: 10,
                runStartedAtMs: 0,
                attainedTokens: 0,
                deadlineMs: Infinity,
              },
            })
          } else {
            if (step.type === 'backend.reconfigure') windowRequests = step.windowRequests!
            if (step.type === 'backend.release') leave(step.requestId)
            if (step.type === 'backend.withdraw') {
              leave(step.requestId)
              if (!answers.has(step.requestId)) withdrawn.add(step.requestId)
            }
            actor.send(step)
          }
          expect(load().inFlight).toBe(inFlight.size)
        }
        // Whatever it was told: wide open, it gets rid of all that waits.
        windowRequests = 100
        actor.send({ type: 'backend.reconfigure', windowRequests })
        actor.send({ type: 'backend.resume' })
        for (let i = 0; i < 20; i++) {
          for (const id of inFlight) {
            leave(id)
            actor.send({ type: 'backend.release', requestId: id, verdict: 'ok' })
          }
          await clock.advance(60_000)
        }
        expect(load()).toMatchObject({ inFlight: 0, waiting: 0, held: 0 })
        for (let i = 0; i < asked; i++) {
          const id = `run-1/s/${i}.1`
          expect(answers.has(id) || withdrawn.has(id), `${id} was never answered`).toBe(true)
        }
        expect(errors).toEqual([])
        actor.state.stop()
        expect(clock.pendingTimers).toBe(0)
      }),
      { numRuns: 2 * runs },
    )
  },
)

test('a tool answers each call once unless it is cancelled, however its calls end', async () => {
  type Step = { do: 'call' | 'cancel' | 'settle' | 'fail'; call: number } | { do: 'wait'; call: number }
  const step: fc.Arbitrary<Step> = fc.record({
    do: fc.constantFrom(
      'call' as const,
      'call' as const,
      'cancel' as const,
      'settle' as const,
      'fail' as const,
      'wait' as const,
    ),
    call: fc.nat(12),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async (steps) => {
      const clock = virtualClock()
      const { log, errors } = strictLog()
      const open = new Map<string, PromiseWithResolvers<string>>()
      let running = 0
      let runningMax = 0
      const results = new Map<string, number>()
      const cancelled = new Set<string>()
      const called = new Set<string>()
      const definition = tool({
        description: 'd',
        input: z.object({}),
        concurrency: 2,
        timeoutMs: 1_000,
        run: async (_input, { callId, signal }) => {
          // What is thrown here would be the tool's answer.
          runningMax = Math.max(runningMax, ++running)
          let isOver = false
          const over = (): void => {
            if (!isOver) running--
            isOver = true
          }
          // Once it is told to stop its place is free when it obeys, and after a while whether or not it does.
          let timer: Timer | undefined
          signal.addEventListener('abort', () => (timer = clock.setTimer(limits.toolStrayMs - 1, over)))
          const settled = Promise.withResolvers<string>()
          open.set(callId, settled)
          try {
            return await settled.promise
          } finally {
            clock.clearTimer(timer)
            over()
          }
        },
      })
      const post = (_to: unknown, message: ActorMessage): void => {
        const { callId } = message as Extract<StageMessage, { type: 'stage.toolResult' }>
        expect(cancelled, 'an answer to a call that was cancelled').not.toContain(callId)
        results.set(callId, (results.get(callId) ?? 0) + 1)
      }
      const actor = startActor(toolLogic, { name: 't', definition, clock, log, post })
      const replyTo = { actor: 'stage', runId: 'run-1', stage: 's' } as const
      for (const { do: what, call } of steps) {
        const callId = `1.${call}`
        const message: ToolMessage = { type: 'tool.call', callId, arguments: '{}', replyTo }
        if (what === 'wait') await clock.advance(call * 100)
        else if (what === 'settle') open.get(callId)?.resolve('ok')
        else if (what === 'fail') open.get(callId)?.reject(new Error('no'))
        else if (what === 'cancel') {
          if (!results.has(callId)) cancelled.add(callId)
          actor.send({ type: 'tool.cancel', callId, replyTo })
        } else if (!called.has(callId) && !cancelled.has(callId)) {
          called.add(callId)
          actor.send(message)
        }
        await clock.advance(0)
      }
      for (let i = 0; i < 12; i++) await clock.advance(limits.toolStrayMs + 2_000)
      for (const callId of called) expect(results.get(callId) ?? 0, callId).toBe(cancelled.has(callId) ? 0 : 1)
      for (const { resolve } of open.values()) resolve('late')
      await clock.advance(0)
      expect([...results.values()].every((times) => times === 1)).toBe(true)
      expect(runningMax).toBeLessThanOrEqual(2)
      expect([errors, clock.pendingTimers]).toEqual([[], 0])
    }),
    { numRuns: runs },
  )
})

test('the memory manager takes any order of transitions, and forgets all of a run with the run', async () => {
  const run = fc.nat(3).map((i) => `run-${i}`)
  const backend = fc.constantFrom('a', 'b')
  const type = fc.constantFrom(
    'run.started',
    'stage.queued',
    'stage.granted',
    'stage.firstToken',
    'stage.released',
    'stage.rejected',
    'tool.started',
    'tool.ended',
    'stage.completed',
    'stage.cancelled',
    'run.completed',
  )
  const transition = fc.record({ type, run, backend, stage: fc.constantFrom('s', 't'), tokens: fc.nat(2_000) })
  const step = fc.oneof(
    { weight: 8, arbitrary: transition.map((of) => ({ do: 'transition' as const, of })) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constantFrom('admit' as const, 'left' as const, 'forced' as const, 'emptied' as const),
        run,
        backend,
        tokens: fc.nat(2_000),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('acted' as const), actionId: fc.nat(10) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(3_000) }) },
  )
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...memoryPolicyNames),
      fc.array(step, { maxLength: 60, size: 'max' }),
      async (policy, steps) => {
        const clock = virtualClock()
        const { log, errors } = strictLog()
        const admitted: string[] = []
        let actions = 0
        const kv = { flushAll: 'exact', releaseSession: 'none', isolate: 'none', retain: 'none' } as const
        const manager = startActor(memoryManagerLogic, {
          log,
          clock,
          post(_to, message) {
            if (message.type === 'backend.admitted') admitted.push(...message.requestIds)
          },
          kvOf: () => kv,
          actionId: () => ++actions,
          freeSlots: () => 1,
          act: () => {},
          stop: () => {},
          ...memoryPlan({ policy, kvTokens: { a: 1_000, b: 3_000 }, prewarm: true }),
        })
        const tell = (message: MemoryMessage): void => manager.send(message)
        let asked = 0
        for (const each of steps) {
          const nowMs = clock.nowMs()
          if (each.do === 'wait') await clock.advance(each.ms)
          else if (each.do === 'acted') {
            tell({ type: 'memory.acted', actionId: each.actionId, outcome: { outcome: 'flushed', message: '' } })
          } else if (each.do === 'transition') {
            const { run: runId, type: kind, stage, backend: at, tokens } = each.of
            const told = {
              type: kind,
              runId,
              stage,
              stages: 2,
              turn: 1,
              backend: at,
              model: 'm',
              requestId: `${runId}/${stage}/1.1`,
              promptTokens: tokens,
              addedTokens: tokens,
              contextHash: 'h',
              tool: 'x',
              callId: '1',
              workflow: 'w',
              usage: { promptTokens: tokens, completionTokens: 10 },
            }
            tell({ type: 'memory.transition', transition: told as unknown as Transition, nowMs })
          } else if (each.do === 'emptied') tell({ type: 'memory.emptied', backend: each.backend })
          else if (manager.state.window(each.backend) !== undefined) {
            // Backends without a window do not ask.
            const at = { backend: each.backend, runId: each.run, requestId: `${each.run}/s/${asked}.1` }
            if (each.do === 'admit') {
              const sizes = { promptTokens: each.tokens, outputTokens: 10, addedTokens: each.tokens }
              tell({ type: 'memory.admit', backend: each.backend, request: { ...at, ...sizes } })
              asked++
            } else tell({ type: each.do === 'left' ? 'memory.left' : 'memory.forced', ...at })
          }
        }
        for (let i = 0; i < 4; i++) tell({ type: 'memory.forget', runId: `run-${i}` })
        await clock.advance(120_000)
        const state = manager.state
        for (const backend of ['a', 'b']) {
          expect(state.ledger.totals(backend)).toMatchObject({ runs: 0, residentTokens: 0 })
          const window = state.window(backend)
          if (window !== undefined) expect(window).toMatchObject({ placed: 0, usedTokens: 0 })
        }
        expect(new Set(admitted).size, 'a request is admitted twice').toBe(admitted.length)
        expect([errors, clock.pendingTimers]).toEqual([[], 0])
      },
    ),
    { numRuns: 2 * runs },
  )
})

test('the mapper answers each question once, in whatever order its mappers do', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.constantFrom('a', 'nowhere', 'throws', 'rejects', 'nothing', 'gone'), { maxLength: 20, size: 'max' }),
      async (scheduler, saids) => {
        const answers = new Map<string, string>()
        const mapper = (said: string) => async (): Promise<never> => {
          if (said === 'throws') throw new Error('no')
          await scheduler.schedule(Promise.resolve(), said)
          if (said === 'rejects') throw new Error('no')
          return (said === 'nothing' ? undefined : { backend: said, reason: 'r' }) as never
        }
        const view = { name: 'a', model: 'm', health: 'healthy', capabilities: { tools: true, jsonSchema: true } }
        const actor = startActor(mapperLogic, {
          decided() {},
          stageOf(_definition, stage) {
            if (saids[Number(stage)] === 'gone') throw new Error('no such stage')
            const mapping = { kind: 'mapper', mapper: mapper(saids[Number(stage)]!) }
            return { name: stage, mapping, requirements: {} } as unknown as StageDefinition
          },
          backends: () => [view as unknown as BackendView],
          poolOf: () => undefined,
          clock: virtualClock({ seed: 1 }),
          random: () => 0.5,
          history: new StageHistory(),
          calls: { ask: () => Promise.reject(new Error('no')) },
          promptOf: () => Promise.reject(new Error('no')),
          post(to, message) {
            const { stage } = to as { stage: string }
            expect(answers.has(stage)).toBe(false)
            answers.set(stage, message.type)
          },
        })
        saids.forEach((_, i) => {
          const replyTo = { actor: 'stage', runId: 'run-1', stage: String(i) } as const
          const what = {
            definitionId: 'd',
            workflow: 'w',
            tenant: 't',
            stage: String(i),
            input: undefined,
            results: {},
          }
          actor.send({ type: 'mapper.map', ...what, replyTo })
        })
        await scheduler.waitIdle()
        await Promise.resolve()
        expect([...answers].sort((x, y) => Number(x[0]) - Number(y[0])).map(([, type]) => type)).toEqual(
          saids.map((said) => (said === 'a' ? 'stage.mapped' : 'stage.unmapped')),
        )
      },
    ),
    { numRuns: runs },
  )
})
