// A run as plain lines: what the screen shows, for where there is no screen.

import type { RunEvent } from '../../index.ts'
import { dagLines } from './dag.ts'
import { describe, type Topic } from './describe.ts'
import { moment } from './format.ts'
import { span, wrap, type Line } from './line.ts'
import type { ViewState } from './view-model.ts'

/** Lines of the ticket that are shown. */
const ticketLinesMax = 6

/** The lines before the first event: ticket, stages and backends. */
export function openingLines(state: ViewState, width: number): Line[] {
  return [
    [span('Ticket', 'strong')],
    ...wrap(state.ticket, width - 2, ticketLinesMax).map((text): Line => [span(`  ${text}`)]),
    [],
    [span(`Workflow ${state.workflow}`, 'strong')],
    ...dagLines(state.stages, width - 2).map((line): Line => [span('  '), ...line]),
    ...state.backends.map(({ name, engine, model, windowRequests }): Line => [
      span(`  ${name}: ${model} on ${engine}, ${windowRequests} slots`, 'quiet'),
    ]),
    [],
  ]
}

/** The lines that an event is worth. */
export function eventLines(event: RunEvent, before: ViewState, topics: ReadonlySet<Topic>): Line[] {
  if (event.type === 'stage.token' || event.type === 'events.dropped') return []
  const stageWidth = Math.max(3, ...before.stages.map(({ name }) => name.length))
  return describe(event, before)
    .filter(({ topic }) => topics.has(topic))
    .map(({ atMs, stage, text, role }) => [
      span(`${moment(atMs).padStart(8)} s  `, 'quiet'),
      span(`${(stage ?? 'run').padEnd(stageWidth)}  `),
      span(text, role),
    ])
}
