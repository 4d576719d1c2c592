// KV control of an engine model that runs in process, so that policies which act on the cache can act in a testbed.

import type { BackendDefinition } from '../engines/backend-definition.ts'
import type { KvControl } from '../engines/kv-control.ts'
import { OrlaError } from '../errors.ts'
import type { EngineModel } from '../simulator/engine-model.ts'

/**
 * A backend whose driver can flush the model's cache and say how full it is.
 *
 * @param model - the model behind `backend`; asked for once the driver is connected
 * @param onFlush - hears whether the model did it: it refuses while requests run or wait, as engines do
 */
export function withKvControl(
  backend: BackendDefinition,
  model: () => EngineModel | undefined,
  onFlush: (done: boolean) => void = () => {},
): BackendDefinition {
  const kv: KvControl = {
    flushAll() {
      const done = model()?.flush() ?? false
      onFlush(done)
      return Promise.resolve(
        done ? { outcome: 'flushed', scope: 'all' } : { outcome: 'busy', reason: 'requests run or wait' },
      )
    },
    endSession: () => Promise.resolve({ outcome: 'unsupported', reason: 'the engine model has no sessions' }),
    prefill: () => Promise.reject(new OrlaError('ORLA_INVARIANT', 'the engine model does not prefill ahead')),
    usage() {
      const stats = model()?.stats()
      if (stats === undefined) return Promise.resolve({})
      const { running, waiting, kvTokensLive, kvTokensTotal, kvTokensCached } = stats
      const usedFraction = kvTokensLive / kvTokensTotal
      return Promise.resolve({ running, waiting, usedFraction, evictableTokens: kvTokensCached })
    },
  }
  return {
    ...backend,
    async connect(environment) {
      const driver = await backend.connect(environment)
      const capabilities = { ...driver.capabilities, kv: { ...driver.capabilities.kv, flushAll: 'exact' as const } }
      return { ...driver, capabilities, kv, probe: () => Promise.resolve({ state: 'ready', capabilities }) }
    },
  }
}
