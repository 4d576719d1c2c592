import { describe, expect, test } from 'vitest'
import { createActor } from 'xstate'
import { workflowMachine, type RunEffects, type RunEvent } from '../../machines/workflow.ts'
import { CancelledError, OrlaError } from '../../src/errors.ts'

const failure = new OrlaError('ORLA_TOOL', 'x')
const stopped = new CancelledError('caller', 'y')
const start: RunEvent = { type: 'run.start' }
const fail: RunEvent = { type: 'run.fail', error: failure }
const cancel: RunEvent = { type: 'run.cancel', error: stopped }
const crash: RunEvent = { type: 'run.crash' }
const settled = (unsettled: number): RunEvent => ({ type: 'stage.settled', unsettled })

function walk(events: RunEvent[]): { state: unknown; log: string[] } {
  const log: string[] = []
  const effects: RunEffects = {
    begin: () => void log.push('begin'),
    stop: (error) => void log.push(`stop ${error.code}`),
    finish: (outcome) => void log.push(`finish ${outcome}`),
  }
  const actor = createActor(workflowMachine, { input: { effects } })
  actor.start()
  for (const event of events) if (actor.getSnapshot().status === 'active') actor.send(event)
  return { state: actor.getSnapshot().value, log }
}

describe('the machine of a run', () => {
  test.each<[what: string, events: RunEvent[], state: string, log: string[]]>([
    ['waits until it is started', [], 'pending', []],
    ['begins once', [start, start], 'running', ['begin']],
    ['goes on while stages are unsettled', [start, settled(2), settled(1)], 'running', ['begin']],
    ['completes with the last stage', [start, settled(1), settled(0)], 'completed', ['begin', 'finish completed']],
    [
      'fails once every sibling has stopped',
      [start, fail, settled(1), settled(0)],
      'failed',
      ['begin', 'stop ORLA_TOOL', 'finish failed'],
    ],
    [
      'is cancelled once every stage has stopped',
      [start, cancel, settled(0)],
      'cancelled',
      ['begin', 'stop ORLA_CANCELLED', 'finish cancelled'],
    ],
    [
      'keeps the first reason to stop: failure',
      [start, fail, cancel, fail, settled(0)],
      'failed',
      ['begin', 'stop ORLA_TOOL', 'finish failed'],
    ],
    [
      'keeps the first reason to stop: cancellation',
      [start, cancel, fail, settled(0)],
      'cancelled',
      ['begin', 'stop ORLA_CANCELLED', 'finish cancelled'],
    ],
    [
      'can be cancelled before it begins',
      [cancel, start, settled(0)],
      'cancelled',
      ['stop ORLA_CANCELLED', 'finish cancelled'],
    ],
    ['can fail before it begins', [fail, settled(0)], 'failed', ['stop ORLA_TOOL', 'finish failed']],
    [
      'fails when its machinery breaks, wherever it is',
      [start, cancel, crash],
      'failed',
      ['begin', 'stop ORLA_CANCELLED', 'finish failed'],
    ],
  ])('%s', (_what, events, state, log) => {
    expect(walk(events)).toEqual({ state, log })
  })
})
