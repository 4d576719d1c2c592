// The driver contract, with real inference behind it.

import { describe, test } from 'vitest'
import type { ContractSubject } from '../../../src/engines/contract/check.ts'
import { driverContract, type ContractCheckName } from '../../../src/engines/contract/driver-contract.ts'
import type { Driver } from '../../../src/engines/driver.ts'
import { llamaCpp } from '../../../src/engines/llama-cpp/llama-cpp.ts'
import { sharedDriver, tinyModel } from './support.ts'

const model = tinyModel()

/** Checks of what goes over a wire, and of what goes wrong on one: here there is none. */
const ofTheWire = new Set<string>([
  'an engine that is full is an error worth another try',
  'a rate limit says how long to wait',
  'an error within the stream is an error, not an answer (D2)',
  'a stream without a finish reason is truncated (D2)',
  'a connection that breaks within the answer is truncated (D2)',
  'writes priorities with the sign of the engine',
  'keeps the requests of a session together',
] satisfies ContractCheckName[])

// Loading takes a second, so all checks share one process; each finds its cache empty.
const shared = sharedDriver(model, { contextLength: 4_096 })

function start(): Promise<ContractSubject> {
  const made = llamaCpp({ model: model.file })
  let running = 1
  const connect = (): Promise<Driver> =>
    Promise.resolve(Object.create(shared.it, { close: { value: () => Promise.resolve() } }) as Driver)
  return Promise.resolve({
    definition: { ...made, connect },
    close: () => Promise.resolve(),
    // What the engine said last; each look asks again.
    running() {
      void shared.it.kv.usage().then((usage) => (running = usage.running ?? 1))
      return running
    },
  })
}

describe('llamaCpp', () => {
  for (const { name, run } of driverContract({ start })) if (!ofTheWire.has(name)) test(name, run)
})
