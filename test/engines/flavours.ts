// What the tests of drivers against flavours share: a subject of the contract on a simulated front.

import type { ContractFault, ContractSubject } from '../../src/engines/contract/check.ts'
import type { BackendDefinition } from '../../src/engines/backend-definition.ts'
import type { FlavourName, FlavourOptions } from '../../src/simulator/flavours/flavour.ts'
import { startFlavour, type StartFlavourOptions } from '../../src/simulator/flavours/start-flavour.ts'
import { scriptedResponder } from '../../src/simulator/scripted-responder.ts'
import type { FrontFault } from '../../src/simulator/openai-front.ts'

const faults: Readonly<Record<ContractFault, FrontFault>> = {
  unavailable: {
    kind: 'status',
    fault: { status: 503, type: 'ServiceUnavailable', message: 'The request queue is full.' },
  },
  rateLimited: {
    kind: 'status',
    fault: { status: 429, type: 'RateLimitError', message: 'Too many requests.' },
    retryAfterS: 2,
  },
  errorInStream: { kind: 'error' },
  truncated: { kind: 'end' },
  cut: { kind: 'cut' },
}

/** Counts when asked to, whatever an engine makes of `ignore_eos`; says something plausible otherwise. */
export const counting = scriptedResponder([
  { content: 'Count to a thousand', reply: Array.from({ length: 1_000 }, (_, i) => i + 1).join(' ') },
])

/** Makes subjects of the contract: `make` on a front of a flavour, with tokens that take a little time each. */
export function subjectsOn(
  flavour: FlavourName | FlavourOptions,
  make: (options: { url: string; model: string }) => BackendDefinition,
  options: StartFlavourOptions = {},
): () => Promise<ContractSubject> {
  return async () => {
    const front = await startFlavour(flavour, { engine: { decodeMsPerToken: 2 }, responder: counting, ...options })
    return {
      definition: make({ url: front.url, model: front.model }),
      close: () => front.close(),
      observed: () => front.requests().filter(({ path }) => path.endsWith('/chat/completions')),
      inject: (fault) => front.inject(faults[fault]),
      running: () => front.stats().running,
    }
  }
}
