import { expect, test } from 'vitest'
import { startActor, type ActorState, type StateLogic } from '../../actors/logic.ts'

interface Message {
  say: string
  next?: readonly Message[]
  fails?: boolean
  stops?: boolean
}

/** An actor that notes what it handles, and says the next things to itself in the middle of it. */
function noting(): { send: (message: Message) => void; stop: () => void; log: string[] } {
  const log: string[] = []
  const logic: StateLogic<ActorState<Message>, Message, string[]> = {
    create: (notes) => ({
      handle({ say, next = [], fails, stops }) {
        notes.push(`${say} begins`)
        for (const each of next) actor.send(each)
        if (stops) actor.stop()
        if (fails) throw new Error(say)
        notes.push(`${say} ends`)
      },
    }),
    onError: (_state, error) => void log.push(`broke: ${(error as Error).message}`),
  }
  const actor = startActor(logic, log)
  return { send: (message) => actor.send(message), stop: () => actor.stop(), log }
}

test('what an actor is sent while it handles a message comes after it, in order', () => {
  const { send, log } = noting()
  send({ say: 'a', next: [{ say: 'b', next: [{ say: 'd' }] }, { say: 'c' }] })
  expect(log).toEqual(['a', 'b', 'c', 'd'].flatMap((each) => [`${each} begins`, `${each} ends`]))
})

test('a message that breaks is dropped, and the one behind it is handled', () => {
  const { send, log } = noting()
  send({ say: 'a', next: [{ say: 'b' }], fails: true })
  send({ say: 'c' })
  expect(log).toEqual(['a begins', 'broke: a', 'b begins', 'b ends', 'c begins', 'c ends'])
})

test('an actor that has stopped handles nothing more, not even what waited', () => {
  const { send, log } = noting()
  send({ say: 'a', next: [{ say: 'b', stops: true }, { say: 'c' }] })
  send({ say: 'd' })
  expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends'])
})
