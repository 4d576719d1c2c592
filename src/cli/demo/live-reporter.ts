// The screen that redraws itself
//
// Owns: when to draw, and the place on the terminal.
// Does not own: what is drawn (view/).
// Invariants
//   L1. At most `framesPerSecondMax` frames a second; the last state before the end is always drawn.
//   L2. When a run is over the terminal is as it was: cursor shown, nothing left to be redrawn, no timer, no listener.

import { createLogUpdate } from 'log-update'
import type { Clock, RunEvent } from '../../index.ts'
import type { Topic } from '../view/describe.ts'
import { renderFrame } from '../view/render.ts'
import { summaryLines, type Ended } from '../view/summary.ts'
import { paint, type Look } from '../view/theme.ts'
import { initialView, reduce, type ViewState } from '../view/view-model.ts'
import { epilogueLines } from './epilogue.ts'
import type { Beginning, Reporter } from './reporter.ts'

/** More is not seen, and costs the terminal work. */
const framesPerSecondMax = 20
/** How often time moves on where nothing else does. */
const idleFrameMs = 200

/** What is needed of a terminal. */
export interface Terminal extends NodeJS.WriteStream {
  columns: number
  rows: number
}

/** Draws one run after the other on a terminal, and the summary of each below its last frame. */
export function liveReporter(options: {
  stream: Terminal
  clock: Clock
  look: Look
  topics: ReadonlySet<Topic>
}): Reporter {
  const { stream, clock, look, topics } = options
  const update = createLogUpdate(stream)
  let beginning: Beginning | undefined
  let state: ViewState | undefined
  let startedAtMs = 0
  let drawnAtMs = Number.NEGATIVE_INFINITY
  let timer: ReturnType<Clock['setTimer']> | undefined

  const frame = (nowMs: number): string => {
    // One row less than there is: the cursor stands on the last one.
    const size = { width: stream.columns, height: Math.max(8, stream.rows - 1) }
    const lines = renderFrame(state!, { ...size, nowMs, topics })
    return lines.map((line) => paint(line, look)).join('\n')
  }
  const draw = (): void => {
    if (state === undefined) return
    drawnAtMs = clock.nowMs()
    update(frame(drawnAtMs - startedAtMs))
    schedule(idleFrameMs)
  }
  const schedule = (delayMs: number): void => {
    clock.clearTimer(timer)
    timer = clock.setTimer(delayMs, draw)
  }

  return {
    begin(given) {
      beginning = given
      state = initialView(given.plan)
      startedAtMs = clock.nowMs()
      stream.on('resize', draw)
      draw()
    },
    event(event: RunEvent) {
      if (state === undefined) return
      state = reduce(state, event)
      schedule(Math.max(0, drawnAtMs + 1000 / framesPerSecondMax - clock.nowMs()))
    },
    end(ended: Ended) {
      if (state === undefined || beginning === undefined) return
      clock.clearTimer(timer)
      stream.off('resize', draw)
      update(frame(ended.outcome.durationMs))
      update.done()
      const lines = [
        ...epilogueLines(beginning, ended.outcome, stream.columns, state.log),
        ...summaryLines(beginning.plan, ended, stream.columns),
        [],
      ]
      stream.write(`${lines.map((line) => paint(line, look)).join('\n')}\n`)
      state = undefined
    },
  }
}
