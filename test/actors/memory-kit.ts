// A scripted backend whose engine has a KV cache that can be told what to do, and that records what it was told.

import type { BackendDefinition } from '../../src/engines/backend-definition.ts'
import type { FlushResult, KvControl } from '../../src/engines/kv-control.ts'
import type { Capabilities } from '../../src/schema/capabilities.ts'
import type { CacheTransition, RunEvent } from '../../src/schema/transition.ts'
import type { BackendOptions } from '../../src/schema/backend.ts'
import { scripted, type Script, type ScriptedBackend } from '../support/scripted-backend.ts'

/** A scripted backend with KV control. */
export interface KvBackend extends BackendDefinition {
  readonly backend: ScriptedBackend
  /** What its engine was told: `flushAll`, `endSession run-1-...`. */
  readonly told: string[]
  /** Calls that were open when it was told. */
  readonly openWhenTold: number[]
  /** What the engine answers, from now on. */
  flush: () => Promise<FlushResult>
  usedFraction: number | undefined
}

/** Makes one. `kv` says what the engine can do. */
export function kvBackend(
  script: Script,
  kv: Partial<Capabilities['kv']> = { flushAll: 'exact' },
  options: Partial<BackendOptions> = {},
): KvBackend {
  const none = { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' } as const
  const backend = scripted(script, { ...options, capabilities: { kv: { ...none, ...kv } } })
  const told: string[] = []
  const openWhenTold: number[] = []
  const definition: KvBackend = {
    engine: 'scripted',
    settings: backend.settings,
    backend,
    told,
    openWhenTold,
    usedFraction: undefined,
    flush: () => Promise.resolve({ outcome: 'flushed', scope: 'all' }),
    async connect(environment) {
      const driver = await backend.connect(environment)
      const tell = (what: string): Promise<FlushResult> => {
        told.push(what)
        openWhenTold.push(backend.open.length)
        return definition.flush()
      }
      const control: KvControl = {
        flushAll: () => tell('flushAll'),
        endSession: (sessionId) => tell(`endSession ${sessionId}`),
        prefill: () => Promise.reject(new Error('not asked for')),
        usage: () =>
          Promise.resolve(definition.usedFraction === undefined ? {} : { usedFraction: definition.usedFraction }),
      }
      return { ...driver, kv: control }
    },
  }
  return definition
}

/** The memory manager's decisions among events, of one type or of all. */
export function decisions(events: readonly RunEvent[], type?: CacheTransition['type']): CacheTransition[] {
  return events.filter(
    (event): event is CacheTransition => event.type.startsWith('cache.') && (type === undefined || event.type === type),
  )
}
