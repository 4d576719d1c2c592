import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { Sockets, type SocketUser } from '../../src/engines/sockets.ts'

/** A server that answers nothing before it is told to. */
async function silentServer() {
  const held: { path: string; response: ServerResponse }[] = []
  let sockets = 0
  let arrived = Promise.withResolvers<void>()
  const server = createServer((request, response) => {
    held.push({ path: request.url!, response })
    arrived.resolve()
    arrived = Promise.withResolvers()
  })
  server.on('connection', () => sockets++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    held,
    get sockets() {
      return sockets
    },
    async holds(count: number) {
      while (held.length < count) await arrived.promise
    },
    answer: () => held.shift()!.response.end('ok'),
  }
}

/** Sends a request; resolves with how it ended. */
function send(sockets: Sockets, path: string): { ended: Promise<string>; user: SocketUser } {
  const { promise, resolve } = Promise.withResolvers<string>()
  const user: SocketUser = {
    group: undefined,
    onRequestStart() {},
    onResponseStart() {},
    onResponseData() {},
    onResponseEnd() {
      sockets.done(user)
      resolve('answered')
    },
    onResponseError(_controller, error) {
      sockets.done(user)
      user.refused(error)
    },
    refused: (error) => resolve(error.name),
  }
  sockets.dispatch({ method: 'GET', path }, user)
  return { ended: promise, user }
}

const options = { pipelining: 1 }

test('S1, S2: as many requests as sockets are under way, over all groups; the others wait in order', async () => {
  const server = await silentServer()
  const sockets = new Sockets(server.origin, 70, options)
  onTestFinished(() => sockets.destroy())
  const sent = Array.from({ length: 100 }, (_, i) => send(sockets, `/${i}`))
  await server.holds(70)
  expect(server.sockets).toBe(70)
  const paths: string[] = []
  for (let left = 100; left > 0; left--) {
    await server.holds(Math.min(left, 70))
    if (left <= 30) paths.push(server.held[0]!.path)
    server.answer()
  }
  expect(new Set(await Promise.all(sent.map(({ ended }) => ended)))).toEqual(new Set(['answered']))
  expect(paths).toEqual(Array.from({ length: 30 }, (_, i) => `/${i + 70}`))
  expect(server.sockets).toBe(70)
})

test('one after the other, requests take sockets that are open: one, and one while undici puts it back', async () => {
  const server = await silentServer()
  const sockets = new Sockets(server.origin, 40, options)
  onTestFinished(() => sockets.destroy())
  for (let i = 0; i < 20; i++) {
    const { ended } = send(sockets, `/${i}`)
    await server.holds(1)
    server.answer()
    expect(await ended).toBe('answered')
  }
  expect(server.sockets).toBeLessThanOrEqual(2)
})

test('a request that waits can be withdrawn, and is never sent', async () => {
  const server = await silentServer()
  const sockets = new Sockets(server.origin, 1, options)
  onTestFinished(() => sockets.destroy())
  const first = send(sockets, '/first')
  const second = send(sockets, '/second')
  const third = send(sockets, '/third')
  await server.holds(1)
  sockets.withdraw(second.user)
  server.answer()
  await first.ended
  await server.holds(1)
  expect(server.held[0]!.path).toBe('/third')
  server.answer()
  expect(await third.ended).toBe('answered')
})

test('a lost connection gives its place to the next request', async () => {
  const server = await silentServer()
  const sockets = new Sockets(server.origin, 1, options)
  onTestFinished(() => sockets.destroy())
  const first = send(sockets, '/first')
  const second = send(sockets, '/second')
  await server.holds(1)
  server.held.shift()!.response.destroy()
  expect(await first.ended).toBe('SocketError')
  await server.holds(1)
  server.answer()
  expect(await second.ended).toBe('answered')
})

test('destroy fails what is under way, what waits, and what comes later', async () => {
  const server = await silentServer()
  const sockets = new Sockets(server.origin, 1, options)
  const sent = [send(sockets, '/first'), send(sockets, '/second')]
  await server.holds(1)
  await sockets.destroy()
  sent.push(send(sockets, '/third'))
  const ended = await Promise.all(sent.map((each) => each.ended))
  expect(ended).toEqual(['ClientDestroyedError', 'ClientDestroyedError', 'ClientDestroyedError'])
})
