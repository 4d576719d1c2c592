// Engine host
//
// Owns: the HTTP servers of the engines that one thread serves.
// Does not own: the thread (embedded), the engines' times and words (engine-plan).
// In: start, stop   Out: started, failed, stopped
// Invariants
//   H1. Each command is answered once.
//   H2. A stopped engine listens no more and its requests are aborted.

import type { MessagePort } from 'node:worker_threads'
import type { Clock } from '../clock.ts'
import { toOrlaError } from '../errors.ts'
import { buildEngine, type PortablePlan } from './engine-plan.ts'
import type { EngineCommand, EngineNotice } from './engine-protocol.ts'
import { serveEngine, type EngineServer } from './openai-front.ts'

/** Serves engines as `port` asks for them. */
export function hostEngines(port: MessagePort, clock: Clock): void {
  const servers = new Map<number, EngineServer>()
  const say = (notice: EngineNotice): void => port.postMessage(notice)

  const start = async (id: number, plan: PortablePlan): Promise<void> => {
    try {
      const server = await serveEngine(await buildEngine(plan, clock), {
        clock,
        ...(plan.flavour !== undefined && { flavour: plan.flavour }),
        ...(plan.faults !== undefined && { faults: plan.faults }),
      })
      servers.set(id, server)
      say({ type: 'started', id, url: server.url })
    } catch (error) {
      say({ type: 'failed', id, error: toOrlaError(error, 'ORLA_BACKEND_UNREACHABLE', 'engine not started').toJSON() })
    }
  }

  const stop = async (id: number): Promise<void> => {
    await servers.get(id)?.close()
    servers.delete(id)
    say({ type: 'stopped', id })
  }

  port.on('message', (command: EngineCommand) => {
    void (command.type === 'start' ? start(command.id, command.plan) : stop(command.id))
  })
}
