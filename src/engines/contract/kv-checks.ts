// Checks of the driver contract: what KV control says is true, by what the next answer reports.

import { CancelledError } from '../../errors.ts'
import type { Usage } from '../../schema/chat.ts'
import type { FlushResult, KvControl } from '../kv-control.ts'
import { answer, ask, longText, saying } from './asking.ts'
import { promised, type Check, type Checked } from './check.ts'

/** Milliseconds that a flush may wait for an engine that has just answered. */
const settleMs = 2_000

function kvOf({ driver }: Checked): KvControl {
  promised(driver.kv !== undefined, 'the driver controls the KV cache')
  return driver.kv
}

/** A prompt is computed twice, so that it is cached, then something happens, then it is asked again. */
async function cachedAfter(
  checked: Checked,
  topic: string,
  act: () => Promise<FlushResult>,
): Promise<{ result: FlushResult; before: Usage; after: Usage }> {
  const request = saying(checked, longText(topic))
  const context = { sessionId: topic }
  await answer(checked, request, context)
  const before = await answer(checked, request, context)
  const result = await act()
  const after = await answer(checked, request, context)
  return { result, before: before.usage, after: after.usage }
}

function explained(result: FlushResult): boolean {
  if (result.outcome === 'flushed') return true
  return (result.outcome === 'failed' ? result.message : result.reason) !== ''
}

/** Checks of KV control. */
export const kvChecks = {
  async 'a flush that says flushed has flushed, by the next usage'(checked) {
    const kv = kvOf(checked)
    const { result, before, after } = await cachedAfter(checked, 'flushing', () =>
      kv.flushAll({ waitIdleMs: settleMs }),
    )
    promised(explained(result), 'an outcome other than flushed is explained', result)
    const { flushAll } = checked.capabilities.kv
    if (flushAll === 'exact') promised(result.outcome === 'flushed', 'an idle engine that can flush does', result)
    if (flushAll === 'none') promised(result.outcome === 'unsupported', 'one that cannot says so', result)
    // An answer that reports nothing cannot contradict.
    if (before.cachedTokens === undefined || result.outcome !== 'flushed') return
    promised(before.cachedTokens > 0, 'the prompt was cached before', before)
    promised(after.cachedTokens === 0, 'the prompt is not cached after', after)
  },

  async 'a flush while a request runs never claims what it did not do'(checked) {
    const kv = kvOf(checked)
    const running = ask(
      checked,
      saying(checked, 'Count to a thousand.', { params: { maxTokens: 2_000, ignoreEos: true } }),
      { sessionId: 'counting' },
    )
    await running.first
    const { result, after } = await cachedAfter(checked, 'busyness', () => kv.flushAll({ waitIdleMs: 0 }))
    running.cancel(new CancelledError('caller', 'the check has seen enough'))
    promised(explained(result), 'an outcome other than flushed is explained', result)
    if (result.outcome === 'flushed') promised((after.cachedTokens ?? 0) === 0, 'flushed means flushed', after)
  },

  async 'the end of a session is what it says'(checked) {
    const kv = kvOf(checked)
    const { result, after } = await cachedAfter(checked, 'ending', () => kv.endSession('ending'))
    promised(explained(result), 'an outcome other than flushed is explained', result)
    if (result.outcome === 'flushed') promised((after.cachedTokens ?? 0) === 0, 'flushed means flushed', after)
    if (checked.capabilities.kv.releaseSession === 'none') {
      promised(result.outcome !== 'flushed' && result.outcome !== 'hinted', 'none means none', result)
    }
  },

  async 'a prefill makes the next answer find its prompt'(checked) {
    const request = saying(checked, longText('warming'))
    const context = { requestId: 'contract/prefill', runId: 'contract', sessionId: 'warming' }
    const usage = await kvOf(checked).prefill(request, context)
    promised((usage.completionTokens ?? 1) <= 1, 'a prefill generates one token', usage)
    const after = await answer(checked, request, { sessionId: 'warming' })
    promised((after.usage.cachedTokens ?? 0) > 0, 'the prompt is cached', after.usage)
  },

  async 'tells the load of the engine'(checked) {
    const kv = kvOf(checked)
    const call = ask(
      checked,
      saying(checked, 'Count to a thousand.', { params: { maxTokens: 2_000, ignoreEos: true } }),
    )
    await call.first
    const { running, usedFraction = 0 } = await kv.usage()
    call.cancel(new CancelledError('caller', 'the check has seen enough'))
    promised(running === 1, 'one request runs', running)
    promised(usedFraction >= 0 && usedFraction <= 1, 'a fraction is one', usedFraction)
  },
} satisfies Record<string, Check>
