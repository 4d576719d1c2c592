// Checks of the driver contract: what the context says reaches the engine, in the engine's own words.

import { answer, longText, saying } from './asking.ts'
import { promised, type Check, type Checked, type ObservedRequest } from './check.ts'

function lastObserved({ subject }: Checked): ObservedRequest {
  promised(subject.observed !== undefined, 'the subject tells what it received')
  const request = subject.observed().at(-1)
  promised(request !== undefined, 'the engine received a request')
  return request
}

/** All values of a request but for what is said to the model, by the path of their field. */
function fieldsOf({ headers, body }: ObservedRequest): Map<string, string> {
  const fields = new Map<string, string>()
  const add = (path: string, value: unknown): void => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) if (key !== 'messages') add(`${path}.${key}`, inner)
    } else fields.set(path, String(value))
  }
  add('header', headers)
  add('body', body)
  return fields
}

/** Priorities as the wire has them, wherever they are. */
function prioritiesOf(request: ObservedRequest): number[] {
  return [...fieldsOf(request)].filter(([path]) => path.endsWith('priority')).map(([, value]) => Number(value))
}

/** Checks of what goes over the wire. */
export const wireChecks = {
  async 'writes priorities with the sign of the engine'(checked) {
    const { priority: order } = checked.capabilities
    promised(order !== undefined, 'the capabilities say how priorities are taken')
    const seen: number[][] = []
    for (const priority of [2, 7]) {
      await answer(checked, saying(checked, 'Hello.'), { priority })
      seen.push(prioritiesOf(lastObserved(checked)))
    }
    const [low = [], high = []] = seen
    if (order === 'none') {
      promised(low.length + high.length === 0, 'an engine without priorities gets none', seen)
      return
    }
    const [lower = Number.NaN] = low
    const [higher = Number.NaN] = high
    const sign = order === 'high-first' ? 1 : -1
    promised(sign * higher > sign * lower, `sooner is ${order === 'high-first' ? 'higher' : 'lower'}`, seen)
  },

  async 'keeps the requests of a session together'(checked) {
    const seen: Map<string, string>[] = []
    for (const sessionId of ['one', 'two', 'one']) {
      await answer(checked, saying(checked, 'Hello.'), { sessionId })
      seen.push(fieldsOf(lastObserved(checked)))
    }
    const [first, other, second] = seen
    const marks = [...first!].filter(([path, value]) => second!.get(path) === value && other!.get(path) !== value)
    promised(marks.length > 0, 'some field is equal within a session and differs between sessions', marks)
  },

  async 'keeps the caches of salts apart where the engine can'(checked) {
    const { isolate } = checked.capabilities.kv
    promised(isolate !== 'none', 'the engine isolates')
    const request = saying(checked, longText('secrets'))
    await answer(checked, request, { salt: 'acme' })
    const same = await answer(checked, request, { salt: 'acme' })
    const other = await answer(checked, request, { salt: 'globex' })
    promised((same.usage.cachedTokens ?? 0) > 0, 'one salt finds its own', same.usage)
    promised((other.usage.cachedTokens ?? 0) === 0, 'another finds nothing', other.usage)
  },
} satisfies Record<string, Check>
