// One line for each thing that happens: for pipes, logs, and terminals that cannot redraw.

import type { RunEvent } from '../../index.ts'
import { span, type Line } from '../view/line.ts'
import { eventLines, openingLines } from '../view/plain.ts'
import { summaryLines, type Ended } from '../view/summary.ts'
import { paint, type Look } from '../view/theme.ts'
import { initialView, reduce, type ViewState } from '../view/view-model.ts'
import { epilogueLines } from './epilogue.ts'
import type { Beginning, Reporter } from './reporter.ts'

/** Columns of what is written where nobody says how many there are. */
const widthDefault = 100

/** Writes lines as things happen, and the summary at the end. */
export function plainReporter(write: (text: string) => void, look: Look, width = widthDefault): Reporter {
  let beginning: Beginning | undefined
  let state: ViewState | undefined
  const print = (lines: readonly Line[]): void => {
    if (lines.length > 0) write(`${lines.map((line) => paint(line, look)).join('\n')}\n`)
  }
  return {
    begin(given) {
      beginning = given
      state = initialView(given.plan)
      if (state.note !== undefined) print([[span(state.note, 'accent')]])
      print(openingLines(state, width))
    },
    event(event: RunEvent) {
      if (state === undefined || beginning === undefined) return
      const { topics } = beginning.showing
      print(eventLines(event, state, topics))
      state = reduce(state, event)
    },
    end(ended: Ended) {
      if (beginning === undefined) return
      print([...epilogueLines(beginning, ended.outcome, width), ...summaryLines(beginning.plan, ended, width), []])
    },
  }
}
