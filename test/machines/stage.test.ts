import { describe, expect, test } from 'vitest'
import { initialTransition, transition } from 'xstate'
import { stageMachine } from '../../machines/stage.ts'
import type { StageState } from '../../src/schema/transition.ts'
import { isSettled, nextStageState, stageTransitions, type StageEvent } from '../../src/workflow/stage-lifecycle.ts'

const states = Object.keys(stageTransitions) as StageState[]
const events: StageEvent[] = [
  'start',
  'skip',
  'mapped',
  'enqueued',
  'granted',
  'rejected',
  'released',
  'toolsCalled',
  'continued',
  'retry',
  'complete',
  'fail',
  'cancel',
]

describe('the statechart of a stage and the table that the runtime walks', () => {
  test('have the same states and the same events', () => {
    expect(Object.keys(stageMachine.states).sort()).toEqual([...states].sort())
    expect([...stageMachine.events].sort()).toEqual([...events].sort())
    const listed = new Set(states.flatMap((state) => Object.keys(stageTransitions[state])))
    expect([...listed].sort()).toEqual([...events].sort())
  })

  test.each(states.flatMap((state) => events.map((event) => [state, event] as const)))(
    'agree on %s when %s happens',
    (state, event) => {
      const [next] = transition(stageMachine, stageMachine.resolveState({ value: state }), { type: event })
      const expected = stageTransitions[state][event]
      expect(next.value).toBe(expected ?? state)
      if (expected === undefined) {
        expect(() => nextStageState(state, event)).toThrow(expect.objectContaining({ code: 'ORLA_INVARIANT' }))
      } else {
        expect(nextStageState(state, event)).toBe(expected)
      }
    },
  )

  test('begin in the same state and end in the same states', () => {
    expect(initialTransition(stageMachine)[0].value).toBe('pending')
    for (const state of states) {
      expect(stageMachine.resolveState({ value: state }).status === 'done').toBe(isSettled(state))
      expect(Object.keys(stageTransitions[state]).length === 0).toBe(isSettled(state))
    }
  })

  test('every state can be reached, and from every state an end can be', () => {
    const reachable = (from: StageState): Set<StageState> => {
      const seen = new Set<StageState>([from])
      for (const state of seen) for (const next of Object.values(stageTransitions[state])) seen.add(next)
      return seen
    }
    expect([...reachable('pending')].sort()).toEqual([...states].sort())
    for (const state of states) expect([...reachable(state)].some((each) => isSettled(each))).toBe(true)
  })
})
