// What the command line says of costs.

import { describe, expect, test } from 'vitest'
import { jsonReporter } from '../../src/cli/demo/json-reporter.ts'
import { summaryLines } from '../../src/cli/view/summary.ts'
import { workflow } from '../../src/index.ts'
import { testRuntime } from '../support/runtime.ts'
import { scripted } from '../support/scripted-backend.ts'

const usage = { promptTokens: 1_000, cachedTokens: 0, completionTokens: 100 }
const prices = { inputUsdPerMTok: 1, outputUsdPerMTok: 10 }

async function ended(priced: boolean) {
  const options = priced ? { prices } : {}
  const runtime = await testRuntime({ light: scripted((call) => call.answer({ content: 'x', usage }), options) })
  const one = workflow('one').stage('s', { backend: 'light', prompt: () => 'x' })
  const outcome = await runtime.until(runtime.start(one, undefined).outcome)
  return { outcome, effects: { emails: [], tickets: [] }, issues: [] }
}

const plan = { workflow: 'one', ticket: 'x', stages: [{ name: 's', after: [] }], backends: [] } as never

describe('what a run cost', () => {
  test('stands in the summary stage by stage, where anybody knows', async () => {
    const text = async (priced: boolean): Promise<string> =>
      summaryLines(plan, await ended(priced), 140)
        .map((line) => line.map((span) => span.text).join(''))
        .join('\n')
    expect(await text(true)).toMatch(/cost[^]*\$0\.0020[^]*cost +\$0\.00200/)
    expect(await text(false)).not.toContain('cost')
  })

  test('stands in the last line of JSON', async () => {
    const last = async (priced: boolean): Promise<{ costUsd?: number }> => {
      let line = ''
      jsonReporter((text) => (line = text)).end(await ended(priced))
      return JSON.parse(line) as { costUsd?: number }
    }
    expect((await last(true)).costUsd).toBeCloseTo(0.002, 12)
    expect(await last(false)).not.toHaveProperty('costUsd')
  })
})
