// What the memory manager costs for each transition, with many runs live and the window full.

import { memoryManagerLogic } from '../../actors/memory-manager.ts'
import { startActor } from '../../actors/logic.ts'
import { virtualClock } from '../../src/clock.ts'
import { silentLogger } from '../../src/log.ts'
import { memoryPlan } from '../../src/memory/plan.ts'
import type { Transition } from '../../src/schema/transition.ts'

const contextTokens = 10_000

/** Microseconds for each transition, reviews included. */
export async function overheadUs(runs: number, rounds: number): Promise<number> {
  const clock = virtualClock()
  const kv = { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' } as const
  const manager = startActor(memoryManagerLogic, {
    log: silentLogger,
    clock,
    post: () => {},
    kvOf: () => kv,
    act: () => {},
    actionId: () => 0,
    stop: () => {},
    freeSlots: () => 0,
    ...memoryPlan({ policy: 'price', kvTokens: { b: (runs * contextTokens) / 2 } }),
  })
  let transitions = 0
  const tell = (transition: object): void => {
    transitions++
    manager.send({ type: 'memory.transition', transition: transition as Transition, nowMs: clock.nowMs() })
  }
  const of = (run: number) => ({ runId: `run-${run}`, stage: 's', turn: 1, backend: 'b', model: 'm', requestId: 'r' })
  for (let run = 0; run < runs; run++) tell({ type: 'run.started', runId: `run-${run}`, stages: 1 })
  transitions = 0
  const startedAtMs = performance.now()
  for (let round = 0; round < rounds; round++) {
    for (let run = 0; run < runs; run++) {
      const at = of(run)
      const promptTokens = contextTokens + round
      const prefix = [{ hash: 'system', tokens: 1_000 }]
      tell({ ...at, type: 'stage.queued', promptTokens, addedTokens: 100, contextHash: 'h', prefix })
      const request = {
        requestId: `r${run}.${round}`,
        runId: at.runId,
        promptTokens,
        outputTokens: 10,
        addedTokens: 100,
      }
      manager.send({ type: 'memory.admit', backend: 'b', request })
      tell({ ...at, type: 'stage.granted' })
      tell({ ...at, type: 'stage.firstToken', ttftMs: 100 })
      const usage = { promptTokens, cachedTokens: promptTokens - 100, completionTokens: 10 }
      tell({ ...at, type: 'stage.released', usage })
      tell({ ...at, type: 'tool.started', tool: 'bash' })
      tell({ ...at, type: 'tool.ended', tool: 'bash', durationMs: 300 })
      // Ten thousand runs with a turn every ten seconds make a thousand turns a second.
      if (run % 50 === 49) await clock.advance(50)
    }
  }
  const us = ((performance.now() - startedAtMs) * 1_000) / transitions
  manager.state.stop()
  manager.stop()
  return us
}
