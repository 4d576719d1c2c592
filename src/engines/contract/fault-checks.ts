// Checks of the driver contract: what goes wrong is an error, with the right word on trying again.

import type { OrlaError } from '../../errors.ts'
import { answer, ask, saying } from './asking.ts'
import { promised, rejectionOf, type Check, type Checked, type ContractFault } from './check.ts'

async function broken(checked: Checked, fault: ContractFault): Promise<{ error: OrlaError; delivered: number }> {
  const { subject } = checked
  promised(subject.inject !== undefined, 'the subject can be told to fail')
  subject.inject(fault)
  const call = ask(checked, saying(checked, 'Say something about parcels that arrive late.'))
  const error = await rejectionOf(call.result, `a request that meets "${fault}" rejects`)
  return { error, delivered: call.deltas.length }
}

/** Checks of faults. */
export const faultChecks = {
  async 'an engine that is full is an error worth another try'(checked) {
    const { error } = await broken(checked, 'unavailable')
    promised(error.code === 'ORLA_BACKEND_HTTP', 'the code is ORLA_BACKEND_HTTP', error.code)
    promised(error.details?.['status'] === 503, 'the status is 503, wherever the engine said so', error.details)
    promised(error.retryable, 'it is retryable')
    await answer(checked, saying(checked, 'And now?'))
  },

  async 'a rate limit says how long to wait'(checked) {
    const { error } = await broken(checked, 'rateLimited')
    promised(error.details?.['status'] === 429 && error.retryable, 'a 429 is retryable', error.toJSON())
    promised(error.details['retryAfterMs'] === 2_000, 'the wait that was asked for is told', error.details)
  },

  async 'an error within the stream is an error, not an answer (D2)'(checked) {
    const { error, delivered } = await broken(checked, 'errorInStream')
    const codes = ['ORLA_BACKEND_HTTP', 'ORLA_BACKEND_TRUNCATED']
    promised(codes.includes(error.code), 'the engine says it, or the stream just ends', error.code)
    promised(delivered === 0 || !error.retryable, 'it is not retryable once something was delivered', delivered)
  },

  async 'a stream without a finish reason is truncated (D2)'(checked) {
    const { error } = await broken(checked, 'truncated')
    promised(error.code === 'ORLA_BACKEND_TRUNCATED', 'the code is ORLA_BACKEND_TRUNCATED', error.code)
  },

  async 'a connection that breaks within the answer is truncated (D2)'(checked) {
    const { error } = await broken(checked, 'cut')
    promised(error.code === 'ORLA_BACKEND_TRUNCATED', 'the code is ORLA_BACKEND_TRUNCATED', error.code)
  },

  async 'a prompt beyond the context is ORLA_CONTEXT_LENGTH'(checked) {
    const { contextLength } = checked.capabilities
    promised(contextLength !== undefined && contextLength <= 200_000, 'the context length is known', contextLength)
    const text = 'sea '.repeat(2 * contextLength)
    const error = await rejectionOf(answer(checked, saying(checked, text)), 'a prompt that cannot fit is refused')
    promised(error.code === 'ORLA_CONTEXT_LENGTH' && !error.retryable, 'and not worth another try', error.toJSON())
  },

  async 'an unknown model is an error that says so'(checked) {
    const request = { ...saying(checked, 'Hello.'), model: 'no-such-model' }
    const error = await rejectionOf(answer(checked, request), 'a model that is not served is refused')
    promised(error.code === 'ORLA_BACKEND_HTTP' && !error.retryable, 'and not worth another try', error.toJSON())
    promised(error.message.includes('no-such-model'), 'its name is told', error.message)
  },
} satisfies Record<string, Check>
