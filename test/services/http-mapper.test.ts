// A mapping service over real sockets: what it is asked, and what becomes of a late, broken or mistaken one.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { createRuntime, firstOf, httpMapper, leastLoaded, simulated, workflow } from '../../src/index.ts'
import { limits } from '../../src/limits.ts'

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

type Answer = (
  request: { body: Record<string, unknown>; headers: IncomingMessage['headers'] },
  response: ServerResponse,
) => void

async function service(answer: Answer): Promise<string> {
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => (text += chunk.toString()))
    request.on('end', () => answer({ body: JSON.parse(text), headers: request.headers }, response))
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/map?key=secret`
}

async function mapped(url: string, options: Partial<Parameters<typeof httpMapper>[0]> = {}) {
  await using runtime = await createRuntime({
    backends: {
      first: simulated({ model: 'a', engine: 'instant' }),
      second: simulated({ model: 'b', engine: 'instant' }),
    },
  })
  const mapping = firstOf(httpMapper({ url, timeoutMs: 2_000, ...options }), leastLoaded())
  const definition = workflow('w').stage('s', { mapping, prompt: () => 'Hello.' })
  const { stages, error } = await runtime.start(definition, { word: 'hidden' }).outcome
  return { ...stages['s']!, error }
}

describe('a mapping service', () => {
  test('is asked about the stage and every backend, and has the word', async () => {
    let asked: { body: Record<string, unknown>; headers: IncomingMessage['headers'] } | undefined
    const url = await service((request, response) => {
      asked = request
      response.end(JSON.stringify({ backend: 'second', reason: 'it is Tuesday', costUsd: 0.5, figures: { day: 2 } }))
    })
    const stage = await mapped(url, { headers: { authorization: 'Bearer x' } })
    expect(stage).toMatchObject({
      backend: 'second',
      costUsd: 0.5,
      mapping: { by: 'http', reason: 'it is Tuesday', costUsd: 0.5, figures: { day: 2 } },
    })
    expect(asked?.headers['authorization']).toBe('Bearer x')
    expect(asked?.body).toMatchObject({ workflow: 'w', stage: 's', stageClass: 'w/s', input: { word: 'hidden' } })
    expect(asked?.body['backends']).toMatchObject([{ name: 'first' }, { name: 'second' }])
  })

  test('is not told the data if it is not to know', async () => {
    let text = ''
    const url = await service(({ body }, response) => {
      text = JSON.stringify(body)
      response.end('null')
    })
    const stage = await mapped(url, { sendsData: false })
    expect(text).not.toContain('hidden')
    expect(stage).toMatchObject({ backend: 'first', mapping: { by: 'least-loaded' } })
    expect(stage.mapping?.reason).toContain('step 1 left it')
  })

  test.each<[string, Answer, RegExp]>([
    ['is late', () => {}, /did not answer within 50 ms/],
    ['fails', (_, response) => response.writeHead(500).end('oh no'), /answered 500: oh no/],
    ['answers what is no JSON', (_, response) => response.end('{'), /no JSON/],
    ['answers nonsense', (_, response) => response.end('{"backend":7,"x":1}'), /nonsense/],
    [
      'sends elsewhere',
      (_, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(),
      /reached|redirect/,
    ],
    ['hangs up', (_, response) => void response.destroy(), /cannot be reached/],
    ['says too much', (_, response) => response.end(`"${'x'.repeat(limits.serviceBytesMax)}"`), /more than \d+ bytes/],
  ])('that %s leaves the decision to the next mapper', async (what, answer, why) => {
    const stage = await mapped(await service(answer), what === 'is late' ? { timeoutMs: 50 } : {})
    expect(stage).toMatchObject({ state: 'completed', backend: 'first', mapping: { by: 'least-loaded' } })
    expect(stage.mapping?.reason).toMatch(why)
    // A key in the address is not told.
    expect(stage.mapping?.reason).not.toContain('secret')
  })

  test('that names a backend which there is not fails the stage, with what it said', async () => {
    const url = await service((_, response) => response.end('{"backend":"third"}'))
    expect((await mapped(url)).error?.message).toContain('the mapper chose "third"')
  })

  test('has an address of HTTP', () => {
    expect(() => httpMapper({ url: 'file:///etc/passwd' })).toThrow(/http:\/\//)
  })
})

test('questions do not wait for each other', async () => {
  let open = 0
  let most = 0
  const waiting: (() => void)[] = []
  const url = await service((_, response) => {
    most = Math.max(most, ++open)
    waiting.push(() => response.end('{"backend":"main"}'))
    if (waiting.length === 20) for (const answer of waiting) answer()
  })
  await using runtime = await createRuntime({ backends: { main: simulated({ model: 'a', engine: 'instant' }) } })
  const definition = workflow('w').stage('s', {
    mapping: httpMapper({ url, timeoutMs: 5_000 }) as never,
    prompt: () => 'x',
  })
  const runs = Array.from({ length: 20 }, (_, i) => runtime.start(definition, i).outcome)
  for (const outcome of await Promise.all(runs)) expect(outcome.state).toBe('completed')
  expect(most).toBe(20)
})
