import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createActor, setup, type AnyActorLogic } from 'xstate'
import { flatMachineLogic, type FlatMachine } from '../../actors/machine-logic.ts'
import { workflowMachine, type RunEffects, type RunEvent } from '../../machines/workflow.ts'
import { CancelledError, OrlaError } from '../../src/errors.ts'

const runLogic = flatMachineLogic<{ effects: RunEffects }, RunEvent, { effects: RunEffects }>(workflowMachine)

/** Everything that can be seen of a run's machine while it hears `events`, one of which makes an effect speak back. */
function walk(logic: AnyActorLogic, events: readonly RunEvent[]): unknown[] {
  const seen: unknown[] = []
  let answers = events.length
  const note = (effect: string): void => {
    seen.push(effect)
    // An effect that speaks back is heard after the event that caused it.
    if (answers-- > 0) actor.send({ type: 'stage.settled', unsettled: answers % 2 })
    seen.push(`${effect} is over`)
  }
  const effects: RunEffects = {
    begin: () => note('begin'),
    stop: (error) => note(`stop: ${error.code}`),
    finish: (outcome) => note(`finish: ${outcome}`),
  }
  const actor = createActor(logic, { input: { effects } })
  actor.subscribe({ complete: () => seen.push('done') })
  const look = (): void => {
    const { status, value } = actor.getSnapshot() as { status: string; value: unknown }
    seen.push([status, value])
  }
  look()
  actor.start()
  look()
  for (const event of events) {
    if ((actor.getSnapshot() as { status: string }).status === 'active') actor.send(event)
    look()
  }
  return seen
}

const runEvents = fc.array(
  fc.oneof<fc.Arbitrary<RunEvent>[]>(
    fc.constant({ type: 'run.start' }),
    fc.record({ type: fc.constant('stage.settled' as const), unsettled: fc.integer({ min: 0, max: 2 }) }),
    fc.constant({ type: 'run.fail', error: new OrlaError('ORLA_TOOL', 'x') }),
    fc.constant({ type: 'run.cancel', error: new CancelledError('caller', 'y') }),
    fc.constant({ type: 'run.crash' }),
  ),
  { maxLength: 8 },
)

describe('a run that walks its machine as a table', () => {
  test('does what XState does with the machine, event by event and effect by effect', () => {
    fc.assert(
      fc.property(runEvents, (events) => {
        expect(walk(runLogic, events)).toEqual(walk(workflowMachine, events))
      }),
    )
  })
})

type Move = { type: 'go' } | { type: 'stay' } | { type: 'again' } | { type: 'reset' }

/** Every way of leaving and entering that a flat machine has. */
const doors = setup({
  types: { context: {} as { log: string[] }, events: {} as Move, input: {} as { log: string[] } },
  guards: { isLong: ({ context }) => context.log.length > 4 },
  actions: { note: ({ context }, params: { what: string }) => void context.log.push(params.what) },
}).createMachine({
  context: ({ input }) => input,
  initial: 'a',
  on: { reset: { target: '.a', actions: { type: 'note', params: { what: 'reset' } } } },
  states: {
    a: {
      exit: { type: 'note', params: { what: 'leaves a' } },
      on: {
        go: [{ guard: 'isLong', target: 'end' }, { target: 'b' }],
        stay: { target: 'a', actions: { type: 'note', params: { what: 'stays' } } },
        again: { target: 'a', reenter: true },
      },
    },
    b: {
      entry: { type: 'note', params: { what: 'enters b' } },
      exit: { type: 'note', params: { what: 'leaves b' } },
      on: { go: 'a', stay: { actions: { type: 'note', params: { what: 'stays in b' } } }, again: 'b' },
    },
    end: { type: 'final', entry: { type: 'note', params: { what: 'ends' } } },
  },
})

describe('the table of a flat machine', () => {
  test('leaves and enters states as XState does', () => {
    const logic = flatMachineLogic<{ log: string[] }, Move, { log: string[] }>(doors)
    const moves = fc.array(fc.constantFrom<Move['type']>('go', 'stay', 'again', 'reset'), { maxLength: 12 })
    const logOf = (of: AnyActorLogic, types: readonly string[]): unknown => {
      const log: string[] = []
      const actor = createActor(of, { input: { log } }).start()
      const now = (): { status: string; value: unknown } => actor.getSnapshot() as { status: string; value: unknown }
      for (const type of types) if (now().status === 'active') actor.send({ type })
      return { log, value: now().value }
    }
    fc.assert(
      fc.property(moves, (types) => {
        expect(logOf(logic, types)).toEqual(logOf(doors, types))
      }),
    )
  })

  test.each<[what: string, machine: FlatMachine]>([
    [
      'states within states',
      setup({}).createMachine({ initial: 'a', states: { a: { initial: 'b', states: { b: {} } } } }),
    ],
    ['delays', setup({}).createMachine({ initial: 'a', states: { a: { after: { 10: 'b' } }, b: {} } })],
    ['transitions without events', setup({}).createMachine({ initial: 'a', states: { a: { always: 'b' }, b: {} } })],
    ['wildcards', setup({}).createMachine({ initial: 'a', states: { a: { on: { '*': 'b' } }, b: {} } })],
    ['states in parallel', setup({}).createMachine({ type: 'parallel', states: { a: {}, b: {} } })],
    [
      'actions in place',
      setup({}).createMachine({ initial: 'a', states: { a: { on: { go: { actions: () => {} } } } } }),
    ],
    [
      'actions at its start',
      setup({ actions: { act() {} } }).createMachine({ initial: 'a', states: { a: { entry: 'act' } } }),
    ],
  ])('is refused for %s', (_what, machine) => {
    expect(() => flatMachineLogic(machine)).toThrow(expect.objectContaining({ code: 'ORLA_INVARIANT' }))
  })
})
